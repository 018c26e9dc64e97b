"""Overlap of rotated boxes: the definition. Compiled versions are held to it.

A box is (cx, cy, w, h, angle in degrees); with y pointing down a positive angle turns it
counter-clockwise on the screen.

The intersection is the area of the first box inside the second one's frame, where the second is
[-W, W] x [-H, H]. By Green's theorem that is the boundary integral of clamp(y, -H, H) over the
parts of the first box's four edges with x in [-W, W]. Nothing is sorted or compared with a
tolerance, so coinciding boxes are no special case.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perception.ops.reference.boxes import overlap_dtype

_NOISE = 4e-15  # rounding of the integral, in squares of the boxes' extent
_TINY = 1e-300  # takes the place of a zero length, where its sign and size do not matter


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """(N, M) intersection over union; 0 if a side is not positive or a value not finite."""
    a, b = boxes1.double(), boxes2.double()
    good1, good2 = _usable(a), _usable(b)
    harmless = a.new_tensor([0.0, 0.0, 1.0, 1.0, 0.0])
    a = torch.where(good1[:, None], a, harmless)[:, None]
    b = torch.where(good2[:, None], b, harmless)
    area1, area2 = a[..., 2] * a[..., 3], b[..., 2] * b[..., 3]
    intersection = _intersection(a, b)
    intersection = torch.minimum(intersection, torch.minimum(area1, area2))
    extent = (torch.hypot(a[..., 2], a[..., 3]) + torch.hypot(b[..., 2], b[..., 3])) / 2
    intersection = torch.where(intersection > _NOISE * extent**2, intersection, 0.0)
    iou = intersection / (area1 + area2 - intersection)
    iou = torch.where(good1[:, None] & good2 & iou.isfinite(), iou, 0.0)
    return iou.to(overlap_dtype(boxes1, boxes2))


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """(N, M) area of box a inside box b; a is (N, 1, 5), b is (M, 5)."""
    x, y = _corners(a, b)
    half_width, half_height = b[..., 2, None] / 2, b[..., 3, None] / 2
    x1, y1 = x.roll(-1, -1), y.roll(-1, -1)
    slope_x = _nonzero(x1 - x)
    t0 = ((x.clamp(-half_width, half_width) - x) / slope_x).clamp(0, 1)
    t1 = ((x1.clamp(-half_width, half_width) - x) / slope_x).clamp(0, 1)
    step = (x1 - x) * (t1 - t0)  # along x, inside the second box
    start, end = y + t0 * (y1 - y), y + t1 * (y1 - y)
    return (step * _mean_clamped(start, end, half_height)).sum(-1).abs()


def _corners(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(N, M, 4) x and y of a's corners, in order around it, in b's frame."""
    turn = torch.deg2rad(b[..., 4].fmod(360))
    dx, dy = a[..., 0] - b[..., 0], a[..., 1] - b[..., 1]
    cx = dx * turn.cos() - dy * turn.sin()
    cy = dx * turn.sin() + dy * turn.cos()
    angle = torch.deg2rad(a[..., 4].fmod(360)) - turn
    ux, uy = angle.cos() * a[..., 2] / 2, -angle.sin() * a[..., 2] / 2
    vx, vy = angle.sin() * a[..., 3] / 2, angle.cos() * a[..., 3] / 2
    xs = (cx + ux + vx, cx - ux + vx, cx - ux - vx, cx + ux - vx)
    ys = (cy + uy + vy, cy - uy + vy, cy - uy - vy, cy + uy - vy)
    return torch.stack(xs, -1), torch.stack(ys, -1)


def _mean_clamped(start: Tensor, end: Tensor, limit: Tensor) -> Tensor:
    """Mean of clamp(y, -limit, limit) while y runs linearly from start to end."""
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    length = _nonzero(high - low)
    below = ((-limit - low) / length).clamp(0, 1)
    above = ((limit - low) / length).clamp(0, 1)
    inside = (low + below * (high - low) + low + above * (high - low)) / 2
    return (above - below) * inside - below * limit + (1 - above) * limit


def _nonzero(length: Tensor) -> Tensor:
    return torch.where(length == 0, _TINY, length)


def _usable(boxes: Tensor) -> Tensor:
    return boxes.isfinite().all(1) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
