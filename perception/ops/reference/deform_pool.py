"""Deformable region-of-interest pooling, plain and position-sensitive: the definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from perception.ops.reference._common import accumulator, image_indices, in_format_of


def deform_roi_pool(
    features: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> Tensor:
    """(K, C, ph, pw) means over bins that are shifted by gamma * box size * offset."""
    dtype = accumulator(features.dtype)
    image, corners, known = _corners(rois, features.shape[0])
    pooled = []
    for k in range(len(rois)):
        x1, y1, x2, y2 = (corners[k] * spatial_scale - 0.5).unbind()
        shift = corners.new_zeros(2, pooled_height, pooled_width)
        if offset is not None:
            size = torch.stack([x2 - x1, y2 - y1])[:, None, None]
            shift = gamma * size * offset[k].double()
        bins_y = torch.arange(pooled_height, dtype=torch.float64, device=features.device)[:, None]
        bins_x = torch.arange(pooled_width, dtype=torch.float64, device=features.device)
        rows, row_count = _axis_weights(
            y1 + bins_y * ((y2 - y1) / max(pooled_height, 1)) + shift[1],
            (y2 - y1).item() / max(pooled_height, 1),
            sampling_ratio,
            features.shape[2],
        )
        columns, column_count = _axis_weights(
            x1 + bins_x * ((x2 - x1) / max(pooled_width, 1)) + shift[0],
            (x2 - x1).item() / max(pooled_width, 1),
            sampling_ratio,
            features.shape[3],
        )
        total = _weighted_sum(features[image[k]].to(dtype), rows.to(dtype), columns.to(dtype))
        total = total / max(row_count * column_count, 1.0)
        pooled.append(torch.where(known[k], total, torch.zeros_like(total)))
    if not pooled:
        return features.sum() * features.new_zeros(
            0, features.shape[1], pooled_height, pooled_width
        )
    shape = (len(rois), features.shape[1], pooled_height, pooled_width)
    return in_format_of(features, torch.stack(pooled).reshape(shape).to(features.dtype))


def deform_ps_roi_pool(
    features: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    pooled_size: int,
    spatial_scale: float,
    output_dim: int,
    group_size: int,
    part_size: int,
    sample_per_part: int,
    trans_std: float,
) -> Tensor:
    """(K, output_dim, P, P) means over shifted bins, each bin from its own channels."""
    dtype, height, width = accumulator(features.dtype), features.shape[2], features.shape[3]
    image, corners, known = _corners(rois, features.shape[0])
    low = _round(corners[:, :2]) * spatial_scale - 0.5
    size = ((_round(corners[:, 2:]) + 1) * spatial_scale - 0.5 - low).clamp(min=0.1)
    # every axis: (K, output_dim, P rows, P columns, samples)
    low, size = (each[:, :, None, None, None, None] for each in (low, size))
    places = torch.arange(pooled_size, device=features.device)
    samples = torch.arange(sample_per_part, dtype=torch.float64, device=features.device)
    shift_x, shift_y = _part_shifts(offset, output_dim, places * part_size // pooled_size)
    step = size / (pooled_size * sample_per_part)
    x = low[:, 0] + places.double()[:, None] * size[:, 0] / pooled_size
    y = low[:, 1] + places.double()[:, None, None] * size[:, 1] / pooled_size
    x = x + trans_std * shift_x[..., None] * size[:, 0] + samples * step[:, 0]
    y = y + trans_std * shift_y[..., None] * size[:, 1] + samples * step[:, 1]
    group = (places * group_size // pooled_size).clamp(max=group_size - 1)
    dim = torch.arange(output_dim, device=features.device)[:, None, None]
    channel = (dim * group_size + group[:, None]) * group_size + group
    total = features.new_zeros(len(rois), output_dim, pooled_size, pooled_size, dtype=dtype)
    count = torch.zeros_like(total)
    pixels = features.to(dtype)
    image, known = image[:, None, None, None], known[:, None, None, None]
    for n in range(sample_per_part):
        for m in range(sample_per_part):
            row, column = y[..., n], x[..., m]
            inside = (row >= -0.5) & (row <= height - 0.5) & known
            inside = inside & (column >= -0.5) & (column <= width - 0.5)
            top, bottom, y_part = _floor_ceil(torch.where(inside, row, 0.0), height)
            left, right, x_part = _floor_ceil(torch.where(inside, column, 0.0), width)
            for r, y_weight in ((top, 1 - y_part), (bottom, y_part)):
                for c, x_weight in ((left, 1 - x_part), (right, x_part)):
                    weight = (y_weight * x_weight).to(dtype) * inside
                    value = pixels[image, channel, r, c]
                    spoilt = (weight == 0) & ~value.isfinite()
                    total = total + torch.where(spoilt, 0.0, value) * weight
            count = count + inside
    return in_format_of(features, (total / count.clamp(min=1)).to(features.dtype))


def deform_roi_pool_backward(
    grad: Tensor, features: Tensor, rois: Tensor, offset: Tensor | None, *settings: Any
) -> tuple[Tensor, Tensor]:
    """Gradients of `deform_roi_pool` to (input, offset); the second is empty without offsets.

    The last of the settings is `deterministic`, which chooses between CUDA kernels.
    """
    return _backward(deform_roi_pool, grad, features, rois, offset, settings[:-1])


def deform_ps_roi_pool_backward(
    grad: Tensor, features: Tensor, rois: Tensor, offset: Tensor | None, *settings: Any
) -> tuple[Tensor, Tensor]:
    """Gradients of `deform_ps_roi_pool` to (input, offset); the second is empty without offsets.

    The last of the settings is `deterministic`, which chooses between CUDA kernels.
    """
    return _backward(deform_ps_roi_pool, grad, features, rois, offset, settings[:-1])


def _backward(
    op: Callable[..., Tensor],
    grad: Tensor,
    features: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    settings: tuple[Any, ...],
) -> tuple[Tensor, Tensor]:
    leaves = [x.detach().requires_grad_() for x in (features, offset) if x is not None]
    with torch.enable_grad():
        output = op(leaves[0], rois, leaves[1] if offset is not None else None, *settings)
        grads = torch.autograd.grad(output, leaves, grad, materialize_grads=True)
    to_offset = grads[1].contiguous() if offset is not None else features.new_empty(0)
    return in_format_of(features, grads[0]), to_offset


def _part_shifts(offset: Tensor | None, output_dim: int, part: Tensor) -> tuple[Tensor, Tensor]:
    """(K, output_dim, P, P) x and y offsets of every bin, 0 without offsets."""
    if offset is None:
        nothing = torch.zeros(1, 1, 1, 1, dtype=torch.float64, device=part.device)
        return nothing, nothing
    classes = offset.shape[1] // 2
    kind = torch.arange(output_dim, device=part.device) * classes // output_dim
    bins = offset.double()[:, :, part][:, :, :, part]
    return bins[:, 2 * kind], bins[:, 2 * kind + 1]


def _corners(rois: Tensor, images: int) -> tuple[Tensor, Tensor, Tensor]:
    """(K,) image index, (K, 4) float64 corners with 0 for unusable rows, (K,) usable."""
    image = image_indices(rois, images)
    corners = rois[:, 1:].double()
    known = corners.isfinite().all(1)
    return image, torch.where(known[:, None], corners, 0.0), known


def _axis_weights(
    start: Tensor, length: float, sampling_ratio: int, size: int
) -> tuple[Tensor, float]:
    """Summed weight of every cell for the samples of bins along one axis, and the sample count.

    start: (ph, pw) begin of each bin; length: of a bin. (ph * pw, size) weights. Only samples on
    the map are visited: their number does not grow with the box.
    """
    count = float(sampling_ratio) if sampling_ratio > 0 else float(-(-length // 1))
    start = start.flatten()[:, None]
    weights = start.new_zeros(start.shape[0], size)
    if count <= 0:
        return weights, count
    step = length / count
    first, last = torch.zeros_like(start), torch.full_like(start, count - 1)
    if step != 0:
        ends = torch.stack([(-1 - start) / step, (size - start) / step]).detach()
        ends = ends.nan_to_num(0.0, posinf=count, neginf=0.0)
        first = torch.maximum(first, ends.amin(0).floor() - 2)
        last = torch.minimum(last, ends.amax(0).ceil() + 2)
    limit = max(2 * size + 16, sampling_ratio)  # adaptive samples are at least half a cell apart
    number = int((last - first + 1).amax().clamp(0, limit)) if first.numel() else 0
    index = first + torch.arange(number, dtype=start.dtype, device=start.device)
    place = start + (index + 0.5) * length / count
    inside = (index <= last) & (place >= -1) & (place <= size)
    place = torch.where(inside, place, 0.0).clamp(min=0)
    lower = place.detach().floor().clamp(max=size - 1)
    part = torch.where(lower >= size - 1, 0.0, place - lower)
    upper = (lower + 1).clamp(max=size - 1).long()
    weights = weights.scatter_add(1, lower.long(), (1 - part) * inside)
    return weights.scatter_add(1, upper, part * inside), count


def _weighted_sum(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(C, bins) sums of (C, H, W) pixels; a pixel of weight 0 does not count, even if infinite."""
    finite = torch.where(pixels.isfinite(), pixels, 0.0)
    total = torch.einsum("bh,bw,chw->cb", rows, columns, finite)
    if finite.equal(pixels):
        return total
    used = (rows[:, :, None] * columns[:, None, :]) != 0
    odd = torch.where(used[:, None] & ~pixels.isfinite(), pixels, 0.0)
    return total + odd.sum((-2, -1)).T


def _floor_ceil(place: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbouring cells of a place clamped to the map; both the same at whole numbers."""
    place = place.clamp(0, size - 1)
    lower, upper = place.detach().floor(), place.detach().ceil()
    return lower.long(), upper.long(), place - lower


def _round(value: Tensor) -> Tensor:
    """To whole numbers, halves away from zero."""
    whole = value.trunc()
    return whole + value.sign() * ((value - whole).abs() >= 0.5)
