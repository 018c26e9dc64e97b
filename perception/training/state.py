"""All that changes while a run goes on, and how it is kept in `last.pt` and `best.pt`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig
from torch import Tensor, nn

from perception.errors import PerceptionError
from perception.experiments import checkpoint
from perception.experiments.build import Experiment
from perception.files import atomic_open
from perception.models.multitask import MultiTask
from perception.training.ema import EMA
from perception.training.folder import Claim
from perception.training.logs import Logger
from perception.training.optim import Plateau, Schedule
from perception.training.step import JointLoss


@dataclass
class Run:
    """All that changes while a run goes on."""

    fabric: Fabric
    folder: Path
    config: DictConfig
    experiment: Experiment
    joint: Any  # JointLoss, wrapped by Fabric
    inner: JointLoss  # the same, unwrapped
    optimizer: Any  # wrapped by Fabric
    schedule: Schedule
    ema: EMA | None
    logger: Logger
    claim: Claim | None = None  # on the folder; the first process has it
    step: int = 0  # optimiser steps done
    best: dict[str, Any] = field(default_factory=dict)  # metric, value, step
    saved: int = -1  # the step that last.pt holds
    buffers: list[Tensor] = field(default_factory=list)  # as they were before the step
    updating: bool = False  # weights and moments are between two steps
    stop: bool = False  # a process was asked to stop; all of them agree on it

    @property
    def evaluated(self) -> MultiTask:
        """The weights that are evaluated: the average where there is one."""
        return self.ema.model if self.ema else self.inner.model

    def remember(self) -> None:
        """Notes the buffers (batch statistics) before a step, which a forward pass changes."""
        buffers = list(self.inner.buffers())
        if self.buffers:
            torch._foreach_copy_(self.buffers, buffers)
        else:
            self.buffers = [b.clone() for b in buffers]

    def undo(self) -> None:
        """Puts back the buffers of the last whole step, after a step that failed."""
        if self.buffers:
            torch._foreach_copy_(list(self.inner.buffers()), self.buffers)


def save(run: Run) -> None:
    """Writes `last.pt`: all that `restore` needs."""
    if not run.fabric.is_global_zero:
        run.saved = run.step
        return
    state = {
        **weights_of(run),
        "weights": run.inner.model.state_dict(),
        "balance": run.inner.balance.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "optimizer_class": str(run.config.optimizer.get("_target_")),
        "ema": run.ema.model.state_dict() if run.ema else None,
        "schedule": run.schedule.state_dict() if isinstance(run.schedule, Plateau) else {},
        "precision": run.fabric.strategy.precision.state_dict(),
        "best": run.best,
    }
    checkpoint.save(run.folder / "last.pt", state)
    run.saved = run.step


def restore(run: Run) -> None:
    """Puts a run back to its last checkpoint.

    Settings of the optimiser (learning rate, weight decay, ...) are those of the configuration;
    the checkpoint gives its moments.

    Raises:
        PerceptionError: a checkpoint that is missing, damaged or of another optimiser or network.
    """
    path = run.folder / "last.pt"
    if not path.is_file():
        _begin_again(run, path)
        return
    state = checkpoint.load(path)
    try:
        unused = run.inner.model.left_out
        checkpoint.load_weights(run.inner.model, state["weights"], path, unused=unused)
        if run.ema:
            average = state["ema"] or state["weights"]
            checkpoint.load_weights(run.ema.model, average, path, unused=unused)
        run.inner.balance.load_state_dict(state["balance"])
        _restore_optimizer(run, state, path)
        if isinstance(run.schedule, Plateau):
            run.schedule.load_state_dict(state["schedule"])
        run.fabric.strategy.precision.load_state_dict(state["precision"])
        run.step, run.best = int(state["step"]), dict(state["best"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise PerceptionError(
            path,
            " ".join(str(error).split())[:160] or type(error).__name__,
            "the state of a run with this configuration",
            "Copy the file from a backup, or start a new run with initialize=.",
        ) from error
    run.saved = run.step


def export_weights(model: nn.Module, path: Path) -> None:
    """Writes the weights as safetensors, for `initialize=` and for other programs."""
    from safetensors.torch import save as serialize

    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    with atomic_open(path) as file:
        file.write(serialize(weights))


def weights_of(run: Run) -> dict[str, Any]:
    """What evaluation and export read."""
    return {"step": run.step, "evaluated": run.evaluated.state_dict()}


# ---------------------------------------------------------------------------- helpers


def _begin_again(run: Run, path: Path) -> None:
    """A run that was killed before its first checkpoint begins again; any other has lost it."""
    log = run.folder / "train.csv"
    if (run.folder / "best.pt").exists() or log.exists():
        raise PerceptionError(
            path,
            "no such file",
            "the state of the run",
            "Copy it from a backup, or train anew: another run_dir, initialize= for its weights.",
        )
    if run.fabric.is_global_zero:
        print(f"{run.folder}: stopped before its first checkpoint; it begins again")


def _restore_optimizer(run: Run, state: dict[str, Any], path: Path) -> None:
    """Loads moments; what the configuration sets for each group stays."""
    ours = str(run.config.optimizer.get("_target_"))
    theirs = state.get("optimizer_class", ours)
    if theirs != ours:
        raise PerceptionError(
            path, f"the moments of {theirs}", ours, "Another optimiser is a new run (initialize=)."
        )
    settings = [
        {k: v for k, v in group.items() if k != "params"} for group in run.optimizer.param_groups
    ]
    run.optimizer.load_state_dict(state["optimizer"])
    for group, own in zip(run.optimizer.param_groups, settings, strict=True):
        group.update(own)
