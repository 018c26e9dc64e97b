"""One encoder, any subset of heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perception.errors import PerceptionError
from perception.models.encoders.base import Encoder
from perception.models.heads.base import Head


class MultiTask(nn.Module):
    """Normalises the image, encodes it once and runs the heads that are asked for.

    Args:
        encoder: its `mean` and `std` normalise the image.
        heads: at most one per task.
    """

    def __init__(self, encoder: Encoder, heads: Iterable[Head]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict()
        for head in heads:
            if head.task in self.heads:
                raise ValueError(f"two heads for the task {head.task!r}")
            self.heads[head.task] = head

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks there are heads for."""
        return tuple(self.heads)

    def forward(self, image: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """Outputs by task; a head that is not asked for is not run at all.

        Args:
            image: (N, 3, H, W) RGB, 0..255, uint8 or float.
            tasks: the heads to run; None runs all.
        """
        return self.decode(self.encode(image), (image.shape[2], image.shape[3]), tasks)

    def encode(self, image: Tensor) -> dict[str, Tensor]:
        """The encoder's features of (N, 3, H, W) RGB images, 0..255, uint8 or float."""
        encoder = self.encoder
        result: dict[str, Tensor] = encoder(
            (image.to(encoder.mean.dtype) - encoder.mean) / encoder.std
        )
        return result

    def decode(
        self, features: dict[str, Tensor], size: tuple[int, int], tasks: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Outputs by task for the features of images of `size`."""
        chosen = self.tasks if tasks is None else tasks
        return {task: self.head(task)(features, size) for task in chosen}

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
