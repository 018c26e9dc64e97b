"""RoIAlign from the levels of a feature pyramid, every box from the level of its size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from perception.ops.reference._common import image_indices
from perception.ops.reference.roi_align import layout_of, roi_align, roi_align_backward


def assign_levels(
    rois: Tensor,
    given: Tensor | None,
    scales: list[float],
    canonical_size: float,
    canonical_level: int,
) -> Tensor:
    """(K,) int64 index into the levels: given, or floor(level + log2(sqrt(area) / size))."""
    if given is not None:
        if ((given < 0) | (given >= len(scales))).any():
            raise ValueError(f"levels: found {given.tolist()}, expected 0 to {len(scales) - 1}")
        return given
    x1, y1, x2, y2 = rois[:, 1:].double().unbind(1)
    area = (x2 - x1) * (y2 - y1)
    octave = torch.log2(torch.sqrt(torch.where(area > 0, area, 1.0)) / canonical_size)
    level = torch.floor(canonical_level + octave + 1e-6) - round(-math.log2(scales[0]))
    return torch.where(area > 0, level.clamp(0, len(scales) - 1), 0.0).long()


def multi_level_roi_align(
    features: list[Tensor],
    rois: Tensor,
    levels: Tensor | None,
    spatial_scales: list[float],
    rows: int,
    columns: int,
    sampling_ratio: int,
    aligned: bool,
    canonical_size: float,
    canonical_level: int,
) -> Tensor:
    """(K, C, rows, columns): RoIAlign of each level's boxes, in the order of the boxes."""
    images, channels = features[0].shape[:2]
    image_indices(rois, images)
    assigned = assign_levels(rois, levels, spatial_scales, canonical_size, canonical_level)
    out = features[0].new_zeros((rois.shape[0], channels, rows, columns))
    for level, (each, scale) in enumerate(zip(features, spatial_scales, strict=True)):
        mine = assigned == level
        out[mine] = roi_align(each, rois[mine], scale, rows, columns, sampling_ratio, aligned)
    return out.contiguous(memory_format=layout_of(features[0]))


def multi_level_roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    levels: Tensor | None,
    spatial_scales: list[float],
    shapes: list[int],
    sampling_ratio: int,
    aligned: bool,
    canonical_size: float,
    canonical_level: int,
    deterministic: bool = True,
) -> list[Tensor]:
    """Gradient to each level; `shapes` holds 4 numbers per level."""
    assigned = assign_levels(rois, levels, spatial_scales, canonical_size, canonical_level)
    layout = layout_of(grad)
    result = []
    for level, scale in enumerate(spatial_scales):
        mine = assigned == level
        shape = list(shapes[4 * level : 4 * level + 4])
        part = roi_align_backward(grad[mine], rois[mine], scale, shape, sampling_ratio, aligned)
        result.append(part.contiguous(memory_format=layout))
    return result
