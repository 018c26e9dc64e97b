"""Deformable convolution, version 1 and (with a mask) 2: the definition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from perception.ops.reference._common import accumulator, in_format_of


def deform_conv2d(
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """(N, O, OH, OW) convolution whose taps look at shifted, bilinearly interpolated positions."""
    dtype = accumulator(features.dtype)
    out_channels, group_channels, *kernel = weight.shape
    images, channels = features.shape[:2]
    columns = _columns(features.to(dtype), offset, kernel, stride, padding, dilation)
    taps = kernel[0] * kernel[1]
    if mask is not None:
        groups = mask.shape[1] // taps
        factor = mask.to(dtype).reshape(images, groups, 1, taps, columns.shape[-1])
        columns = columns * factor
    groups = channels // group_channels
    columns = columns.reshape(images, groups, group_channels * taps, columns.shape[-1])
    matrix = weight.to(dtype).reshape(groups, out_channels // groups, group_channels * taps)
    output = torch.einsum("ngkp,gok->ngop", columns, matrix)
    output = output.reshape(images, out_channels, *offset.shape[2:])
    if bias is not None:
        output = output + bias.to(dtype)[:, None, None]
    return in_format_of(features, output.to(features.dtype))


def deform_conv2d_backward(
    grad: Tensor,
    features: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    deterministic: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients to (input, offset, weight, mask); the last is empty without a mask.

    `deterministic` chooses between CUDA kernels; the definition does not need it.
    """
    leaves = [x.detach().requires_grad_() for x in (features, offset, weight)]
    if mask is not None:
        leaves.append(mask.detach().requires_grad_())
    with torch.enable_grad():
        leaf = leaves[3] if mask is not None else None
        output = deform_conv2d(
            leaves[0], leaves[1], leaves[2], None, leaf, stride, padding, dilation
        )
        grads = torch.autograd.grad(output, leaves, grad, materialize_grads=True)
    others = [each.contiguous() for each in grads[1:]]
    grad_mask = others[2] if mask is not None else features.new_empty(0)
    return in_format_of(features, grads[0]), others[0], others[1], grad_mask


def _columns(
    features: Tensor,
    offset: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """(N, groups, C / groups, taps, OH * OW) samples of the offset groups."""
    images, channels, height, width = features.shape
    taps, (rows, columns) = kernel[0] * kernel[1], offset.shape[2:]
    groups = offset.shape[1] // (2 * taps)
    shift = offset.double().reshape(images, groups, *kernel, 2, rows, columns)

    def regular(count: int, axis: int) -> Tensor:
        return torch.arange(count, dtype=torch.float64, device=features.device) * stride[axis]

    def tap(axis: int) -> Tensor:
        steps = torch.arange(kernel[axis], dtype=torch.float64, device=features.device)
        return steps * dilation[axis] - padding[axis]

    y = shift[..., 0, :, :] + tap(0)[:, None, None, None] + regular(rows, 0)[:, None]
    x = shift[..., 1, :, :] + tap(1)[:, None, None] + regular(columns, 1)
    pixels = features.reshape(images, groups, channels // groups, height * width)
    samples = _bilinear(pixels, (height, width), y.flatten(2), x.flatten(2))
    return samples.reshape(images, groups, channels // groups, taps, rows * columns)


def _bilinear(pixels: Tensor, size: tuple[int, int], y: Tensor, x: Tensor) -> Tensor:
    """(N, G, C, P) lookups in (N, G, C, H * W) at (N, G, P); 0 outside the map and at NaN."""
    height, width = size
    inside = (y >= -1) & (y < height) & (x >= -1) & (x < width)
    y, x = torch.where(inside, y, 0.0), torch.where(inside, x, 0.0)
    top, left = y.detach().floor(), x.detach().floor()
    y_part, x_part = y - top, x - left
    total = pixels.new_zeros(*pixels.shape[:3], y.shape[2])
    for row, y_weight in ((top, 1 - y_part), (top + 1, y_part)):
        for column, x_weight in ((left, 1 - x_part), (left + 1, x_part)):
            there = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            cell = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            cell = cell.long()[:, :, None].expand(-1, -1, pixels.shape[2], -1)
            weight = (y_weight * x_weight).to(pixels.dtype)[:, :, None]
            value = torch.where(there[:, :, None], pixels.gather(3, cell), 0.0)
            # the gradient to the position needs finite values behind weight 0 as they are
            spoilt = (weight == 0) & ~value.isfinite()
            total = total + torch.where(spoilt, 0.0, value) * weight
    return total
