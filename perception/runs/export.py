"""Exporting a stored run: the file, its comparison with the run, and the report beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.experiments.build import Experiment
from perception.experiments.load import find_checkpoint, load
from perception.export import parity
from perception.export.write import FORMATS, Settings, Written, write_model
from perception.files import write_json
from perception.inference.exported import load_exported
from perception.inference.model import Model
from perception.runs.evaluate import open_run

REFUSED = ".refused"  # suffix of a file that is too far from its run
NOISE = 3  # images, where there are no frames


@dataclass(frozen=True)
class Exported:
    """What came of an export."""

    written: Written
    report: Path
    note: str  # on what images it was compared
    differences: dict[str, parity.Difference]
    scores: dict[str, tuple[float, float]]  # before and after, by title; empty without data
    problems: tuple[str, ...]  # why it is refused


def export_run(
    run: Path,
    out: Path | None,
    settings: Settings,
    *,
    images: int = 8,
    max_drop: float = 0.1,
    which: str | None = None,
    overrides: Sequence[str] = (),
) -> Exported:
    """Writes a run as a file, compares both, and sets the file aside where they differ.

    A file that was there before stays until the new one has been judged, and for good if it is
    refused.

    Args:
        run: its folder or a checkpoint in it.
        out: the file; None: `export/model.*` in the run's folder.
        settings: the format and how it is written.
        images: validation frames of each data set on which both are compared and scored.
        max_drop: points (of 100) that a score may lose.
        which, overrides: see `open_run`.

    Raises:
        PerceptionError: no such run, or a network that the format cannot express.
    """
    folder = find_checkpoint(run, which)[0]
    suffix = FORMATS[settings.format]
    path = out or folder / "export" / f"model{suffix}"
    if path.suffix != suffix:
        raise PerceptionError("out", str(path), f"a file {suffix} for the format {settings.format}")
    model, experiment, missing = _opened(run, which, overrides)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".~export-", dir=path.parent) as staging:
        staged = Path(staging) / path.name
        written = write_model(model, staged, settings, run=folder.name)
        exported = load_exported(staged, device="cpu")
        frames = _frames(experiment, images) if experiment else []
        note = f"{len(frames)} validation frames" if frames else f"noise, because {missing}"
        frames = frames or _noise(settings.size or model.size)
        differences = parity.compare(model, exported, frames)
        scores: dict[str, tuple[float, float]] = {}
        problems = [] if settings.half else parity.too_far(differences)
        if experiment is not None:
            before = parity.scores(model, experiment, images)
            after = parity.scores(exported, experiment, images)
            scores = {name: (value, after[name]) for name, value in before.items()}
            problems += parity.dropped(before, after, max_drop / 100)
        end = REFUSED if problems else ""
        report = path.with_name(f"{path.name}{end}.json")
        written = replace(written, path=path)
        done = Exported(written, report, note, differences, scores, tuple(problems))
        files = sorted(Path(staging).iterdir())
        values = _as_values(done, settings, sum(f.stat().st_size for f in files), max_drop)
        for file in files:  # of OpenVINO's two the .xml, which is opened, comes last
            file.replace(path.with_name(file.name + end))
    write_json(report, values)
    return done


def _opened(
    run: Path, which: str | None, overrides: Sequence[str]
) -> tuple[Model, Experiment | None, str]:
    """The model, and its data sets or why there are none."""
    try:
        stored = open_run(run, which=which, device="cpu", overrides=overrides)
    except PerceptionError as error:
        model = load(run, which=which, device="cpu", overrides=overrides)
        return model, None, str(error)
    if not stored.experiment.validation_frames:
        return stored.model, None, "the run has no validation frames"
    return stored.model, stored.experiment, ""


def _frames(experiment: Experiment, count: int) -> list[NDArray[np.uint8]]:
    frames = []
    for task_set in experiment.sets:
        if task_set.val is not None:
            each = range(min(count, len(task_set.val)))
            frames += [task_set.val.frame(i).image.read() for i in each]
    return frames


def _noise(size: tuple[int, int] | None) -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    sizes = [size] * NOISE if size else [(75, 130), (128, 160), (97, 201)]
    return [generator.integers(0, 256, (h, w, 3), np.uint8) for h, w in sizes]


def _as_values(done: Exported, settings: Settings, size: int, max_drop: float) -> dict[str, Any]:
    """The report; `size` is that of the file or files, in bytes."""
    return {
        "file": done.written.path.name,
        "format": settings.format,
        "half": settings.half,
        "size": list(settings.size) if settings.size else None,
        "bytes": size,
        "compared_on": done.note,
        "differences": parity.as_values(done.differences),
        "scores": {n: {"run": a, "file": b} for n, (a, b) in done.scores.items()},
        "max_drop": max_drop,
        "operators": done.written.operators,
        "unsupported": done.written.unsupported,
        "refused": list(done.problems),
    }
