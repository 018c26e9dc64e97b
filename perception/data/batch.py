"""What training eats: a sample (one image with targets, numpy) and a batch (tensors)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perception.structures import by_task
from perception.tasks import Kind


@dataclass(frozen=True)
class SampleBoxes:
    """Boxes of one sample."""

    xyxy: NDArray[np.float64]  # (K, 4) pixels
    label: NDArray[np.int64]  # (K,) index into the head's class list; 0 where `ignore` is any class
    ignore: NDArray[np.bool_]  # (K,)

    def __getitem__(self, rows: NDArray[np.bool_]) -> SampleBoxes:
        return SampleBoxes(self.xyxy[rows], self.label[rows], self.ignore[rows])


@dataclass(frozen=True)
class DenseTarget:
    """What every pixel of one sample is to answer."""

    kind: Kind
    array: NDArray[
        Any
    ]  # (H, W): ids, uint8, 255 ignore (MASK: 1 and 0); VALUES: float32, NaN unknown


Target = DenseTarget | SampleBoxes
NAMED = {"road": Kind.MASK, "semantic": Kind.CLASSES}  # targets that may be given as bare arrays


@dataclass(frozen=True, init=False)
class Sample:
    """One image with its targets by task; a task that is not there is not labelled.

    Targets are given as one mapping, or by name: `road` and `semantic` as (H, W) ids, `boxes`.
    """

    key: str
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    targets: Mapping[str, Target]
    projection: NDArray[np.float64] | None  # (3, 4) camera to pixels (KITTI's P2)

    def __init__(
        self,
        key: str,
        image: NDArray[np.uint8],
        *,
        targets: Mapping[str, Target] | None = None,
        projection: NDArray[np.float64] | None = None,
        **named: Target | NDArray[np.uint8] | None,
    ) -> None:
        given = {
            task: DenseTarget(NAMED[task], value) if isinstance(value, np.ndarray) else value
            for task, value in named.items()
        }
        fields = {"key": key, "image": image, "projection": projection}
        for name, value in {**fields, "targets": by_task(targets, given)}.items():
            object.__setattr__(self, name, value)

    def dense(self, task: str) -> NDArray[Any] | None:
        """The (H, W) target of a task, None without one."""
        target = self.targets.get(task)
        return target.array if isinstance(target, DenseTarget) else None

    @property
    def road(self) -> NDArray[np.uint8] | None:
        """(H, W): 1 road, 0 not, 255 ignore."""
        return self.dense("road")

    @property
    def semantic(self) -> NDArray[np.uint8] | None:
        """(H, W) train ids, 255 ignore."""
        return self.dense("semantic")

    @property
    def boxes(self) -> SampleBoxes | None:
        """The boxes of the task boxes."""
        target = self.targets.get("boxes")
        return target if isinstance(target, SampleBoxes) else None


@dataclass(frozen=True)
class BoxTarget:
    """Boxes of one image of a batch."""

    xyxy: Tensor  # (K, 4) float32, pixels of the batch image
    label: Tensor  # (K,) int64 index into the head's class list
    ignore: Tensor  # (K,) bool: DontCare regions, neighbours: neither right nor wrong

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> BoxTarget:
        """The same boxes on `device`."""
        return BoxTarget(
            self.xyxy.to(device, non_blocking=non_blocking),
            self.label.to(device, non_blocking=non_blocking),
            self.ignore.to(device, non_blocking=non_blocking),
        )


BatchTarget = Tensor | tuple[BoxTarget, ...]


@dataclass(frozen=True)
class Batch:
    """N images of one size with their targets by task."""

    keys: tuple[str, ...]
    image: Tensor  # (N, 3, H, W) uint8 RGB; the model normalises
    targets: Mapping[str, BatchTarget] = field(default_factory=dict)
    # ids: (N, H, W) uint8, 255 ignore; VALUES: (N, H, W) float32, NaN unknown; boxes: one per image

    def dense(self, task: str) -> Tensor:
        """The (N, H, W) target of a task that answers every pixel."""
        target = self.targets[task]
        assert isinstance(target, Tensor)
        return target

    def boxes_of(self, task: str) -> tuple[BoxTarget, ...]:
        """The boxes of each image."""
        target = self.targets[task]
        assert isinstance(target, tuple)
        return target

    @property
    def road(self) -> Tensor | None:
        """(N, H, W) uint8: 1 road, 0 not, 255 ignore."""
        return self.dense("road") if "road" in self.targets else None

    @property
    def semantic(self) -> Tensor | None:
        """(N, H, W) uint8 train ids, 255 ignore."""
        return self.dense("semantic") if "semantic" in self.targets else None

    @property
    def boxes(self) -> tuple[BoxTarget, ...] | None:
        """The boxes of each image."""
        return self.boxes_of("boxes") if "boxes" in self.targets else None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch on `device`."""

        def moved(target: BatchTarget) -> BatchTarget:
            if isinstance(target, Tensor):
                return target.to(device, non_blocking=non_blocking)
            return tuple(boxes.to(device, non_blocking=non_blocking) for boxes in target)

        return replace(
            self,
            image=self.image.to(device, non_blocking=non_blocking),
            targets={task: moved(target) for task, target in self.targets.items()},
        )

    def __len__(self) -> int:
        return len(self.keys)


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch of samples of equal size that carry the same labels.

    Raises:
        ValueError: the sizes or the labels differ.
    """
    sizes = {s.image.shape for s in samples}
    carried = {tuple(s.targets) for s in samples}
    if len(sizes) != 1 or len(carried) != 1:
        keys = ", ".join(s.key for s in samples)
        raise ValueError(f"samples {keys} differ in size {sizes} or in the labels they carry")
    images = np.ascontiguousarray(np.stack([s.image for s in samples]).transpose(0, 3, 1, 2))
    return Batch(
        keys=tuple(s.key for s in samples),
        image=torch.from_numpy(images),
        targets={t: _stacked([s.targets[t] for s in samples]) for t in samples[0].targets},
    )


def _stacked(targets: Sequence[Target]) -> BatchTarget:
    """(N, H, W) of dense targets; one `BoxTarget` per image."""
    dense = [target.array for target in targets if isinstance(target, DenseTarget)]
    if dense:
        return torch.from_numpy(np.stack(dense))
    return tuple(_boxes(target) for target in targets if isinstance(target, SampleBoxes))


def _boxes(boxes: SampleBoxes) -> BoxTarget:
    return BoxTarget(
        torch.from_numpy(boxes.xyxy.astype(np.float32).reshape(-1, 4)),
        torch.from_numpy(boxes.label.astype(np.int64)),
        torch.from_numpy(boxes.ignore.astype(np.bool_)),
    )
