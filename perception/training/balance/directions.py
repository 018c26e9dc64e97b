"""Balances that make one direction of the tasks' gradients on the encoder; heads get their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perception.errors import PerceptionError
from perception.training.balance.base import (
    Backward,
    Balance,
    Losses,
    jacobian,
    keep_graphs,
    weighted,
)


class Direction(Balance):
    """Base: `combine` makes the encoder's gradient of those of the tasks of a step."""

    def __init__(self) -> None:
        super().__init__()
        keep_graphs()
        self.norms: dict[str, float] = {}

    @abstractmethod
    def combine(self, gradients: Tensor) -> Tensor:
        """(T, P) one row per task of this step, T > 1 → (P,)."""

    def total(self, losses: Losses) -> Tensor:
        """The sum, whose gradients the heads get."""
        return weighted(losses, [1.0] * len(losses))

    def backward(
        self, losses: Losses, shared: Sequence[nn.Parameter], backward: Backward
    ) -> Tensor:
        """As the base; then the encoder's part is replaced by the combined direction."""
        if len(losses) < 2 or not shared:
            return super().backward(losses, shared, backward)
        gradients = jacobian(losses, shared)
        if not gradients.isfinite().all():  # the loop stops, or the loss scale falls
            return super().backward(losses, shared, backward)
        self.norms = dict(zip(losses, gradients.norm(dim=1).tolist(), strict=True))
        combined = self.combine(gradients)
        before = [None if p.grad is None else p.grad.clone() for p in shared]
        scale = torch.zeros_like(next(iter(losses.values())), requires_grad=True)
        total = self.total(losses)
        backward(total + scale)  # its gradient says by what `backward` multiplies
        assert scale.grad is not None
        parts = (combined * scale.grad).split([p.numel() for p in shared])
        for parameter, old, part in zip(shared, before, parts, strict=True):
            if parameter.grad is not None:  # one that no task reaches stays without
                parameter.grad.copy_(part.view_as(parameter))
                if old is not None:
                    parameter.grad.add_(old)
        return total.detach()

    def report(self) -> dict[str, float]:
        """The norms of the tasks' gradients."""
        return {f"gradient/{task}": norm for task, norm in self.norms.items()}


class PCGrad(Direction):
    """Each task's gradient loses what points against another's, one after the other in any order.

    The order is drawn per step from torch's generator, which the training loop seeds. Source: Yu et
    al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020, algorithm 1.
    """

    def combine(self, gradients: Tensor) -> Tensor:
        """The sum of the projected gradients."""
        projected = gradients.clone()
        squares = gradients.square().sum(1)
        for i in range(len(gradients)):
            for j in torch.randperm(len(gradients)).tolist():
                against = projected[i] @ gradients[j]
                if i != j and against < 0:
                    projected[i] -= against / squares[j] * gradients[j]
        return projected.sum(0)


class TorchJD(Direction):
    """An aggregator of the library torchjd (extra `torchjd`).

    Args:
        aggregator: its name in torchjd.aggregation, e.g. UPGrad, MGDA, AlignedMTL, IMTLG.
        options: its arguments.
        scale: factor on its result; None: the number of tasks, because most aggregators average and
            learning rates are those of a sum.
    """

    def __init__(
        self,
        aggregator: str = "UPGrad",
        options: Mapping[str, Any] | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        try:
            from torchjd import aggregation
        except ImportError as error:
            raise PerceptionError(
                "balance=torchjd",
                "torchjd is not installed",
                "the extra `torchjd`",
                "pip install 'road-perception[torchjd]', or choose another balance.",
            ) from error
        kind = getattr(aggregation, str(aggregator), None)
        if not (isinstance(kind, type) and issubclass(kind, aggregation.Aggregator)):
            names = [n for n in aggregation.__all__ if not n.endswith(("Weighting", "Aggregator"))]
            raise PerceptionError(
                "balance.aggregator", str(aggregator), f"one of {', '.join(names)}"
            )
        try:
            self.aggregate = kind(**dict(options or {}))
        except (ImportError, TypeError, ValueError) as error:
            raise PerceptionError("balance.options", " ".join(str(error).split())) from error

    def combine(self, gradients: Tensor) -> Tensor:
        """What the aggregator makes of them."""
        combined: Tensor = self.aggregate(gradients)
        return combined * (len(gradients) if self.scale is None else self.scale)
