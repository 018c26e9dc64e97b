"""Balances that weight losses by what the losses say: fixed, learned, by rate, by decrease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from perception.training.balance.base import (
    Backward,
    Balance,
    Losses,
    TaskBalance,
    stacked,
    weighted,
)

SMALL = 1e-8  # a loss of zero has a logarithm with this


class Fixed(Balance):
    """A weighted sum; a task that is not named has weight 1."""

    def __init__(self, task_weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.task_weights = dict(task_weights or {})

    def total(self, losses: Losses) -> Tensor:
        """Sum of weight times loss."""
        return weighted(losses, [self.task_weights.get(task, 1.0) for task in losses])


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

    def report(self) -> dict[str, float]:
        """The factors on the losses."""
        return {f"weight/{t}": float((-s.detach()).exp()) for t, s in self.log_variance.items()}


class DWA(TaskBalance):
    """Dynamic weight average: a task whose loss falls slowly weighs more.

    w_t = T * softmax(r_t / temperature), r_t = the task's mean loss in the last window over that in
    the window before; 1 until there are two. A task without targets in a window keeps its means.
    Source: Liu et al., End-to-End Multi-Task Learning with Attention, CVPR 2019, eq. 7 (epochs
    there, windows of `window` backward passes here).
    """

    weight: Tensor
    sums: Tensor
    counts: Tensor
    last: Tensor
    before: Tensor
    seen: Tensor

    def __init__(self, tasks: Sequence[str], window: int = 100, temperature: float = 2.0) -> None:
        super().__init__(tasks)
        self.window, self.temperature = window, temperature
        for name, value in {"weight": 1.0, "sums": 0.0, "counts": 0.0}.items():
            self.register_buffer(name, self.per_task(value))
        for name in ("last", "before"):
            self.register_buffer(name, self.per_task(float("nan")))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def total(self, losses: Losses) -> Tensor:
        """Sum of weight times loss."""
        return weighted(losses, [self.weight[i] for i in self.present(losses)])

    def backward(
        self, losses: Losses, shared: Sequence[nn.Parameter], backward: Backward
    ) -> Tensor:
        """As the base; then the window moves on."""
        total = super().backward(losses, shared, backward)
        here, now = self.present(losses), stacked(losses)
        self.sums[here] += now.nan_to_num(0.0, 0.0, 0.0)
        self.counts[here] += now.isfinite().to(self.counts)
        self.seen += 1
        if int(self.seen) % self.window == 0:
            self._end_window()
        return total

    def report(self) -> dict[str, float]:
        """The weights."""
        return self.by_task("weight", self.weight)

    def _end_window(self) -> None:
        had = self.counts > 0
        self.before[had] = self.last[had]
        self.last[had] = (self.sums / self.counts)[had]
        ratio = self.last / self.before.clamp_min(SMALL)
        known = ratio.isfinite()
        share = (ratio[known] / self.temperature).softmax(0)
        self.weight[known] = share * int(known.sum())
        self.sums.zero_()
        self.counts.zero_()


class FAMO(TaskBalance):
    """Fast adaptive multi-task optimisation: all losses fall at about the same relative rate.

    Differentiates sum of c * z_t * log(loss_t), z = softmax(logits), c = 1 / sum(z_t / loss_t), so
    that the weights z_t * c / loss_t add up to 1; they are multiplied by the number of tasks here.
    Logits follow the change of log(loss) by Adam. The losses of the next backward pass stand for
    those of the same frames after the update, which would cost another forward pass. Source: Liu et
    al., FAMO, NeurIPS 2023, algorithm 1.
    """

    logits: Tensor
    last: Tensor
    first_moment: Tensor
    second_moment: Tensor
    seen: Tensor

    def __init__(
        self, tasks: Sequence[str], lr: float = 0.025, weight_decay: float = 0.001
    ) -> None:
        super().__init__(tasks)
        self.lr, self.weight_decay = lr, weight_decay
        for name in ("logits", "first_moment", "second_moment"):
            self.register_buffer(name, self.per_task(0.0))
        self.register_buffer("last", self.per_task(float("nan")))  # logarithms of the losses
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def total(self, losses: Losses) -> Tensor:
        """Sum of weight times loss, weights as of now (their gradient is that of the method)."""
        return weighted(losses, list(self.weights(losses)))

    def weights(self, losses: Losses) -> Tensor:
        """(T,) of the tasks of this step; they add up to its number of tasks."""
        share = self.logits[self.present(losses)].softmax(0) / (stacked(losses) + SMALL)
        return share / share.sum() * len(losses)

    def backward(
        self, losses: Losses, shared: Sequence[nn.Parameter], backward: Backward
    ) -> Tensor:
        """Logits learn from what the last step changed; then as the base."""
        here = torch.tensor(self.present(losses), device=self.logits.device)
        now = (stacked(losses) + SMALL).log()
        both = (self.last[here] - now).isfinite()
        if both.any():
            self._learn(here[both], (self.last[here] - now)[both])
        self.last[here] = now
        return super().backward(losses, shared, backward)

    def report(self) -> dict[str, float]:
        """The share of every task."""
        return self.by_task("share", self.logits.softmax(0))

    def _learn(self, here: Tensor, fallen: Tensor) -> None:
        """One step of Adam; `fallen` is how much the logarithm of each loss of `here` fell."""
        share = self.logits[here].softmax(0)
        gradient = torch.zeros_like(self.logits)
        gradient[here] = share * (fallen - (share * fallen).sum())  # of sum(share * fallen)
        gradient += self.weight_decay * self.logits
        self.seen += 1
        self.first_moment.lerp_(gradient, 0.1)
        self.second_moment.lerp_(gradient.square(), 0.001)
        mean = self.first_moment / (1 - 0.9 ** int(self.seen))
        spread = (self.second_moment / (1 - 0.999 ** int(self.seen))).sqrt() + 1e-8
        self.logits -= self.lr * mean / spread
