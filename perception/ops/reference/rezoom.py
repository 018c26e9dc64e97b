"""Rezoom of MultiNet's FastBox: bilinear lookups on a grid of points relative to each box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from perception.ops.reference._common import accumulator, image_indices, in_format_of, weighted


def rezoom(
    features: Tensor,
    rois: Tensor,
    w_offsets: Sequence[float],
    h_offsets: Sequence[float],
    spatial_scale: float,
) -> Tensor:
    """(K, nw * nh * C) samples at (cx + wo * w, cy + ho * h) * scale, clamped to the map."""
    channels, height, width = features.shape[1:]
    image = image_indices(rois, features.shape[0])[:, None, None]
    center_x, center_y, box_width, box_height = rois[:, 1:, None].double().unbind(1)
    x = (center_x + center_x.new_tensor(w_offsets) * box_width) * spatial_scale
    y = (center_y + center_y.new_tensor(h_offsets) * box_height) * spatial_scale
    x, y = x[:, :, None], y[:, None, :]
    known = ~(x.isnan() | y.isnan())
    dtype = accumulator(features.dtype)
    left, right, x_part = _neighbours(x, width, dtype)
    top, bottom, y_part = _neighbours(y, height, dtype)
    pixels = features.permute(0, 2, 3, 1).to(dtype)
    total = pixels.new_zeros(*known.shape, channels)
    for row, y_weight in ((top, 1 - y_part), (bottom, y_part)):
        for column, x_weight in ((left, 1 - x_part), (right, x_part)):
            value = pixels[image, row, column]
            total = total + weighted(value, (y_weight * x_weight)[..., None])
    total = torch.where(known[..., None], total, torch.zeros_like(total))
    return total.flatten(1).to(features.dtype)


def rezoom_backward(
    grad: Tensor,
    features: Tensor,
    rois: Tensor,
    w_offsets: Sequence[float],
    h_offsets: Sequence[float],
    spatial_scale: float,
    deterministic: bool = True,
) -> tuple[Tensor, Tensor]:
    """Gradients of `rezoom` to (features, rois); the image index has gradient 0."""
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        rois = rois.detach().requires_grad_()
        output = rezoom(features, rois, w_offsets, h_offsets, spatial_scale)
        grads = torch.autograd.grad(output, (features, rois), grad, materialize_grads=True)
    return in_format_of(features, grads[0]), grads[1].contiguous()


def _neighbours(position: Tensor, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper index and the fraction between them; NaN counts as 0."""
    inside = torch.where(position.isnan(), torch.zeros_like(position), position)
    inside = inside.clamp(0, size - 1)
    lower = inside.detach().floor().long()
    return lower, (lower + 1).clamp(max=size - 1), (inside - lower).to(dtype)
