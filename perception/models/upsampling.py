"""Ways to make a feature map larger, and the arithmetic of their sizes.

`resize_conv` and `pixelshuffle` (initialised like a nearest-neighbour resize) start without a
checkerboard and have equal weight everywhere; `deconv` does where its kernel is a multiple of its
stride, as here, but may learn one. Source: Odena et al., Deconvolution and Checkerboard Artifacts,
Distill 2016; Aitken et al., Checkerboard artifact free sub-pixel convolution, 2017.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.models.initialisation import bilinear_, icnr_
from perception.models.layers import Size, resize

Upsampling = Literal["resize_conv", "pixelshuffle", "deconv"]
KINDS: tuple[Upsampling, ...] = ("resize_conv", "pixelshuffle", "deconv")


def upsample(kind: str, channels: int, factor: int, setting: str) -> nn.Module:
    """A layer called as `layer(features, size)` that makes features `factor` times as large.

    `size` may cut rows and columns at the bottom and right, where the finer map was rounded up.

    Raises:
        PerceptionError: `kind` is not one of `KINDS`.
    """
    if kind == "resize_conv":
        return ResizeConv(channels)
    if kind == "pixelshuffle":
        return PixelShuffle(channels, factor)
    if kind == "deconv":
        return Deconv(channels, factor)
    raise PerceptionError(
        f"{setting}.upsampling", str(kind), ", ".join(KINDS), "Choose one of them."
    )


class ResizeConv(nn.Module):
    """Bilinear resize, then a 3x3 convolution that starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.dirac_(self.conv.weight)

    def forward(self, features: Tensor, size: Size) -> Tensor:
        """(N, C, h, w) -> (N, C, *size)."""
        result: Tensor = self.conv(resize(features, size))
        return result


class PixelShuffle(nn.Module):
    """A 1x1 convolution to factor² channels, laid out as pixels; starts as nearest neighbour."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(channels, channels * factor**2, 1, bias=False)
        icnr_(self.conv.weight, factor, nn.init.dirac_)

    def forward(self, features: Tensor, size: Size) -> Tensor:
        """(N, C, h, w) -> (N, C, *size)."""
        return crop(F.pixel_shuffle(self.conv(features), self.factor), size)


class Deconv(nn.Module):
    """A transposed convolution with kernel 2 * factor that starts as a bilinear resize."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        if factor > 1 and factor % 2:
            raise ValueError(f"factor must be 1 or even, got {factor}")
        kernel, pad = (2 * factor, factor // 2) if factor > 1 else (1, 0)
        self.conv = nn.ConvTranspose2d(channels, channels, kernel, factor, pad, bias=False)
        bilinear_(self.conv.weight)

    def forward(self, features: Tensor, size: Size) -> Tensor:
        """(N, C, h, w) -> (N, C, *size)."""
        return crop(self.conv(features), size)


def crop(features: Tensor, size: Size, offset: int = 0) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), from row and column `offset`."""
    if offset + size[0] > features.shape[2] or offset + size[1] > features.shape[3]:
        raise ValueError(f"cannot crop {tuple(features.shape)} to {size} at {offset}")
    return features[:, :, offset : offset + size[0], offset : offset + size[1]]


def conv_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Outputs of a convolution: floor((in + 2p - k) / s) + 1."""
    return (size + 2 * padding - kernel) // stride + 1


def deconv_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Outputs of a transposed convolution: (in - 1) s + k - 2p."""
    return (size - 1) * stride + kernel - 2 * padding


def overlap(kernel: int, stride: int, inputs: int = 32) -> Tensor:
    """How often each output of a 1-D transposed convolution is written: uneven = checkerboard."""
    ones = torch.ones(1, 1, inputs)
    return F.conv_transpose1d(ones, torch.ones(1, 1, kernel), stride=stride)[0, 0]
