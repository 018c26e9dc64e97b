"""What a run writes down while it trains: CSV by default, Weights & Biases on request."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import write_text


class Logger(Protocol):
    """Takes numbers and pictures of a run."""

    overlays: int  # validation pictures per data set and evaluation that it wants

    def start(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """A run begins (step 0) or goes on after `step` steps."""
        ...

    def numbers(self, step: int, values: Mapping[str, float], *, kind: str) -> None:
        """Values after `step` steps; `kind` is "train" or "evaluation"."""
        ...

    def pictures(self, step: int, overlays: Mapping[str, NDArray[np.uint8]]) -> None:
        """Overlays (H, W, 3) by frame key."""
        ...

    def finish(self) -> None:
        """The run is over."""
        ...


class CsvLogger:
    """`train.csv` and `evaluation.csv` in the run's folder, one row per entry.

    A resumed run drops the rows after its checkpoint and goes on, so that no step is there twice.
    """

    overlays = 0  # pictures go into the report

    def start(self, run: Path, config: Mapping[str, Any], step: int) -> None:  # noqa: ARG002
        """Opens the files, keeping rows up to `step`."""
        self.run = run
        for kind in ("train", "evaluation"):
            path = run / f"{kind}.csv"
            rows = read_log(path)
            if path.is_file():  # rewritten in one go: a process killed here loses no row
                _write(path, _header(path), [r for r in rows if r["step"] <= step])

    def numbers(self, step: int, values: Mapping[str, float], *, kind: str) -> None:
        """Appends one row."""
        _append(self.run / f"{kind}.csv", {"step": step, **values})

    def pictures(self, step: int, overlays: Mapping[str, NDArray[np.uint8]]) -> None:
        """Takes none."""

    def finish(self) -> None:
        """Nothing is open."""


class SilentLogger(CsvLogger):
    """Writes nothing: for processes that help the first one."""

    def start(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Opens nothing."""

    def numbers(self, step: int, values: Mapping[str, float], *, kind: str) -> None:
        """Drops a row that the first process writes."""


class WandbLogger(CsvLogger):
    """The CSV files, and the same in Weights & Biases, offline where there is no network."""

    def __init__(self, project: str, mode: str = "offline", overlays: int = 4) -> None:
        self.project, self.mode, self.overlays = project, mode, overlays

    def start(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Opens or resumes the W&B run of this folder."""
        super().start(run, config, step)
        try:
            import wandb
        except ImportError as error:
            raise PerceptionError(
                "logger=wandb",
                "wandb is not installed",
                "the extra `wandb`",
                "pip install wandb (in a clone: .venv/bin/pip install wandb), or use logger=csv.",
            ) from error
        self.wandb = wandb
        name = f"{run.parent.name}-{run.name}"
        self.session = wandb.init(
            project=self.project,
            mode=self.mode,
            dir=str(run),
            name=name,
            id=name,
            resume="allow",
            config=dict(config),
        )

    def numbers(self, step: int, values: Mapping[str, float], *, kind: str) -> None:
        """Logs to both."""
        super().numbers(step, values, kind=kind)
        self.session.log({f"{kind}/{name}": v for name, v in values.items()}, step=step)

    def pictures(self, step: int, overlays: Mapping[str, NDArray[np.uint8]]) -> None:
        """Logs the overlays."""
        images = [self.wandb.Image(image, caption=key) for key, image in overlays.items()]
        self.session.log({"overlays": images}, step=step)

    def finish(self) -> None:
        """Closes the W&B run."""
        self.session.finish()


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a CSV log as numbers; what is no row of numbers is dropped."""
    if not path.is_file():
        return []
    header, rows = _header(path), []
    for line in _lines(path)[1:]:
        try:
            values = line.split(",")
            row = {n: float(v) for n, v in zip(header, values, strict=True) if v}
        except ValueError:
            continue
        if "step" in row:
            rows.append(row)
    return rows


def _append(path: Path, row: Mapping[str, float]) -> None:
    """Adds a row; a new column rewrites the file with the longer header."""
    header = _header(path)
    if set(row) <= set(header):
        try:
            with path.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, header).writerow(row)
        except OSError as error:
            raise PerceptionError(
                path,
                f"cannot write: {error.strerror or error}",
                "a writable file",
                "Free space, then go on with resume=RUN.",
            ) from error
        return
    rows = read_log(path)
    header += [name for name in row if name not in header]
    _write(path, header, [*rows, row])


def _write(path: Path, header: Sequence[str], rows: Sequence[Mapping[str, float]]) -> None:
    """Replaces the file, whole or not at all; steps are whole numbers."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, header)
    writer.writeheader()
    writer.writerows({**row, "step": int(row["step"])} for row in rows)
    write_text(path, text.getvalue())


def _header(path: Path) -> list[str]:
    lines = _lines(path)[:1] if path.is_file() else []
    return lines[0].split(",") if lines else []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise PerceptionError(path, f"cannot read: {error.strerror or error}") from error
