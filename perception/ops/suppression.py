"""Non-maximum suppression."""

from __future__ import annotations

import torch
from torch import Tensor

from perception.ops import reference
from perception.ops._registration import call, define


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy suppression: keeps a box unless a kept one with a higher score overlaps it too much.

    Args:
        boxes: (N, 4), rows (x1, y1, x2, y2).
        scores: (N,); on ties the lower index comes first.
        iou_threshold: 0 to 1; a box with IoU above it is dropped.

    Returns:
        (n,) int64 indices of the kept boxes, highest score first. Boxes with a coordinate that is
        not finite and boxes with a NaN score are never returned and suppress nothing.

    Raises:
        ValueError: a shape is wrong, or the threshold lies outside [0, 1].
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must have shape (N, 4), got {tuple(boxes.shape)}")
    if scores.shape != boxes.shape[:1]:
        raise ValueError(f"scores must have shape ({boxes.shape[0]},), got {tuple(scores.shape)}")
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold must lie in [0, 1], got {iou_threshold}")
    wide = boxes.dtype == torch.float64 or not boxes.dtype.is_floating_point
    boxes = boxes.detach().to(torch.float64 if wide else torch.float32)
    return call(_nms, boxes, scores.detach(), float(iou_threshold))


def _fake(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    kept = torch.library.get_ctx().new_dynamic_size()
    torch._check(kept <= boxes.shape[0])
    return boxes.new_empty(kept, dtype=torch.int64)


_nms = define(
    "nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor",
    reference=reference.nms, fake=_fake,
)  # fmt: skip
