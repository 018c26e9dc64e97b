"""One or more ordinary calls of every public op, for tests of what holds for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import perception.ops as ops

NOT_OPS = {"backend", "set_debug"}
ODD = [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 1e6, 2.0**31]
OPS = sorted(name for name in ops.__all__ if name.islower() and name not in NOT_OPS)


@dataclass(frozen=True)
class Sample:
    """A call whose floating tensors can be exchanged."""

    call: Callable[..., Tensor | tuple[Tensor, ...]]  # of the inputs
    inputs: tuple[Tensor, ...]  # float64; those of four dimensions have a memory format
    maps: int = 0  # how many of the first inputs are feature maps
    differentiable: bool = True

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Results of a call, always as a tuple."""
        out = self.call(*inputs)
        return out if isinstance(out, tuple) else (out,)


def samples(
    seed: int = 0,
    size: tuple[int, int] = (7, 9),
    count: int = 4,
    channels: int = 8,
    *,
    odd: bool = False,
) -> dict[str, Sample]:
    """Calls by name; the first word of a name is the op's.

    Boxes lie between the cells (no two values of a maximum or minimum coincide), some partly
    outside the map. `count` boxes, which may be 0, on maps (2, channels, *size); if `odd`, one
    of them has a coordinate that is huge or not finite, and one is reversed.
    """
    generator = torch.manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.double, generator=generator)

    x = torch.randn(2, channels, *size, dtype=torch.double, generator=generator)
    index = torch.arange(count).double()[:, None] % 2
    corner = draw(count, 2) * 8 - 2.03
    boxes = torch.cat([corner, corner + 0.77 + draw(count, 2) * 9], 1)
    if odd and count:
        place = torch.randint(count, (2,), generator=generator).tolist()
        boxes[place[0], seed % 4] = ODD[seed % len(ODD)]
        boxes[place[1]] = boxes[place[1]].flip(0)
    rois, geometry = torch.cat([index, boxes], 1), torch.cat([corner, 2 + draw(count, 2) * 9], 1)
    return {
        **_pooling(x, rois, draw),
        **_deformable(x, rois, draw),
        "rezoom": Sample(
            lambda x, b: ops.rezoom(x, torch.cat([index.to(b), b], 1), spatial_scale=0.7),
            (x, geometry),
            1,
        ),
        **_overlap(boxes, draw),
        **_suppression(boxes, draw(count)),
    }


def _pooling(x: Tensor, rois: Tensor, draw: Callable[..., Tensor]) -> dict[str, Sample]:
    levels = (
        x,
        F.interpolate(x, scale_factor=0.5, recompute_scale_factor=False)
        if min(x.shape[2:]) > 1
        else x + 1,
    )
    scales, small = [0.8, 0.4], {"canonical_size": 5, "canonical_level": 1}
    calls: dict[str, Callable[[Tensor], Tensor]] = {
        "roi_align": lambda x: ops.roi_align(x, rois, (2, 3), 0.7, 2),
        "roi_align adaptive, aligned": lambda x: ops.roi_align(x, rois, 2, 0.7, 0, True),
        "roi_pool": lambda x: ops.roi_pool(x, rois, (2, 3), 0.7),
        "ps_roi_align": lambda x: ops.ps_roi_align(x, rois, (2, 4), 0.7, 2),
        "ps_roi_align adaptive": lambda x: ops.ps_roi_align(x, rois, 2, 0.7),
        "ps_roi_pool": lambda x: ops.ps_roi_pool(x, rois, (4, 2), 0.7),
    }
    made = {name: Sample(call, (x,), 1) for name, call in calls.items()}
    which = torch.arange(len(rois)) % 2
    made["multi_level_roi_align"] = Sample(
        lambda *x: ops.multi_level_roi_align(x, rois, 2, scales, 2, **small), levels, 2
    )
    made["multi_level_roi_align given levels"] = Sample(
        lambda *x: ops.multi_level_roi_align(x, rois, (3, 2), scales, 0, True, levels=which),
        levels,
        2,
    )
    return made


