"""What a balance is: the losses of one step in, gradients out.

`losses` holds one scalar per task that had targets in this step. A balance decides what is
differentiated, and may look at each task's own gradient on the shared parameters (those of the
encoder). What it remembers is in buffers, so that a resumed run goes on bit-equal.
"""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

Losses = Mapping[str, Tensor]
Backward = Callable[[Tensor], None]


class Balance(nn.Module, ABC):
    """Turns task losses into gradients; subclasses say how."""

    @abstractmethod
    def total(self, losses: Losses) -> Tensor:
        """The scalar that is differentiated."""

    def backward(
        self, losses: Losses, shared: Sequence[nn.Parameter], backward: Backward
    ) -> Tensor:
        """Adds gradients to all parameters and returns the detached total.

        Args:
            losses: one scalar per task.
            shared: the trained parameters of the encoder.
            backward: what differentiates a scalar (`fabric.backward`).
        """
        del shared  # methods that look at gradients use it
        total = self.total(losses)
        backward(total)
        return total.detach()

    def report(self) -> dict[str, float]:
        """Numbers for the log, e.g. "weight/road"."""
        return {}


class TaskBalance(Balance):
    """Base of those that keep one number of each kind per task.

    Args:
        tasks: all tasks of the run; a step may have targets for some of them only.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def per_task(self, value: float) -> Tensor:
        """(T,) filled with `value`, for a buffer."""
        return torch.full((len(self.tasks),), value)

    def present(self, losses: Losses) -> list[int]:
        """Positions of the tasks of this step, in the order of `losses`."""
        return [self.tasks.index(task) for task in losses]

    def by_task(self, name: str, values: Tensor) -> dict[str, float]:
        """Values by "name/task", for the log; without those that are not known yet."""
        known = zip(self.tasks, values.tolist(), strict=True)
        return {f"{name}/{task}": value for task, value in known if value == value}


def takes_tasks(target: str) -> bool:
    """Whether the class of this dotted name is told the tasks of the run."""
    module, _, name = target.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
        return "tasks" in inspect.signature(kind).parameters
    except (ImportError, AttributeError, TypeError, ValueError):
        return False  # building it says what is wrong


def weighted(losses: Losses, weights: Sequence[Tensor | float]) -> Tensor:
    """Sum of weight times loss, weights in the order of `losses`."""
    return torch.stack([w * x for w, x in zip(weights, losses.values(), strict=True)]).sum()


def stacked(losses: Losses) -> Tensor:
    """(T,) float32 detached losses, means over processes."""
    return over_processes(torch.stack([loss.detach().float() for loss in losses.values()]))


def task_gradients(
    losses: Losses, shared: Sequence[nn.Parameter]
) -> dict[str, tuple[Tensor | None, ...]]:
    """Each task's own gradient on the shared parameters; the graph is kept for the real backward.

    Returns one tuple per task, in the order of `shared`; None where a task does not reach.
    """
    if not shared:
        return dict.fromkeys(losses, ())
    return {
        task: torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        for task, loss in losses.items()
    }


def jacobian(losses: Losses, shared: Sequence[nn.Parameter]) -> Tensor:
    """(T, P) float32: each task's gradient as a row, means over processes; 0 where none reaches."""
    rows = [
        [
            torch.zeros(p.numel(), device=p.device) if g is None else g.float().flatten()
            for p, g in zip(shared, gradients, strict=True)
        ]
        for gradients in task_gradients(losses, shared).values()
    ]
    if not shared:
        return torch.zeros(len(rows), 0)
    return over_processes(torch.stack([torch.cat(row) for row in rows]))


def keep_graphs() -> None:
    """Compiled networks keep what a second backward through them needs; call before compiling."""
    import torch._functorch.config as functorch

    functorch.donated_buffer = False


def over_processes(values: Tensor) -> Tensor:
    """The mean over all processes, so that each of them decides alike."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        values = values.clone()
        torch.distributed.all_reduce(values)
        values /= torch.distributed.get_world_size()
    return values
