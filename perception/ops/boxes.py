"""Overlap of boxes, axis-aligned and rotated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from perception.ops import reference
from perception.ops._arguments import check_device
from perception.ops._registration import call, define, twice_differentiable


def box_iou(boxes1: Tensor, boxes2: Tensor, fmt: str = "xyxy") -> Tensor:
    """Intersection over union of every pair, 0 where the union is empty.

    Args:
        boxes1: (N, 4), rows (x1, y1, x2, y2), any real dtype.
        boxes2: (M, 4).
        fmt: "xyxy", "xywh", "cxcywh", or "cxcywhr" ((N, 5), see `box_iou_rotated`).

    Returns:
        (N, M), float64 if one of the inputs is, else float32; computed in float64. A reversed box
        has area 0; a NaN coordinate gives NaN.

    Gradient: to both, and second ones, which come from the definition.

    Raises:
        ValueError: a shape or the format is wrong.
        TypeError: an input is complex or sparse.
    """
    if fmt == "cxcywhr":
        return box_iou_rotated(boxes1, boxes2)
    if fmt != "xyxy":
        boxes1, boxes2 = _corners("boxes1", boxes1, fmt), _corners("boxes2", boxes2, fmt)
    return _overlap(_box_iou, boxes1, boxes2)


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU minus the share of the enclosing box that neither covers, -1 to 1; see `box_iou`.

    Source: Rezatofighi et al., CVPR 2019.
    """
    return _overlap(_generalized_box_iou, boxes1, boxes2)


def distance_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """IoU minus squared distance of centres over squared diagonal of the enclosing box.

    Args:
        boxes1: (N, 4), rows (x1, y1, x2, y2).
        boxes2: (M, 4).
        eps: added to the squared diagonal.

    Returns, raises: as `box_iou`.

    Source: Zheng et al., AAAI 2020.
    """
    return _overlap(_distance_box_iou, boxes1, boxes2, float(eps))


def complete_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """`distance_box_iou` minus alpha * v, v the squared difference of the aspect angles.

    alpha = v / (1 - IoU + v + eps) has no gradient; flat boxes have the aspect angle pi / 2.

    Args:
        boxes1: (N, 4), rows (x1, y1, x2, y2).
        boxes2: (M, 4).
        eps: added to the squared diagonal and to alpha's denominator.

    Returns, raises: as `box_iou`.

    Source: Zheng et al., AAAI 2020.
    """
    return _overlap(_complete_box_iou, boxes1, boxes2, float(eps))


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of every pair of rotated boxes.

    With y pointing down a positive angle turns a box counter-clockwise on the screen.

    Args:
        boxes1: (N, 5), rows (cx, cy, w, h, angle in degrees), any real dtype.
        boxes2: (M, 5).

    Returns:
        (N, M), float64 if one of the inputs is, else float32; computed in float64. 0 if a side is
        not positive or a value not finite. No gradient.

    Raises:
        ValueError: a shape is wrong.
        TypeError: an input is complex or sparse.
    """
    boxes1, boxes2 = _pair(boxes1, boxes2, columns=5)
    return call(_box_iou_rotated, boxes1.detach(), boxes2.detach())


def _overlap(op: Any, boxes1: Tensor, boxes2: Tensor, *eps: float) -> Tensor:
    return call(op, *_pair(boxes1, boxes2), *eps)


def _pair(boxes1: Tensor, boxes2: Tensor, columns: int = 4) -> tuple[Tensor, Tensor]:
    """Both in one dtype, the one of the result; integers in float64."""
    for name, boxes in (("boxes1", boxes1), ("boxes2", boxes2)):
        if boxes.dim() != 2 or boxes.shape[1] != columns:
            raise ValueError(f"{name} must have shape (N, {columns}), got {tuple(boxes.shape)}")
        if boxes.dtype.is_complex or boxes.layout is not torch.strided:
            raise TypeError(f"{name} must be dense and real, got {boxes.dtype}, {boxes.layout}")
    check_device("boxes2", boxes2, boxes1)
    if boxes1.dtype is boxes2.dtype and boxes1.dtype in (torch.float32, torch.float64):
        return boxes1, boxes2
    wide = any(x.dtype is torch.float64 or not x.dtype.is_floating_point for x in (boxes1, boxes2))
    dtype = torch.float64 if wide else torch.float32
    return boxes1.to(dtype), boxes2.to(dtype)


def _corners(name: str, boxes: Tensor, fmt: str) -> Tensor:
    """(N, 4) rows (x1, y1, x2, y2) from another axis-aligned format."""
    if fmt not in ("xywh", "cxcywh"):
        raise ValueError(f"fmt must be xyxy, xywh, cxcywh or cxcywhr, got {fmt!r}")
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} must have shape (N, 4), got {tuple(boxes.shape)}")
    place, size = boxes[:, :2].double(), boxes[:, 2:].double()
    low = place if fmt == "xywh" else place - size / 2
    corners = torch.cat([low, low + size], 1)
    return corners.to(boxes.dtype) if boxes.is_floating_point() else corners


def _fake(boxes1: Tensor, boxes2: Tensor, *_: object) -> Tensor:
    return boxes1.new_empty((boxes1.shape[0], boxes2.shape[0]))


def _fake_backward(grad: Tensor, boxes1: Tensor, boxes2: Tensor, *_: object) -> tuple[Tensor, ...]:
    return boxes1.new_empty(boxes1.shape), boxes2.new_empty(boxes2.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.eps = inputs[2:]


def _gradient(backward: Any) -> Callable[..., tuple[Any, ...]]:
    def run(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        boxes1, boxes2 = ctx.saved_tensors
        return (*backward(grad, boxes1, boxes2, *ctx.eps), *(None for _ in ctx.eps))

    return run


def _define(name: str, eps: str = "") -> Any:
    """One differentiable overlap and the op of its gradient."""
    backward = define(
        f"{name}_backward(Tensor grad, Tensor boxes1, Tensor boxes2{eps}) -> (Tensor, Tensor)",
        fake=_fake_backward,
        **twice_differentiable(
            getattr(reference, f"{name}_backward"), by=getattr(reference, name), places=(0, 1)
        ),
    )
    return define(
        f"{name}(Tensor boxes1, Tensor boxes2{eps}) -> Tensor",
        reference=getattr(reference, name),
        fake=_fake,
        setup=_setup,
        backward=_gradient(backward),
    )


_box_iou = _define("box_iou")
_generalized_box_iou = _define("generalized_box_iou")
_distance_box_iou = _define("distance_box_iou", ", float eps")
_complete_box_iou = _define("complete_box_iou", ", float eps")
_box_iou_rotated = define(
    "box_iou_rotated(Tensor boxes1, Tensor boxes2) -> Tensor",
    reference=reference.box_iou_rotated,
    fake=_fake,
)
