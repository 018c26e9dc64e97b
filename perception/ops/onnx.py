"""Translations of the ops to ONNX operators, for `torch.onnx.export(..., dynamo=True)`.

    torch.onnx.export(model, inputs, "model.onnx", dynamo=True, opset_version=18,
                      custom_translation_table=perception.ops.onnx.translations())

RoIAlign (also from a pyramid: one node per level), RoIPool and NMS have an operator there. The
others have none. ONNX knows no rows that are not finite and no errors for bad image indices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch


def translations() -> dict[Any, Callable[..., Any]]:
    """Op -> function that builds its ONNX nodes; needs the package onnxscript."""
    ops = torch.ops.perception
    return {
        ops.roi_align.default: _roi_align,
        ops.multi_level_roi_align.default: _multi_level_roi_align,
        ops.roi_pool.default: _roi_pool,
        ops.nms.default: _nms,
    }


def _opset() -> Any:
    from onnxscript import opset18

    return opset18


def _integers(values: Sequence[int]) -> Any:
    return _opset().Constant(value_ints=list(values))


def _roi_align(
    features: Any, rois: Any, scale: float, rows: int, columns: int, sampling: int, aligned: bool
) -> Any:
    op = _opset()
    index = op.Cast(op.Gather(rois, op.Constant(value_int=0), axis=1), to=7)
    boxes = op.Slice(rois, _integers([1]), _integers([5]), _integers([1]))
    return op.RoiAlign(
        features, op.CastLike(boxes, features), index,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        mode="avg", output_height=rows, output_width=columns, sampling_ratio=max(sampling, 0),
        spatial_scale=scale,
    )  # fmt: skip


def _multi_level_roi_align(
    features: Sequence[Any], rois: Any, levels: Any, scales: Sequence[float], rows: int,
    columns: int, sampling: int, aligned: bool, canonical_size: float, canonical_level: int,
) -> Any:  # fmt: skip
    """Every level reads every box, and each row is taken from its own."""
    op = _opset()
    if levels is None:
        lowest = round(-math.log2(scales[0]))
        levels = _levels(rois, canonical_size, canonical_level, lowest, len(scales) - 1)
    result = None
    for level, (each, scale) in enumerate(zip(features, scales, strict=True)):
        pooled = _roi_align(each, rois, scale, rows, columns, sampling, aligned)
        mine = op.Equal(levels, op.Constant(value_int=level))
        mine = op.Unsqueeze(mine, _integers([1, 2, 3]))
        result = pooled if result is None else op.Where(mine, pooled, result)
    return result


def _levels(rois: Any, size: float, level: int, lowest: int, last: int) -> Any:
    """(K,) int64: floor(level + log2(sqrt(area) / size) + 1e-6) - lowest, clamped; in float64."""
    op = _opset()
    number = lambda value: op.Cast(op.Constant(value_float=float(value)), to=11)  # noqa: E731
    column = lambda i: op.Gather(rois, op.Constant(value_int=i), axis=1)  # noqa: E731
    wide, tall = op.Sub(column(3), column(1)), op.Sub(column(4), column(2))
    area = op.Mul(op.Cast(wide, to=11), op.Cast(tall, to=11))
    positive = op.Greater(area, number(0))
    area = op.Where(positive, area, number(1))
    halves = op.Div(op.Log(op.Div(area, number(size * size))), op.Log(number(4)))
    found = op.Floor(op.Add(halves, op.Add(number(level - lowest), number(1e-6))))
    found = op.Min(op.Max(found, number(0)), number(last))
    return op.Cast(op.Where(positive, found, number(0)), to=7)


def _roi_pool(features: Any, rois: Any, scale: float, rows: int, columns: int) -> tuple[Any, Any]:
    """The maxima; their places, which ONNX does not give, are all -1."""
    op = _opset()
    pooled = op.MaxRoiPool(
        features, op.CastLike(rois, features), pooled_shape=[rows, columns], spatial_scale=scale
    )
    nowhere = op.CastLike(op.Constant(value_int=-1), op.Constant(value_ints=[0]))
    return pooled, op.Cast(op.Expand(nowhere, op.Shape(pooled)), to=6)


def _nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    op = _opset()
    count = op.Gather(op.Shape(scores), _integers([0]))
    chosen = op.NonMaxSuppression(
        op.Unsqueeze(op.Cast(boxes, to=1), _integers([0])),
        op.Unsqueeze(op.Cast(scores, to=1), _integers([0, 1])),
        count,
        op.Constant(value_floats=[iou_threshold]),
    )
    return op.Gather(chosen, op.Constant(value_int=2), axis=1)
