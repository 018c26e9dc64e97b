"""One encoder, any subset of heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from perception.errors import PerceptionError
from perception.models.encoders.base import Encoder
from perception.models.heads.base import Head, check_declared

if TYPE_CHECKING:
    from perception.data.batch import Batch


class MultiTask(nn.Module):
    """Normalises the image, encodes it once and runs the heads that are asked for.

    Args:
        encoder: its `mean` and `std` normalise the image.
        heads: at most one per task.
        left_out: tasks whose heads it does without, though a checkpoint may have their weights.
    """

    def __init__(
        self, encoder: Encoder, heads: Iterable[Head], *, left_out: Iterable[str] = ()
    ) -> None:
        super().__init__()
        self.left_out = tuple(f"heads.{task}" for task in left_out)  # where those weights would be
        self.encoder = encoder
        self.heads = nn.ModuleDict()
        for head in heads:
            if head.task in self.heads:
                raise ValueError(f"two heads for the task {head.task!r}")
            if hasattr(self.heads, head.task):  # "values", "type", ...: methods of torch's mapping
                raise PerceptionError(
                    f"task {head.task}", "a name that torch keeps for itself", "any other"
                )
            self.heads[head.task] = head
        check_declared({task: self.head(task) for task in self.heads})

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks there are heads for."""
        return tuple(self.heads)

    def forward(
        self,
        image: Tensor,
        tasks: Sequence[str] | None = None,
        *,
        step: int | None = None,
        targets: Batch | None = None,
    ) -> dict[str, Any]:
        """Outputs by task; a head that is neither asked for nor read by one is not run at all.

        Args:
            image: (N, 3, H, W) RGB, 0..255, uint8 or float.
            tasks: the heads to run; None runs all.
            step: optimiser steps done, and
            targets: the batch, for heads that declare them; None where nothing is trained.
        """
        encoder = self.encoder
        image = (image.to(encoder.mean.dtype) - encoder.mean) / encoder.std
        features, size = encoder(image), (image.shape[2], image.shape[3])
        given: dict[str, Any] = {"image": image, "step": step, "targets": targets}
        chosen = self.tasks if tasks is None else tuple(tasks)
        outputs: dict[str, Any] = {}
        for task in self._in_order(chosen):
            head = self.head(task)
            declared = {name: given[name] for name in head.needs}
            if head.reads:
                declared["outputs"] = {other: outputs[other] for other in head.reads}
            outputs[task] = head(features, size, **declared)
        return {task: outputs[task] for task in chosen}

    def _in_order(self, tasks: Iterable[str]) -> list[str]:
        """The tasks, each once and after those that its head reads."""
        order: dict[str, None] = {}
        for task in tasks:
            order |= dict.fromkeys([*self._in_order(self.head(task).reads), task])
        return list(order)

    def head(self, task: str) -> Head:
        """The head of a task; a `PerceptionError` when there is none."""
        if task not in self.heads:
            raise PerceptionError(
                "task",
                task,
                f"one of {', '.join(self.tasks)}",
                "Train a head for it, or ask for another.",
            )
        head = self.heads[task]
        assert isinstance(head, Head)
        return head


def in_layout(module: nn.Module, *, channels_last: bool) -> nn.Module:
    """`module` with its weights stored channels-last or contiguous."""
    kind = torch.channels_last if channels_last else torch.contiguous_format
    result: nn.Module = module.to(memory_format=kind)  # type: ignore[call-overload]
    return result
