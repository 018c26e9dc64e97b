"""Overlap of axis-aligned boxes: the definitions. Compiled versions are held to these.

Boxes are (x1, y1, x2, y2) with area (x2 - x1) * (y2 - y1), no +1. Everything is computed in
float64, so that boxes of side 1e30 and integer boxes have areas.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """(N, M) intersection over union, 0 where the union is empty."""
    return _Pairs(boxes1, boxes2).iou.to(overlap_dtype(boxes1, boxes2))


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """(N, M) IoU minus the empty share of the enclosing box (Rezatofighi et al., CVPR 2019)."""
    pairs = _Pairs(boxes1, boxes2)
    width, height = (pairs.high - pairs.low).clamp(min=0).unbind(-1)
    enclosing = width * height
    empty = _ratio(enclosing - pairs.union, enclosing)
    return (pairs.iou - empty).to(overlap_dtype(boxes1, boxes2))


def distance_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """(N, M) IoU minus squared centre distance over squared diagonal (Zheng et al., AAAI 2020)."""
    return _distance_iou(_Pairs(boxes1, boxes2), eps).to(overlap_dtype(boxes1, boxes2))


def complete_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """(N, M) distance IoU minus the weighted difference of aspect (Zheng et al., AAAI 2020)."""
    pairs = _Pairs(boxes1, boxes2)
    v = 4 / math.pi**2 * (_aspect(boxes1)[:, None] - _aspect(boxes2)) ** 2
    alpha = (v / (1 - pairs.iou + v + eps)).detach()
    return (_distance_iou(pairs, eps) - alpha * v).to(overlap_dtype(boxes1, boxes2))


def box_iou_backward(grad: Tensor, boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `box_iou` to both; where sides coincide each box gets half."""
    return _backward(box_iou, grad, boxes1, boxes2)


def generalized_box_iou_backward(
    grad: Tensor, boxes1: Tensor, boxes2: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of `generalized_box_iou` to both."""
    return _backward(generalized_box_iou, grad, boxes1, boxes2)


def distance_box_iou_backward(
    grad: Tensor, boxes1: Tensor, boxes2: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Gradients of `distance_box_iou` to both."""
    return _backward(distance_box_iou, grad, boxes1, boxes2, eps)


def complete_box_iou_backward(
    grad: Tensor, boxes1: Tensor, boxes2: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Gradients of `complete_box_iou` to both."""
    return _backward(complete_box_iou, grad, boxes1, boxes2, eps)


def overlap_dtype(boxes1: Tensor, boxes2: Tensor) -> torch.dtype:
    """What the overlaps are returned in: float64 if a side is float64, else float32."""
    wide = torch.float64 in (boxes1.dtype, boxes2.dtype)
    return torch.float64 if wide else torch.float32


def _backward(
    op: Callable[..., Tensor], grad: Tensor, boxes1: Tensor, boxes2: Tensor, *eps: float
) -> tuple[Tensor, Tensor]:
    leaves = boxes1.detach().requires_grad_(), boxes2.detach().requires_grad_()
    with torch.enable_grad():
        to1, to2 = torch.autograd.grad(op(*leaves, *eps), leaves, grad, materialize_grads=True)
    return to1, to2


class _Pairs:
    """Intersection, union and enclosing box of every pair, float64."""

    def __init__(self, boxes1: Tensor, boxes2: Tensor) -> None:
        self.a, self.b = boxes1.double()[:, None], boxes2.double()
        top_left = torch.maximum(self.a[..., :2], self.b[..., :2])
        bottom_right = torch.minimum(self.a[..., 2:], self.b[..., 2:])
        width, height = (bottom_right - top_left).clamp(min=0).unbind(-1)
        intersection = width * height
        self.union = _area(self.a) + _area(self.b) - intersection
        self.iou = _ratio(intersection, self.union)

    @property
    def low(self) -> Tensor:
        """(N, M, 2) top left corner of the enclosing box."""
        return torch.minimum(self.a[..., :2], self.b[..., :2])

    @property
    def high(self) -> Tensor:
        """(N, M, 2) bottom right corner of the enclosing box."""
        return torch.maximum(self.a[..., 2:], self.b[..., 2:])


def _distance_iou(pairs: _Pairs, eps: float) -> Tensor:
    diagonal = (pairs.high - pairs.low).clamp(min=0).square().sum(-1) + eps
    centre1 = (pairs.a[..., :2] + pairs.a[..., 2:]) / 2
    centre2 = (pairs.b[..., :2] + pairs.b[..., 2:]) / 2
    return pairs.iou - (centre1 - centre2).square().sum(-1) / diagonal


def _area(boxes: Tensor) -> Tensor:
    """Area, 0 for a reversed box."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return width * height


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """`part / whole`, 0 (with gradient 0) where the whole is empty; NaN stays NaN."""
    empty = whole <= 0
    return torch.where(empty, 0.0, part / torch.where(empty, 1.0, whole))


def _aspect(boxes: Tensor) -> Tensor:
    """(N,) angle of the diagonal: pi/2 for a flat box, 0 (with gradient 0) for a point."""
    width, height = (boxes.double()[:, 2:] - boxes.double()[:, :2]).clamp(min=0).unbind(-1)
    point = (width == 0) & (height == 0)
    return torch.where(point, 0.0, torch.atan2(width, torch.where(point, 1.0, height)))
