"""Balancing: how the task losses of one step become one gradient of the shared encoder.

`losses` holds one scalar per task that had targets in this step. A balance decides what is
differentiated; it can also ask for each task's own gradient on the shared parameters
(`task_gradients`), which is where DWA, GradNorm or PCGrad fit. One class per method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

Losses = Mapping[str, Tensor]


class Balance(nn.Module, ABC):
    """Turns task losses into gradients; subclasses say how."""

    @abstractmethod
    def total(self, losses: Losses) -> Tensor:
        """The scalar that is differentiated."""

    def backward(
        self, losses: Losses, shared: Sequence[nn.Parameter], backward: Callable[[Tensor], None]
    ) -> Tensor:
        """Adds gradients to all parameters and returns the detached total.

        Args:
            losses: one scalar per task.
            shared: the parameters of the encoder.
            backward: what differentiates a scalar (`fabric.backward`).
        """
        del shared  # methods that look at gradients use it
        total = self.total(losses)
        backward(total)
        return total.detach()


class Fixed(Balance):
    """A weighted sum; a task that is not named has weight 1."""

    def __init__(self, task_weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.task_weights = dict(task_weights or {})

    def total(self, losses: Losses) -> Tensor:
        """Sum of weight times loss."""
        return torch.stack([self.task_weights.get(t, 1.0) * x for t, x in losses.items()]).sum()


class Uncertainty(Balance):
    """Learned weights: sum of exp(-s_t) * loss_t + s_t / 2 with s_t = log of the task's variance.

    The factor on the loss is 1 for every task at first. A task without targets in a step leaves
    its s_t alone. Source: Kendall et al., Multi-Task Learning Using Uncertainty, CVPR 2018,
    section 3.2.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.log_variance = nn.ParameterDict({t: nn.Parameter(torch.zeros(())) for t in tasks})

    def total(self, losses: Losses) -> Tensor:
        """Sum over the tasks of this step."""
        terms = [
            torch.exp(-self.log_variance[t]) * x + 0.5 * self.log_variance[t]
            for t, x in losses.items()
        ]
        return torch.stack(terms).sum()


def task_gradients(
    losses: Losses, shared: Sequence[nn.Parameter]
) -> dict[str, tuple[Tensor | None, ...]]:
    """Each task's own gradient on the shared parameters; the graph is kept for the real backward.

    Returns one tuple per task, in the order of `shared`; None where a task does not reach.
    """
    return {
        task: torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        for task, loss in losses.items()
    }