def _deformable(x: Tensor, rois: Tensor, draw: Callable[..., Tensor]) -> dict[str, Sample]:
    offset, parts = draw(len(rois), 2, 2, 3) * 3 - 1.5, draw(len(rois), 4, 2, 2) * 3 - 1.5
    rows, columns = (x.shape[2] - 1) // 2 + 1, x.shape[3] + 1
    taps, mask = draw(2, 16, rows, columns) * 4 - 2, draw(2, 8, rows, columns)
    channels = x.shape[1]
    weight, bias = draw(6, channels // 2, 2, 2), draw(6)
    return {
        "deform_roi_pool": Sample(
            lambda x, o: ops.deform_roi_pool(x, rois, o, (2, 3), 0.7, 2), (x, offset), 1
        ),
        "deform_roi_pool without offset": Sample(
            lambda x: ops.deform_roi_pool(x, rois, None, 2, 0.7), (x,), 1
        ),
        "deform_ps_roi_pool": Sample(
            lambda x, o: ops.deform_ps_roi_pool(x, rois, o, 2, 0.7, output_dim=channels // 4),
            (x, parts), 1,
        ),
        "deform_conv2d modulated, in groups": Sample(
            lambda x, o, w, b, m: ops.deform_conv2d(x, o, w, b, (2, 1), (1, 1), (2, 1), m),
            (x, taps, weight, bias, mask), 1,
        ),
        "deform_conv2d": Sample(
            lambda x, o, w: ops.deform_conv2d(x, o, w, padding=1),
            (x, draw(2, 12, x.shape[2] + 1, x.shape[3]) * 4 - 2, draw(3, channels, 2, 3)), 1,
        ),
    }  # fmt: skip


def _overlap(boxes: Tensor, draw: Callable[..., Tensor]) -> dict[str, Sample]:
    corner = draw(max(len(boxes), 3), 2) * 6
    others = torch.cat([corner, corner + 1.3 + draw(len(corner), 2) * 6], 1)
    family = (ops.box_iou, ops.generalized_box_iou, ops.distance_box_iou, ops.complete_box_iou)
    made = {op.__name__: Sample(op, (boxes, others)) for op in family}
    turned = _rotated(boxes)
    made["box_iou_rotated"] = Sample(
        ops.box_iou_rotated, (turned, turned.flip(0)), differentiable=False
    )
    return made


def _rotated(boxes: Tensor) -> Tensor:
    size = boxes[:, 2:] - boxes[:, :2]
    return torch.cat([boxes[:, :2], size, boxes[:, :1] * 100], 1)


def _suppression(boxes: Tensor, scores: Tensor) -> dict[str, Sample]:
    classes, both = torch.arange(len(boxes)) % 2, (boxes, scores)
    calls: dict[str, Callable[..., Any]] = {
        "nms": lambda b, s: ops.nms(b, s, 0.3),
        "nms padded": lambda b, s: ops.nms(b, s, 0.3, max_output=3),
        "batched_nms": lambda b, s: ops.batched_nms(b, s, classes, 0.3),
        "batched_nms padded": lambda b, s: ops.batched_nms(b, s, classes, 0.3, max_output=3),
        "soft_nms": ops.soft_nms,
        "box_voting": lambda b, s: ops.box_voting(b[:2], s[:2], b, s, 0.2, "iou_avg"),
        "nms_rotated": lambda b, s: ops.nms_rotated(_rotated(b), s, 0.3),
    }
    return {name: Sample(call, both, differentiable=False) for name, call in calls.items()}


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "perception":
            self.calls.append((func, args))
        return func(*args, **(kwargs or {}))


def recorded(run: Callable[[], object]) -> list[tuple[Any, tuple[Any, ...]]]:
    """The registered ops that a call reaches, with their arguments."""
    with _Recorder() as recorder:
        run()
    return recorder.calls
