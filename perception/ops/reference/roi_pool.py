"""RoIPool of Fast R-CNN and position-sensitive RoI pooling of R-FCN: the definitions.

Box corners are rounded to whole cells (halves away from zero), bins to whole cells with floor and
ceil, so that neighbouring bins may share cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from perception.ops.reference._common import accumulator, image_indices
from perception.ops.reference.roi_align import axis_weights, layout_of, separable_sum

# (low, high, bins, extent) of one axis -> (bins, extent) float64 weights of the cells
Rule = Callable[[float, float, int, int], Tensor]


def roi_pool(
    features: Tensor, rois: Tensor, spatial_scale: float, rows: int, columns: int
) -> tuple[Tensor, Tensor]:
    """(K, C, rows, columns) maxima and int32 places (row * W + column; -1 for an empty bin)."""
    images, channels, height, width = features.shape
    image = image_indices(rois, images).tolist()
    out = features.new_zeros((len(image), channels, rows, columns))
    place = torch.full(out.shape, -1, dtype=torch.int32, device=out.device)
    for k, (x1, y1, x2, y2) in enumerate(rois[:, 1:].tolist() if out.numel() else []):
        y_bins = _pool_bins(y1, y2, spatial_scale, rows, height)
        x_bins = _pool_bins(x1, x2, spatial_scale, columns, width)
        for i, (top, bottom) in enumerate(y_bins):
            for j, (left, right) in enumerate(x_bins):
                if top < bottom and left < right:
                    window = features[image[k], :, top:bottom, left:right].flatten(1)
                    out[k, :, i, j], first = window.max(dim=1)
                    row, column = first // (right - left), first % (right - left)
                    place[k, :, i, j] = ((top + row) * width + left + column).int()
    layout = layout_of(features)
    return out.contiguous(memory_format=layout), place.contiguous(memory_format=layout)


def roi_pool_backward(
    grad: Tensor,
    argmax: Tensor,
    rois: Tensor,
    spatial_scale: float,
    shape: list[int],
    deterministic: bool = True,
) -> Tensor:
    """(N, C, H, W): every bin's gradient goes to the cell that was its maximum."""
    image = image_indices(rois, shape[0])
    result = grad.new_zeros(shape, dtype=accumulator(grad.dtype))
    pixels = result.view(shape[0], shape[1], shape[2] * shape[3])
    found = argmax.long()
    value = torch.where(found >= 0, grad, 0).to(result.dtype)
    for k in range(len(image)):
        pixels[image[k]].scatter_add_(1, found[k].clamp(min=0).flatten(1), value[k].flatten(1))
    return result.to(grad.dtype).contiguous(memory_format=layout_of(argmax))


def ps_roi_align(
    features: Tensor,
    rois: Tensor,
    spatial_scale: float,
    rows: int,
    columns: int,
    sampling_ratio: int,
) -> Tensor:
    """(K, C / (rows * columns), rows, columns): RoIAlign, every bin from its own channels."""
    return _read(features, rois, (rows, columns), _align_rule(spatial_scale, sampling_ratio))


def ps_roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    spatial_scale: float,
    shape: list[int],
    sampling_ratio: int,
    deterministic: bool = True,
) -> Tensor:
    """(N, C, H, W) gradient to the features."""
    return _add_back(grad, rois, shape, _align_rule(spatial_scale, sampling_ratio))


def ps_roi_pool(
    features: Tensor, rois: Tensor, spatial_scale: float, rows: int, columns: int
) -> Tensor:
    """(K, C / (rows * columns), rows, columns): the mean of whole cells of each bin."""
    return _read(features, rois, (rows, columns), _pool_rule(spatial_scale))


def ps_roi_pool_backward(
    grad: Tensor, rois: Tensor, spatial_scale: float, shape: list[int], deterministic: bool = True
) -> Tensor:
    """(N, C, H, W) gradient to the features, exactly that of the forward."""
    return _add_back(grad, rois, shape, _pool_rule(spatial_scale))


