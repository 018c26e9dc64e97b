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

from perception.experiments import checkpoint
from perception.experiments.build import Experiment, build
from perception.experiments.config import merge_overrides, read_config
from perception.experiments.evaluate import Evaluation
from perception.experiments.load import choose_device, find_checkpoint
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
    config = merge_overrides(read_config(folder), overrides)
    config.encoder.weights = None
    state = checkpoint.load(path)
    experiment = build(config, trained=True)
    checkpoint.load_weights(experiment.model, state["evaluated"], path)
    experiment.model.to(chosen).eval()
    best = dict(state.get("best") or {})
    return StoredRun(folder, path, int(state["step"]), best, config, experiment)


def evaluate_run(run: StoredRun) -> Evaluation:
    """Scores every validation frame, with a progress bar, and writes `evaluation.json`."""
    with progress("evaluate", run.experiment.validation_frames) as show:
        done = count(1)
        evaluation = run.experiment.evaluate(tick=lambda: show(next(done)))
    write_json(run.folder / "evaluation.json", as_values(run, evaluation))
    return evaluation


def as_values(run: StoredRun, evaluation: Evaluation) -> dict[str, Any]:
    """Everything that was measured, as plain values."""
    return {
        "checkpoint": run.checkpoint.name,
        "step": run.step,
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
