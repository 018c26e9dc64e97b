"""What every head is: forward, loss and decode of one task, in one readable file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from perception.errors import PerceptionError
from perception.models.layers import Size
from perception.models.losses import ReduceCount, identity
from perception.tasks import Kind

if TYPE_CHECKING:
    from perception.data.batch import Batch


INPUTS = ("image", "step", "targets")  # what `needs` may name


class Head(nn.Module, ABC):
    """One task on top of an encoder; `Batch.targets[task]` holds its targets.

    `kind` says what `decode` returns: a probability (MASK), train ids and their probability
    (CLASSES), a value (VALUES) for every pixel, or `Boxes`. Outputs are named tuples of tensors,
    which DDP, autocast, `torch.compile` and ONNX understand.

    A head that must see more than the encoder's features declares it, in its class or in
    `__init__`, and `forward` then takes it by name:

        needs = ("image", "step", "targets")  # any of them
        reads = ("road",)  # tasks whose heads run first

        def forward(self, features, size, *, image, step, targets, outputs): ...

    `image` is (N, 3, H, W) as the encoder sees it, `step` the optimiser steps done, `targets` the
    `Batch`; both are None where nothing is trained. `outputs` has what the heads in `reads` said.

    Args:
        task: its name, which several heads of one class tell apart.
    """

    kind: ClassVar[Kind]
    unit: str = ""  # of VALUES
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    def __init__(self, task: str) -> None:
        super().__init__()
        self.task = task

    @property
    def setting(self) -> str:
        """Where its settings are, for messages."""
        return f"head.{self.task}"

    @abstractmethod
    def forward(self, features: dict[str, Tensor], size: Size, *_: Any, **declared: Any) -> Any:
        """The output for images of `size` (H, W), given the encoder's features by name."""

    @abstractmethod
    def loss(
        self, output: Any, batch: Batch, *, reduce_count: ReduceCount = identity
    ) -> dict[str, Tensor]:
        """Named terms whose sum is the task's loss; means by `reduce_count` of what counts."""

    @abstractmethod
    def decode(self, output: Any, index: int = 0) -> Any:
        """The result for image `index` of the batch: numpy, in pixels of the network's input."""

    def answer(self, output: Any, size: Size) -> dict[str, Tensor]:  # noqa: ARG002
        """What `decode` starts from, as tensors of the whole batch: the part that export traces.

        By kind: MASK `probability` (N, H, W); CLASSES `ids` uint8 and `score`; VALUES `values`;
        BOXES `xyxy` (N, M, 4) inside the image and `scores` (N, M, K), 0 for empty boxes. `size`
        is the (height, width) of the images without padding.
        """
        raise PerceptionError(f"task {self.task}", f"{type(self).__name__} has no method answer")


def check_declared(heads: Mapping[str, Head]) -> None:
    """Holds what heads declare against what there is.

    Raises:
        PerceptionError: an unknown input, a head that is not there, or heads in a circle.
    """
    for task, head in heads.items():
        for name in head.needs:
            if name not in INPUTS:
                raise PerceptionError(f"head.{task}.needs", name, f"any of {', '.join(INPUTS)}")
        for other in head.reads:
            if other not in heads:
                raise PerceptionError(
                    f"head.{other}", "no head", f"one, because head.{task} reads its output"
                )
    try:
        TopologicalSorter({task: head.reads for task, head in heads.items()}).prepare()
    except CycleError as error:
        circle = " ← ".join(error.args[1])
        raise PerceptionError(
            "head.*.reads", circle, "heads that can run one after the other"
        ) from error


def choose(channels: Mapping[str, int], name: str, setting: str) -> int:
    """The channels of feature `name`, or a `PerceptionError` that lists those there are."""
    try:
        return channels[name]
    except KeyError:
        raise PerceptionError(
            setting, str(name), f"one of {', '.join(channels)}", "Name a feature of this encoder."
        ) from None
