"""Non-maximum suppression: the definition."""

from __future__ import annotations

import torch
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """(n,) int64 indices of the kept boxes, highest score first, the lower index on ties."""
    usable = boxes.isfinite().all(1) & ~scores.isnan()
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[usable[order]]
    kept: list[int] = []
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    areas = _areas(boxes)
    for position, index in enumerate(order.tolist()):
        if alive[position]:
            kept.append(index)
            rest = order[position + 1 :]
            overlap = _overlaps(boxes, areas, index, rest).double()
            alive[position + 1 :] &= ~(overlap > iou_threshold)
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _overlaps(boxes: Tensor, areas: Tensor, index: int, rest: Tensor) -> Tensor:
    """IoU of one box with others, in the order of operations that every kernel follows."""
    if not areas.isfinite().all() and boxes.dtype == torch.float32:
        boxes, areas = boxes.double(), _areas(boxes.double())
    box, others = boxes[index], boxes[rest]
    low = torch.maximum(box[:2], others[:, :2])
    high = torch.minimum(box[2:], others[:, 2:])
    inter = (high - low).clamp(min=0).prod(1)
    return inter / (areas[index] + areas[rest] - inter)
