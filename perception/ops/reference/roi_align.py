"""RoIAlign: the mean of bilinear lookups on a regular grid in every bin. The definition.

The grid is separable and so is the rule for samples outside the map: along each axis a bin is a
list of weighted pixels, and the result is `weights_y @ window @ weights_x.T`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from perception.ops.reference._common import accumulator, image_indices

_INFINITE = (math.inf, -math.inf)


def roi_align(
    features: Tensor,
    rois: Tensor,
    spatial_scale: float,
    rows: int,
    columns: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """(K, C, rows, columns): one box after the other."""
    images, channels, height, width = features.shape
    image = image_indices(rois, images).tolist()
    out = features.new_zeros((len(image), channels, rows, columns))
    for k, box in enumerate(rois[:, 1:].tolist() if out.numel() else []):
        y, x = _box_weights(
            box, spatial_scale, (rows, columns), sampling_ratio, aligned, (height, width)
        )
        window = features[image[k]].to(accumulator(features.dtype))
        out[k] = separable_sum(window, y.to(window), x.to(window))
    return out.contiguous(memory_format=layout_of(features))


def roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    spatial_scale: float,
    shape: list[int],
    sampling_ratio: int,
    aligned: bool,
    deterministic: bool = True,
) -> Tensor:
    """(N, C, H, W) gradient to the features: the same weights, the other way.

    `deterministic` chooses between CUDA kernels; the definition always is.
    """
    images, _, height, width = shape
    image = image_indices(rois, images).tolist()
    result = grad.new_zeros(shape, dtype=accumulator(grad.dtype))
    for k, box in enumerate(rois[:, 1:].tolist() if grad.numel() else []):
        y, x = _box_weights(
            box, spatial_scale, tuple(grad.shape[2:]), sampling_ratio, aligned, (height, width)
        )
        result[image[k]] += y.to(result).T @ grad[k].to(result.dtype) @ x.to(result)
    return result.to(grad.dtype).contiguous(memory_format=layout_of(grad))


def _box_weights(
    box: list[float],
    scale: float,
    size: tuple[int, ...],
    sampling: int,
    aligned: bool,
    extent: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """(rows, H) and (columns, W) weights of one box (x1, y1, x2, y2)."""
    x1, y1, x2, y2 = box
    top, tall = _extent(y1, y2, scale, aligned)
    left, wide = _extent(x1, x2, scale, aligned)
    return (
        axis_weights(top, tall, size[0], sampling, extent[0]),
        axis_weights(left, wide, size[1], sampling, extent[1]),
    )


def layout_of(tensor: Tensor) -> torch.memory_format:
    """channels_last where the tensor is that and not contiguous."""
    last = not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def axis_weights(start: float, size: float, bins: int, sampling: int, extent: int) -> Tensor:
    """(bins, extent) float64 weights of the pixels along one axis in every bin.

    Sample i of bin p lies at start + p * bin + (i + 0.5) * bin / samples.
    """
    weights = torch.zeros(bins, extent, dtype=torch.float64)
    bin_size = size / bins
    if not math.isfinite(start) or not math.isfinite(bin_size):
        return weights
    samples = sampling if sampling > 0 else math.ceil(bin_size)
    if not 1 <= samples <= 1e15:  # beyond, the share inside the map rounds to nothing
        return weights
    for p in range(bins):
        base = start + p * bin_size
        first, last = _samples_in_map(base, bin_size / samples, samples, extent)
        i = torch.arange(first, last, dtype=torch.float64)
        _add_samples(weights[p], base + (i + 0.5) * bin_size / samples)
    return weights / samples


def separable_sum(window: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(C, rows, columns) from (C, H, W), (rows, H) and (columns, W).

    Pixels with weight 0 take no part, not even infinite and NaN ones.
    """
    touched_y, touched_x = y.any(0).nonzero()[:, 0], x.any(0).nonzero()[:, 0]
    y, x = y[:, touched_y], x[:, touched_x]
    window = window[:, touched_y][:, :, touched_x]
    out = y @ window.nan_to_num(0, 0, 0) @ x.T
    if not window.isfinite().all():
        for special in (*(window == value for value in _INFINITE), window.isnan()):
            hit = (y != 0).to(y) @ special.to(y) @ (x != 0).T.to(y) > 0
            value = window[special][0] if special.any() else 0.0
            out = torch.where(hit, out + value, out)
    return out


def _extent(low: float, high: float, scale: float, aligned: bool) -> tuple[float, float]:
    """Start and size on the map; without `aligned` the size is at least 1."""
    shift = 0.5 if aligned else 0.0
    start = low * scale - shift
    size = high * scale - shift - start
    if not (math.isfinite(low) and math.isfinite(high)):
        return start, math.nan  # no samples at all
    return start, size if aligned else max(size, 1.0)


def _samples_in_map(base: float, step: float, samples: int, extent: int) -> tuple[int, int]:
    """Which samples can lie in [-1, extent], generously: first, last + 1."""
    if step == 0:
        return 0, samples
    low, high = sorted(((-1 - base) / step, (extent - base) / step))
    first = min(max(math.floor(low) - 2, 0), samples) if math.isfinite(low) else 0
    last = min(max(math.ceil(high) + 2, 0), samples) if math.isfinite(high) else samples
    return first, max(first, last)


def _add_samples(weights: Tensor, position: Tensor) -> None:
    """Adds the two weights of every sample in [-1, extent] to `weights` (extent,)."""
    extent = len(weights)
    position = position[(position >= -1) & (position <= extent)].clamp(min=0)
    lower = position.long().clamp(max=extent - 1)
    part = torch.where(lower < extent - 1, position - lower, 0.0)
    weights.index_add_(0, lower, 1 - part)
    weights.index_add_(0, (lower + 1).clamp(max=extent - 1), part)
