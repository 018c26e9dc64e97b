"""Balances that weight losses by the norms of their gradients on the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from perception.training.balance.base import (
    Backward,
    Losses,
    TaskBalance,
    jacobian,
    keep_graphs,
    stacked,
    weighted,
)


class EqualGradients(TaskBalance):
    """Weights that give every task the same gradient norm on the encoder; measured once, then kept.

    Tasks weigh 1 for `warmup` backward passes. The norms of the last `window` of them are averaged
    (a task without targets in a pass leaves its mean alone) and weights are set to

        w_t = wish_t * mean of the norms / norm_t, at most `limit` and at least 1 / `limit`,

    which leaves the sum of the norms as it was. Afterwards norms are measured every `every` passes,
    for the log.

    Args:
        tasks: of the run.
        task_weights: wishes, e.g. {road: 0.5} for half the norm; 1 where not named.
        warmup: passes before the weights are set; null: never (the norms are still logged).
        window: passes that are averaged.
        every: passes between two measurements; 0: none after the warm-up.
        limit: of the factor, so that a task that hardly reaches the encoder cannot run away.
    """

    factor: Tensor
    norm: Tensor
    sums: Tensor
    counts: Tensor
    seen: Tensor

    def __init__(
        self,
        tasks: Sequence[str],
        task_weights: Mapping[str, float] | None = None,
        warmup: int | None = 100,
        window: int = 20,
        every: int = 50,
        limit: float = 10.0,
    ) -> None:
        super().__init__(tasks)
        keep_graphs()
        self.task_weights = dict(task_weights or {})
        self.warmup, self.every, self.limit = warmup, every, limit
        self.window = min(window, warmup or 0)
        for name, value in {"factor": 1.0, "sums": 0.0, "counts": 0.0}.items():
            self.register_buffer(name, self.per_task(value))
        self.register_buffer("norm", self.per_task(float("nan")))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def total(self, losses: Losses) -> Tensor:
        """Sum of wish times factor times loss."""
        return weighted(losses, self._weights(losses))

    def backward(
        self, losses: Losses, shared: Sequence[nn.Parameter], backward: Backward
    ) -> Tensor:
        """As the base, after measuring where it is time for it."""
        step = int(self.seen)
        collects = self.warmup is not None and self.warmup - self.window <= step < self.warmup
        if len(self.tasks) > 1 and shared and (collects or (self.every and step % self.every == 0)):
            here = self.present(losses)
            self.norm[here] = norm = gradient_norms(losses, shared).to(self.norm)
            if collects:  # a pass that is no number counts for nothing
                self.sums[here] += norm.nan_to_num(0.0, 0.0, 0.0)
                self.counts[here] += norm.isfinite().to(self.counts)
        total = super().backward(losses, shared, backward)
        self.seen += 1
        if step + 1 == self.warmup:
            self._freeze()
        return total

    def report(self) -> dict[str, float]:
        """Weights, and the norms when last measured (of the losses without weights)."""
        wish = [self.task_weights.get(task, 1.0) for task in self.tasks]
        weight = self.factor * self.factor.new_tensor(wish)
        return {**self.by_task("weight", weight), **self.by_task("gradient", self.norm)}

    def _weights(self, losses: Losses) -> list[Tensor]:
        return [
            self.factor[i] * self.task_weights.get(task, 1.0)
            for i, task in zip(self.present(losses), losses, strict=True)
        ]

    def _freeze(self) -> None:
        mean = self.sums / self.counts.clamp_min(1)
        known = mean > 0
        if known.any():
            factor = mean[known].mean() / mean[known]
            self.factor[known] = factor.clamp(1 / self.limit, self.limit)


class GradNorm(TaskBalance):
    """Weights learned so that gradient norms follow the tasks' speeds.

    w_t moves down the gradient of sum |w_t * norm_t - target_t|, target_t = mean(w * norm) *
    r_t^alpha held constant, r_t = (loss_t / first loss_t) over its mean; then weights are scaled to
    add up to the number of tasks. Source: Chen et al., GradNorm, ICML 2018, algorithm 1.
    """

    weight: Tensor
    first: Tensor
    norm: Tensor

    def __init__(self, tasks: Sequence[str], alpha: float = 1.5, lr: float = 0.025) -> None:
        super().__init__(tasks)
        keep_graphs()
        self.alpha, self.lr = alpha, lr
        self.register_buffer("weight", self.per_task(1.0))
        self.register_buffer("first", self.per_task(float("nan")))
        self.register_buffer("norm", self.per_task(float("nan")))

    def total(self, losses: Losses) -> Tensor:
        """Sum of weight times loss."""
        return weighted(losses, [self.weight[i] for i in self.present(losses)])

    def backward(
        self, losses: Losses, shared: Sequence[nn.Parameter], backward: Backward
    ) -> Tensor:
        """As the base; the weights move for the next step."""
        here = self.present(losses)
        norm = gradient_norms(losses, shared).to(self.norm)
        total = super().backward(losses, shared, backward)
        now = stacked(losses)
        self.norm[here] = norm
        self.first[here] = torch.where(~self.first[here].isfinite(), now, self.first[here])
        if len(here) > 1 and shared and (norm + now).isfinite().all():
            self.weight[here] = self._moved(self.weight[here], norm, now / self.first[here])
        return total

    def report(self) -> dict[str, float]:
        """Weights and norms (of the losses without weights)."""
        return {**self.by_task("weight", self.weight), **self.by_task("gradient", self.norm)}

    def _moved(self, weight: Tensor, norm: Tensor, left: Tensor) -> Tensor:
        """The weights of the tasks of a step after it; their sum stays."""
        target = (weight * norm).mean() * (left / left.mean()).pow(self.alpha)
        moved = (weight - self.lr * (weight * norm - target).sign() * norm).clamp_min(1e-3)
        return moved * weight.sum() / moved.sum()


def gradient_norms(losses: Losses, shared: Sequence[nn.Parameter]) -> Tensor:
    """(T,) norm of each task's gradient on the shared parameters."""
    result: Tensor = jacobian(losses, shared).norm(dim=1)
    return result
