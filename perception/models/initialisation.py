"""Initial weights: He, Xavier, truncated normal, bilinear and ICNR; all in place."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

# standard deviation of a standard normal cut off at +-2
_CUT_STD = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


def fans(weight: Tensor) -> tuple[int, int]:
    """(fan-in, fan-out) of a linear (out, in) or convolution (out, in, ...) weight."""
    field = math.prod(weight.shape[2:])
    return weight.shape[1] * field, weight.shape[0] * field


def he_(weight: Tensor, factor: float = 2.0) -> Tensor:
    """Normal with std sqrt(factor / fan-in). Source: He et al., ICCV 2015, equation 10."""
    with torch.no_grad():
        return weight.normal_(0.0, math.sqrt(factor / fans(weight)[0]))


def truncated_he_(weight: Tensor, factor: float = 2.0) -> Tensor:
    """Like `he_`, but nothing beyond two standard deviations of the uncut normal."""
    return truncated_normal_(weight, math.sqrt(factor / fans(weight)[0]))


def xavier_(weight: Tensor, factor: float = 2.0) -> Tensor:
    """Uniform with std sqrt(factor / (fan-in + fan-out)). Source: Glorot & Bengio, AISTATS 2010."""
    bound = math.sqrt(3 * factor / sum(fans(weight)))
    with torch.no_grad():
        return weight.uniform_(-bound, bound)


INITIALISATIONS = {"he": he_, "truncated_he": truncated_he_, "xavier": xavier_}


def truncated_normal_(weight: Tensor, std: float) -> Tensor:
    """A normal cut off at two of its deviations, scaled so that `std` is what remains."""
    wide = std / _CUT_STD
    return nn.init.trunc_normal_(weight, 0.0, wide, -2 * wide, 2 * wide)


def bilinear_profile(kernel: int) -> Tensor:
    """(kernel,) weights of bilinear interpolation along one axis: kernel 4 is .25 .75 .75 .25."""
    factor = (kernel + 1) // 2
    center = (kernel - 1) / 2
    return 1 - (torch.arange(kernel, dtype=torch.float32) - center).abs() / factor


def bilinear_(weight: Tensor) -> Tensor:
    """(C, C, k, k) of a transposed convolution: each channel resized for itself, bilinearly."""
    profile = bilinear_profile(weight.shape[-1]).to(weight.device)
    with torch.no_grad():
        weight.zero_()
        for i in range(min(weight.shape[:2])):
            weight[i, i] = torch.outer(profile, profile)
    return weight


def icnr_(weight: Tensor, factor: int, initialise: Callable[[Tensor], Tensor]) -> Tensor:
    """(C * factor², in, k, k) before a pixel shuffle: the factor² kernels of a channel are equal.

    Source: Aitken et al., Checkerboard artifact free sub-pixel convolution, 2017, section 3.
    """
    small = torch.empty_like(weight[:: factor**2])
    with torch.no_grad():
        return weight.copy_(initialise(small).repeat_interleave(factor**2, 0))