def _align_rule(scale: float, sampling: int) -> Rule:
    """Weights of bilinear samples, always with the half-pixel shift and without minimum size."""

    def weights(low: float, high: float, bins: int, extent: int) -> Tensor:
        finite = math.isfinite(low) and math.isfinite(high)
        start = low * scale - 0.5
        size = high * scale - 0.5 - start if finite else math.nan
        return axis_weights(start, size, bins, sampling, extent)

    return weights


def _pool_rule(scale: float) -> Rule:
    """Equal weights of whole cells; the last row and column are never read (as in torchvision)."""

    def weights(low: float, high: float, bins: int, extent: int) -> Tensor:
        start, end = _round(low * scale), _round(high * scale)
        size = max(end - start, 1) if math.isfinite(end) else math.nan
        result = torch.zeros(bins, extent, dtype=torch.float64)
        for p, (first, last) in enumerate(_bins(start, size, bins, extent - 1)):
            result[p, first:last] = 1 / max(last - first, 1)
        return result

    return weights


def _read(features: Tensor, rois: Tensor, size: tuple[int, int], rule: Rule) -> Tensor:
    images, channels, height, width = features.shape
    image = image_indices(rois, images).tolist()
    out = features.new_zeros((len(image), channels // (size[0] * size[1]), *size))
    for k, (x1, y1, x2, y2) in enumerate(rois[:, 1:].tolist() if out.numel() else []):
        y, x = rule(y1, y2, size[0], height), rule(x1, x2, size[1], width)
        maps = features[image[k]].to(accumulator(features.dtype)).unflatten(0, (-1, *size))
        for i in range(size[0]):
            for j in range(size[1]):
                part = separable_sum(maps[:, i, j], y[i : i + 1].to(maps), x[j : j + 1].to(maps))
                out[k, :, i, j] = part[:, 0, 0]
    return out.contiguous(memory_format=layout_of(features))


def _add_back(grad: Tensor, rois: Tensor, shape: list[int], rule: Rule) -> Tensor:
    images, _, height, width = shape
    rows, columns = grad.shape[2:]
    image = image_indices(rois, images).tolist()
    result = grad.new_zeros(shape, dtype=accumulator(grad.dtype))
    for k, (x1, y1, x2, y2) in enumerate(rois[:, 1:].tolist() if grad.numel() else []):
        y, x = rule(y1, y2, rows, height).to(result), rule(x1, x2, columns, width).to(result)
        maps = result[image[k]].unflatten(0, (-1, rows, columns))
        maps += torch.einsum("dij,ih,jw->dijhw", grad[k].to(result.dtype), y, x)
    return result.to(grad.dtype).contiguous(memory_format=layout_of(grad))


def _pool_bins(
    low: float, high: float, scale: float, bins: int, limit: int
) -> list[tuple[int, int]]:
    start, end = _round(low * scale), _round(high * scale)
    size = max(end - start + 1, 1) if math.isfinite(end) else math.nan
    return _bins(start, size, bins, limit)


def _bins(start: float, size: float, bins: int, limit: int) -> list[tuple[int, int]]:
    """First cell and one past the last of every bin, clipped to 0 .. limit."""
    if not math.isfinite(start) or not math.isfinite(size):
        return [(0, 0)] * bins
    step = size / bins
    edges = ((math.floor(p * step) + start, math.ceil((p + 1) * step) + start) for p in range(bins))
    clip = [[int(min(max(edge, 0), limit)) for edge in pair] for pair in edges]
    return [(first, last) for first, last in clip]


def _round(value: float) -> float:
    """To the nearest whole number, halves away from zero; what is not finite stays."""
    if not math.isfinite(value):
        return value
    whole = math.floor(abs(value))
    return math.copysign(whole + (abs(value) - whole >= 0.5), value)
