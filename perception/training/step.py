"""One optimiser step: a micro-batch from every data set, one update.

`JointLoss` is what Fabric wraps: one forward pass over all micro-batches gives one loss per task,
so that data-parallel training sees one forward and one backward per step whatever the data sets
carry. A head without targets in a step is not run: no gradient, no weight decay, no moments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from perception.data.batch import Batch
from perception.errors import PerceptionError
from perception.models.multitask import MultiTask
from perception.training.balance import Balance

Count = Callable[[Tensor], Tensor]


class Micro:
    """One micro-batch of every data set, with the tasks each of them trains, at optimiser `step`.

    A plain class on purpose: Fabric rebuilds dataclasses it is handed and refuses frozen ones.
    """

    __slots__ = ("batches", "reduce_count", "step", "tasks")

    def __init__(
        self,
        batches: Sequence[Batch],
        tasks: Sequence[Sequence[str]],
        reduce_count: Count,
        step: int,
    ) -> None:
        self.batches, self.tasks = batches, tasks
        self.reduce_count, self.step = reduce_count, step


class JointLoss(nn.Module):
    """A multi-task model and its balance: micro-batches in, task losses out."""

    losses: dict[str, Tensor]  # of the last forward pass, without Fabric's hooks

    def __init__(self, model: MultiTask, balance: Balance) -> None:
        super().__init__()
        self.model = model
        self.balance = balance

    def forward(self, micro: Micro) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Task losses, and their named terms for the log.

        Returns:
            One scalar per task (the mean over the data sets that carry it), and "task/term" →
            detached scalar.
        """
        parts: dict[str, list[Tensor]] = {}
        terms: dict[str, list[Tensor]] = {}
        for batch, wanted in zip(micro.batches, micro.tasks, strict=True):
            outputs = self.model(batch.image, wanted, step=micro.step, targets=batch)
            for task in wanted:
                losses = self.model.head(task).loss(
                    outputs[task], batch, reduce_count=micro.reduce_count
                )
                parts.setdefault(task, []).append(torch.stack(list(losses.values())).sum())
                for name, value in losses.items():
                    terms.setdefault(f"{task}/{name}", []).append(value.detach())
        # Fabric puts a hook on what is returned, which only its own backward may pass; a balance
        # that asks for the gradient of one task starts from these.
        self.losses = _means(parts)
        return {task: loss.view_as(loss) for task, loss in self.losses.items()}, _means(terms)


def check_finite(
    losses: Mapping[str, float], loss: float, batches: Sequence[Batch], step: int
) -> None:
    """Stops a run whose loss is no number, naming the frames of the step.

    Args:
        losses: of this process, by task.
        loss: of all processes.
        batches: the micro-batches of this process.
        step: optimiser steps done before.

    Raises:
        PerceptionError: a loss is NaN or infinite.
    """
    bad = {task: value for task, value in losses.items() if not math.isfinite(value)}
    if bad or not math.isfinite(loss):
        keys = ", ".join(key for batch in batches for key in batch.keys)
        raise PerceptionError(
            f"step {step}",
            ", ".join(f"{t} loss {v}" for t, v in bad.items()) or f"loss {loss}",
            "finite losses",
            f"Frames of the step: {keys}. Lower optimizer.lr or look at these labels.",
        )


def _means(parts: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack(values).mean() for name, values in parts.items()}
