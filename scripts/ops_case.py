"""One case of bench_ops.py, and the inputs that its families share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Call = Callable[[], Any]
Bar = tuple[float | None, float | None]  # required ratio with 2 threads and with 1


@dataclass(frozen=True)
class Case:
    """One row (two with two numbers of threads)."""

    name: str
    ours: Call
    yardstick: Call
    bar: Bar = (None, None)
    bytes: float = 0  # that must be read and written once
    truth: Call | None = None  # our result in float64; None: nothing to compare

    def error(self) -> float | None:
        """Largest difference from the float64 result, relative to its largest value."""
        if self.truth is None:
            return None
        truth, got = self.truth(), self.ours()
        difference = (got.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-30)
        return float(difference)


# ---------------------------------------------------------------------------- inputs


def boxes_on(
    height: int, width: int, count: int, scale: float, device: str, images: int = 1
) -> Tensor:
    """(count, 5) boxes: sizes log-uniform 16 to 400 px, centres uniform, clipped to the image."""
    rng = torch.Generator().manual_seed(0)
    image_height, image_width = height / scale, width / scale
    size = 16 * torch.exp(torch.rand(count, generator=rng) * math.log(400 / 16))
    aspect = torch.exp(torch.rand(count, generator=rng) * 1.4 - 0.7)
    w, h = size * aspect.sqrt(), size / aspect.sqrt()
    cx = torch.rand(count, generator=rng) * image_width
    cy = torch.rand(count, generator=rng) * image_height
    image = torch.randint(images, (count,), generator=rng).float()
    x1, x2 = (cx - w / 2).clamp(0, image_width), (cx + w / 2).clamp(0, image_width)
    y1, y2 = (cy - h / 2).clamp(0, image_height), (cy + h / 2).clamp(0, image_height)
    return torch.stack([image, x1, y1, x2, y2], dim=1).to(device)


def features_of(channels: int, height: int, width: int, device: str, images: int = 1) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(images, channels, height, width, generator=rng).to(device)


def last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def scale_of(height: int) -> float:
    return {50: 1 / 16, 48: 1 / 8, 200: 1 / 4}[height]
