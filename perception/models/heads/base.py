"""What every head is: forward, loss and decode of one task, in one readable file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from perception.errors import PerceptionError
from perception.models.layers import Size
from perception.models.losses import ReduceCount, identity

if TYPE_CHECKING:
    from perception.data.batch import Batch


class Head(nn.Module, ABC):
    """One task on top of an encoder; `task` is also the field of `Batch` that holds its targets.

    Outputs are named tuples of tensors, which DDP, autocast, `torch.compile` and ONNX understand.
    """

    task: str

    @abstractmethod
    def forward(self, features: dict[str, Tensor], size: Size) -> Any:
        """The output for images of `size` (H, W), given the encoder's features by name."""

    @abstractmethod
    def loss(
        self, output: Any, batch: Batch, *, reduce_count: ReduceCount = identity
    ) -> dict[str, Tensor]:
        """Named terms whose sum is the task's loss; means by `reduce_count` of what counts."""

    @abstractmethod
    def decode(self, output: Any, index: int = 0) -> Any:
        """The result for image `index` of the batch: numpy, in pixels of the network's input."""


def choose(channels: Mapping[str, int], name: str, setting: str) -> int:
    """The channels of feature `name`, or a `PerceptionError` that lists those there are."""
    try:
        return channels[name]
    except KeyError:
        raise PerceptionError(
            setting, str(name), f"one of {', '.join(channels)}", "Name a feature of this encoder."
        ) from None
