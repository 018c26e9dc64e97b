"""What training eats: a sample (one image with targets, numpy) and a batch (tensors)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class SampleBoxes:
    """Boxes of one sample."""

    xyxy: NDArray[np.float64]  # (K, 4) pixels
    label: NDArray[np.int64]  # (K,) index into the head's class list; 0 where `ignore` is any class
    ignore: NDArray[np.bool_]  # (K,)

    def __getitem__(self, rows: NDArray[np.bool_]) -> SampleBoxes:
        return SampleBoxes(self.xyxy[rows], self.label[rows], self.ignore[rows])


@dataclass(frozen=True)
class Sample:
    """One image with its targets; None: the data set does not carry that label."""

    key: str
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    road: NDArray[np.uint8] | None = None  # (H, W): 1 road, 0 not, 255 ignore
    semantic: NDArray[np.uint8] | None = None  # (H, W) train ids, 255 ignore
    boxes: SampleBoxes | None = None
    projection: NDArray[np.float64] | None = None  # (3, 4) camera to pixels (KITTI's P2)


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


@dataclass(frozen=True)
class Batch:
    """N images of one size with their targets; None: the data set does not carry that label."""

    keys: tuple[str, ...]
    image: Tensor  # (N, 3, H, W) uint8 RGB; the model normalises
    road: Tensor | None = None  # (N, H, W) uint8: 1 road, 0 not, 255 ignore
    semantic: Tensor | None = None  # (N, H, W) uint8 train ids, 255 ignore
    boxes: tuple[BoxTarget, ...] | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch on `device`."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=non_blocking)

        boxes = self.boxes and tuple(b.to(device, non_blocking=non_blocking) for b in self.boxes)
        return replace(
            self,
            image=self.image.to(device, non_blocking=non_blocking),
            road=moved(self.road),
            semantic=moved(self.semantic),
            boxes=boxes,
        )

    def __len__(self) -> int:
        return len(self.keys)


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch of samples of equal size that carry the same labels.

    Raises:
        ValueError: the sizes or the labels differ.
    """
    sizes = {s.image.shape for s in samples}
    carried = {(s.road is None, s.semantic is None, s.boxes is None) for s in samples}
    if len(sizes) != 1 or len(carried) != 1:
        keys = ", ".join(s.key for s in samples)
        raise ValueError(f"samples {keys} differ in size {sizes} or in the labels they carry")
    first = samples[0]
    images = np.ascontiguousarray(np.stack([s.image for s in samples]).transpose(0, 3, 1, 2))
    return Batch(
        keys=tuple(s.key for s in samples),
        image=torch.from_numpy(images),
        road=None if first.road is None else _stack([s.road for s in samples]),
        semantic=None if first.semantic is None else _stack([s.semantic for s in samples]),
        boxes=None
        if first.boxes is None
        else tuple(_target(s.boxes) for s in samples if s.boxes is not None),
    )


def _stack(labels: Sequence[NDArray[np.uint8] | None]) -> Tensor:
    """(N, H, W) uint8."""
    return torch.from_numpy(np.stack([label for label in labels if label is not None]))


def _target(boxes: SampleBoxes) -> BoxTarget:
    return BoxTarget(
        torch.from_numpy(boxes.xyxy.astype(np.float32).reshape(-1, 4)),
        torch.from_numpy(boxes.label.astype(np.int64)),
        torch.from_numpy(boxes.ignore.astype(np.bool_)),
    )
