"""Scoring a stored run on its validation sets."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from perception.errors import PerceptionError
from perception.experiments.build import Experiment, build
from perception.experiments.config import merge_overrides, read_config
from perception.experiments.evaluate import Evaluation
from perception.experiments.load import choose_device, find_checkpoint, load, load_network
from perception.experiments.trust import split_trust
from perception.files import write_json
from perception.inference.model import Model
from perception.progress import progress
from perception.training.logs import read_log


@dataclass(frozen=True)
class StoredRun:
    """A run read back from its folder, with its data sets."""

    folder: Path
    checkpoint: Path
    step: int
    best: dict[str, Any]  # metric, value, step of the best weights; empty without any
    config: DictConfig
    experiment: Experiment
    overrides: tuple[str, ...] = ()  # settings that are other than in its training

    @property
    def model(self) -> Model:
        """What predicts."""
        e = self.experiment
        return Model(e.model, schemes=e.schemes, size=e.size)


def open_run(
    run: Path, *, which: str | None = None, device: str = "auto", overrides: Sequence[str] = ()
) -> StoredRun:
    """The run in a folder, its weights loaded and its data sets found.

    Raises:
        PerceptionError: no run, a checkpoint that does not fit, or data that is not there.
    """
    chosen = choose_device(device)
    folder, path = find_checkpoint(run, which)
    trust, words = split_trust(overrides)
    config = merge_overrides(read_config(folder, trust=trust), words)
    config.encoder.weights = None
    experiment = build(config, trained=True)
    state = load_network(experiment.model, path, chosen)
    best = dict(state.get("best") or {})
    return StoredRun(folder, path, int(state["step"]), best, config, experiment, tuple(words))


def record_folder(run: StoredRun, out: Path | None) -> Path:
    """Where the scores go: the run's own folder holds only those of the run as it was trained.

    Args:
        run: what was scored; with other settings or another checkpoint than the run's own its
            scores get a folder of their own, evaluations/1, evaluations/2, ...
        out: a folder that was asked for.

    Raises:
        PerceptionError: `out` holds other scores.
    """
    if out is not None:
        if (out / "evaluation.json").exists() or (out / "config.yaml").exists():
            raise PerceptionError(out, "other scores or a run", "a new or empty folder")
        return out
    if not run.overrides and run.checkpoint == find_checkpoint(run.folder)[1]:
        return run.folder
    for number in count(1):
        folder = run.folder / "evaluations" / str(number)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise PerceptionError(folder, f"cannot write: {error.strerror or error}") from error
        return folder
    raise AssertionError


def evaluate_run(run: StoredRun, out: Path | None = None) -> Evaluation:
    """Scores every validation frame, with a progress bar, and writes `evaluation.json`.

    out: its folder; the run's by default.
    """
    with progress("evaluate", run.experiment.validation_frames) as show:
        done = count(1)
        evaluation = run.experiment.evaluate(tick=lambda: show(next(done)))
    write_json((out or run.folder) / "evaluation.json", as_values(run, evaluation))
    return evaluation


def evaluate_file(
    path: Path, run: Path | str | None = None, *, device: str = "auto"
) -> tuple[Evaluation, Path]:
    """Scores an exported file on its run's validation sets; also the JSON that was written.

    run: the run that has the data; None: the nearest folder of one above the file.

    Raises:
        PerceptionError: no run there, or its data is not.
    """
    above = [p for p in path.resolve().parents if (p / "config.yaml").is_file()]
    if run is None and not above:
        raise PerceptionError(path, "no run above it", "of=RUN, the run that has the data")
    model = load(path, device=device)
    experiment = open_run(Path(run) if run else above[0], device="cpu").experiment
    with progress("evaluate", experiment.validation_frames) as show:
        done = count(1)
        evaluation = experiment.evaluate_model(model, tick=lambda: show(next(done)))
    written = path.with_name(f"{path.name}.evaluation.json")
    write_json(written, {"machine": machine(), "metrics": evaluation.metrics()})
    return evaluation, written


def as_values(run: StoredRun, evaluation: Evaluation) -> dict[str, Any]:
    """Everything that was measured, as plain values."""
    return {
        "checkpoint": run.checkpoint.name,
        "step": run.step,
        "overrides": list(run.overrides),
        "machine": machine(),
        "training_seconds": training_seconds(run.folder),
        "metrics": evaluation.metrics(),
        "sets": {
            s.dataset: {
                "frames": len(s.frames),
                "protocols": [asdict(p) for p in s.protocols],
                "milliseconds": asdict(s.mean_timing),
                "scores": {f.key: dict(f.scores) for f in s.frames},
            }
            for s in evaluation.sets
        },
    }


def machine() -> str:
    """Processor or accelerator that predicted."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def training_seconds(folder: Path) -> float:
    """Seconds spent training; a resumed run's parts are added up."""
    total = last = 0.0
    for row in read_log(folder / "train.csv"):
        seconds = row.get("seconds", 0.0)
        if seconds < last:
            total += last
        last = seconds
    return total + last
