"""Deformable convolution, version 1 and (with a mask) 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perception.ops import reference
from perception.ops._arguments import check_device, check_features, check_floating
from perception.ops._registration import call, define, deterministic, twice_differentiable


def deform_conv2d(
    input: Tensor,  # noqa: A002 (torchvision's name)
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = (1, 1),
    padding: int | Sequence[int] = (0, 0),
    dilation: int | Sequence[int] = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """Convolution whose taps look at learned positions between the pixels.

    Tap k = (i, j) of output pixel (oy, ox) reads at y = oy * stride - padding + i * dilation + dy,
    x alike, bilinearly, 0 outside the map and where the offset is NaN; with a mask the sample is
    multiplied by it. The number of weight groups is C / weight.size(1), of offset groups
    offset.size(1) / (2 * KH * KW).

    Args:
        input: (N, C, H, W), floating.
        offset: (N, 2 * groups * KH * KW, OH, OW) pixels; channel 2 * (g * KH * KW + k) is dy, the
            next one dx; any floating dtype.
        weight: (O, C / weight groups, KH, KW).
        bias: (O,).
        stride: int or (rows, columns), at least 1.
        padding: int or (rows, columns), at least 0.
        dilation: int or (rows, columns), at least 1.
        mask: (N, groups * KH * KW, OH, OW) factors.

    Returns:
        (N, O, OH, OW), dtype and memory format of `input`; sums in float32 (float64 for float64).

    Gradient: to input, offset, weight, bias and mask; at whole coordinates the offset's is the
    right-sided derivative. Second gradients come from the definition.

    Under autocast input, weight and bias take its dtype, as those of convolutions do (float64 input
    stays as it is, with all the others); offset and mask keep theirs.

    Raises:
        TypeError: a tensor is not floating and dense.
        ValueError: a shape does not fit, or a number is out of range.

    Source: Dai et al., ICCV 2017; Zhu et al., CVPR 2019; torchvision's `deform_conv2d`.
    """
    steps = (
        _numbers("stride", stride, 1),
        _numbers("padding", padding, 0),
        _numbers("dilation", dilation, 1),
    )
    _check(input, offset, weight, bias, mask, *steps)
    return call(_deform_conv2d, input, offset, weight, bias, mask, *steps)


class DeformConv2d(nn.Module):
    """Holds the weight and bias of `deform_conv2d`; `forward(input, offset, mask=None)`.

    Args and initial values as torchvision's `DeformConv2d` (and `nn.Conv2d`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"in_channels and out_channels must be multiples of groups, got {in_channels}, "
                f"{out_channels} and {groups}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = _numbers("kernel_size", kernel_size, 1)
        self.stride = _numbers("stride", stride, 1)
        self.padding = _numbers("padding", padding, 0)
        self.dilation = _numbers("dilation", dilation, 1)
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // groups, *self.kernel_size)
        )
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weight and bias as `nn.Conv2d` does."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(
        self,
        input: Tensor,  # noqa: A002
        offset: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """`deform_conv2d` with this module's weight, bias and geometry."""
        return deform_conv2d(
            input, offset, self.weight, self.bias, self.stride, self.padding, self.dilation, mask
        )

    def extra_repr(self) -> str:
        """The arguments that differ from the defaults."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        for name, usual in (("stride", (1, 1)), ("padding", (0, 0)), ("dilation", (1, 1))):
            if getattr(self, name) != usual:
                text += f", {name}={getattr(self, name)}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else text + ", bias=False"


def output_size(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, int]:
    """(rows, columns) of a convolution's output."""
    rows, columns = (
        (size[a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1
        for a in (0, 1)
    )
    return rows, columns


def _numbers(name: str, value: int | Sequence[int], least: int) -> tuple[int, int]:
    """(rows, columns), both at least `least` and below 2**31."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) == 1:
        pair = pair * 2
    if len(pair) != 2 or not all(least <= v < 2**31 for v in pair):
        raise ValueError(f"{name} must be one or two ints, at least {least}, got {value}")
    return pair[0], pair[1]


def _check(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> None:
    """All shapes fit together; ValueError naming the first that does not."""
    check_features("input", features)
    for name, each in (("offset", offset), ("weight", weight), ("mask", mask)):
        if each is not None:
            check_features(name, each)
            check_device(name, each, features)
    images, channels, height, width = features.shape
    out_channels, group_channels, *kernel = weight.shape
    taps = kernel[0] * kernel[1]
    if not (taps and group_channels and out_channels):
        raise ValueError(f"weight must not be empty, got {tuple(weight.shape)}")
    if channels % group_channels or not channels or out_channels % (channels // group_channels):
        raise ValueError(
            f"weight {tuple(weight.shape)} does not split {channels} input channels into groups"
        )
    rows, columns = output_size((height, width), kernel, stride, padding, dilation)
    if rows < 1 or columns < 1 or not (height and width):
        raise ValueError(
            f"the output would be empty ({rows} x {columns}) for an input of {height} x {width}"
        )
    groups = offset.shape[1] // (2 * taps)
    if groups < 1 or offset.shape[1] % (2 * taps) or channels % groups:
        raise ValueError(
            f"offset must have 2 * groups * {taps} channels with groups dividing {channels}, "
            f"got {offset.shape[1]}"
        )
    expected = [("offset", offset, 2 * groups * taps)]
    if mask is not None:
        expected.append(("mask", mask, groups * taps))
    for name, each, count in expected:
        if tuple(each.shape) != (images, count, rows, columns):
            raise ValueError(
                f"{name} must have shape {(images, count, rows, columns)}, got {tuple(each.shape)}"
            )
    if bias is not None:
        check_floating("bias", bias)
        check_device("bias", bias, features)
        if tuple(bias.shape) != (out_channels,):
            raise ValueError(f"bias must have shape ({out_channels},), got {tuple(bias.shape)}")


def _format(features: Tensor) -> torch.memory_format:
    """The memory format that the result follows."""
    last = features.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not features.is_contiguous() else torch.contiguous_format


def _fake(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    shape = (features.shape[0], weight.shape[0], *offset.shape[2:])
    return features.new_empty(shape).to(memory_format=_format(features))


def _fake_backward(
    grad: Tensor, features: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, *_: object
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    made = [x.new_empty(x.shape) for x in (features, offset, weight)]
    made[0] = made[0].to(memory_format=_format(features))
    grad_mask = mask.new_empty(mask.shape) if mask is not None else features.new_empty(0)
    return made[0], made[1], made[2], grad_mask


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, offset, weight, bias, mask, *ctx.steps = inputs
    ctx.save_for_backward(features, offset, weight, mask)
    ctx.bias_dtype = None if bias is None else bias.dtype


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    features, offset, weight, mask = ctx.saved_tensors
    grads = _deform_conv2d_backward(
        grad, features, offset, weight, mask, *ctx.steps, deterministic()
    )
    grad_bias = None
    if ctx.bias_dtype is not None and ctx.needs_input_grad[3]:
        wide = torch.float64 if grad.dtype == torch.float64 else torch.float32
        grad_bias = grad.sum((0, 2, 3), dtype=wide).to(ctx.bias_dtype)
    grad_mask = grads[3] if mask is not None else None
    return grads[0], grads[1], grads[2], grad_bias, grad_mask, None, None, None


def _without_bias(
    features: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, *steps: Any
) -> Tensor:
    return reference.deform_conv2d(features, offset, weight, None, mask, *steps[:3])


def _autocast(dtype: torch.dtype, features: Tensor, offset: Tensor, *rest: Any) -> tuple[Any, ...]:
    """Input, weight and bias as convolutions take them there; offset and mask stay exact."""
    if features.dtype is torch.float64:
        return features, offset, *rest
    weight, bias, *others = rest
    lowered = weight.to(dtype), bias if bias is None else bias.to(dtype)
    return features.to(dtype), offset, *lowered, *others


_STEPS = "int[2] stride, int[2] padding, int[2] dilation"
_deform_conv2d_backward = define(
    "deform_conv2d_backward(Tensor grad, Tensor input, Tensor offset, Tensor weight, Tensor? mask,"
    f" {_STEPS}, bool deterministic) -> (Tensor, Tensor, Tensor, Tensor)",
    fake=_fake_backward,
    **twice_differentiable(reference.deform_conv2d_backward, by=_without_bias, places=(0, 1, 2, 3)),
)
_deform_conv2d = define(
    "deform_conv2d(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask,"
    f" {_STEPS}) -> Tensor",
    reference=reference.deform_conv2d,
    fake=_fake,
    setup=_setup,
    backward=_backward,
    autocast=_autocast,
)
