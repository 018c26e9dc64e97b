"""Translations of the ops to ONNX operators, for `torch.onnx.export(..., dynamo=True)`.

    torch.onnx.export(model, inputs, "model.onnx", dynamo=True, opset_version=18,
                      custom_translation_table=perception.ops.onnx.translations())

RoIAlign (also from a pyramid: one node per level), RoIPool, NMS and, from opset 19 on,
`deform_conv2d` have an operator there. NMS by class and in its padded form, `rezoom` and the
overlaps of axis-aligned boxes are composed of several. The position-sensitive and deformable
poolings, `soft_nms`, `box_voting` and everything rotated have no translation. ONNX knows no rows
that are not finite and no errors for bad image indices.
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
        ops.deform_conv2d.default: _deform_conv2d,
        ops.nms.default: _nms,
        ops.batched_nms.default: _batched_nms,
        ops.nms_padded.default: _nms_padded,
        ops.rezoom.default: _rezoom,
        ops.box_iou.default: _box_iou,
        ops.generalized_box_iou.default: _generalized_box_iou,
        ops.distance_box_iou.default: _distance_box_iou,
        ops.complete_box_iou.default: _complete_box_iou,
    }


def _opset() -> Any:
    from onnxscript import opset18

    return opset18


def _double(value: float) -> Any:
    """A float64 constant."""
    op = _opset()
    return op.Cast(op.Constant(value_float=float(value)), to=11)


def _integers(values: Sequence[int]) -> Any:
    return _opset().Constant(value_ints=list(values))


def _roi_align(
    features: Any, rois: Any, scale: float, rows: int, columns: int, sampling: int, aligned: bool
) -> Any:
    op = _opset()
    index = op.Cast(op.Gather(rois, op.Constant(value_int=0), axis=1), to=7)
    boxes = op.Slice(rois, _integers([1]), _integers([5]), _integers([1]))
    return op.RoiAlign(
        features,
        op.CastLike(boxes, features),
        index,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        mode="avg",
        output_height=rows,
        output_width=columns,
        sampling_ratio=max(sampling, 0),
        spatial_scale=scale,
    )


def _multi_level_roi_align(
    features: Sequence[Any],
    rois: Any,
    levels: Any,
    scales: Sequence[float],
    rows: int,
    columns: int,
    sampling: int,
    aligned: bool,
    canonical_size: float,
    canonical_level: int,
) -> Any:
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

    def column(i: int) -> Any:
        return op.Gather(rois, op.Constant(value_int=i), axis=1)

    wide, tall = op.Sub(column(3), column(1)), op.Sub(column(4), column(2))
    area = op.Mul(op.Cast(wide, to=11), op.Cast(tall, to=11))
    positive = op.Greater(area, _double(0))
    area = op.Where(positive, area, _double(1))
    halves = op.Div(op.Log(op.Div(area, _double(size * size))), op.Log(_double(4)))
    found = op.Floor(op.Add(halves, op.Add(_double(level - lowest), _double(1e-6))))
    found = op.Min(op.Max(found, _double(0)), _double(last))
    return op.Cast(op.Where(positive, found, _double(0)), to=7)


def _roi_pool(features: Any, rois: Any, scale: float, rows: int, columns: int) -> tuple[Any, Any]:
    """The maxima; their places, which ONNX does not give, are all -1."""
    op = _opset()
    pooled = op.MaxRoiPool(
        features, op.CastLike(rois, features), pooled_shape=[rows, columns], spatial_scale=scale
    )
    nowhere = op.CastLike(op.Constant(value_int=-1), op.Constant(value_ints=[0]))
    return pooled, op.Cast(op.Expand(nowhere, op.Shape(pooled)), to=6)


def _deform_conv2d(
    features: Any,
    offset: Any,
    weight: Any,
    bias: Any,
    mask: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Any:
    from onnxscript import opset19

    op: Any = opset19
    out_channels, group_channels, *kernel = weight.shape
    if bias is None:  # only inputs at the end may be left out
        bias = op.CastLike(op.Constant(value_floats=[0.0] * out_channels), weight)
    given = [op.CastLike(each, features) for each in (weight, offset, bias)]
    given += [] if mask is None else [op.CastLike(mask, features)]
    return op.DeformConv(
        features,
        *given,
        kernel_shape=kernel,
        strides=stride,
        pads=[*padding, *padding],
        dilations=dilation,
        group=features.shape[1] // group_channels,
        offset_group=offset.shape[1] // (2 * kernel[0] * kernel[1]),
    )


# ---------------------------------------------------------------------------- suppression


def _nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    op = _opset()
    rows = op.Unsqueeze(op.Cast(scores, to=1), _integers([0]))
    return op.Gather(_chosen(boxes, rows, iou_threshold), op.Constant(value_int=2), axis=1)


def _batched_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    """One row of scores per class, where the other classes' boxes are below the least score."""
    op = _opset()
    _, _, place, _ = op.Unique(op.Concat(idxs, _integers([0]), axis=0))  # never of nothing
    place = op.Slice(place, _integers([0]), _integers([-1]))
    classes = op.Range(
        op.Constant(value_int=0),
        op.Add(
            op.ReduceMax(op.Concat(place, _integers([0]), axis=0), keepdims=0),
            op.Constant(value_int=1),
        ),
        op.Constant(value_int=1),
    )
    mine = op.Equal(op.Unsqueeze(classes, _integers([1])), op.Unsqueeze(place, _integers([0])))
    low = op.Constant(value_float=-math.inf)
    rows = op.Where(mine, op.Unsqueeze(op.Cast(scores, to=1), _integers([0])), low)
    found = op.Gather(
        _chosen(boxes, rows, iou_threshold, least=True), op.Constant(value_int=2), axis=1
    )
    return _by_score(found, scores)


def _by_score(found: Any, scores: Any) -> Any:
    """Rows by descending score, the lower index first among equal ones."""
    op = _opset()
    count = op.Shape(found)
    found, _ = op.TopK(found, count, largest=0)
    _, order = op.TopK(op.Gather(op.Cast(scores, to=1), found), count)
    return op.Gather(found, order)


def _chosen(boxes: Any, rows: Any, iou_threshold: float, *, least: bool = False) -> Any:
    """(n, 3) rows (0, class, box) that NonMaxSuppression keeps; `rows` (classes, N) scores."""
    op = _opset()
    given = [
        op.Unsqueeze(op.Cast(boxes, to=1), _integers([0])),
        op.Unsqueeze(rows, _integers([0])),
        op.Slice(op.Shape(boxes), _integers([0]), _integers([1])),
        op.Constant(value_floats=[iou_threshold]),
    ]
    return op.NonMaxSuppression(*given, *([op.Constant(value_floats=[-3.4e38])] if least else []))


def _nms_padded(
    boxes: Any, scores: Any, idxs: Any, iou_threshold: float, max_output: int
) -> tuple[Any, Any]:
    op = _opset()
    if idxs is None:
        found = _nms(boxes, scores, iou_threshold)
    else:
        found = _batched_nms(boxes, scores, idxs, iou_threshold)
    first = op.Slice(found, _integers([0]), _integers([max_output]))
    nothing = op.Constant(value_ints=[-1] * max_output)
    padded = op.Slice(op.Concat(first, nothing, axis=0), _integers([0]), _integers([max_output]))
    return padded, op.Squeeze(op.Shape(first))


# ---------------------------------------------------------------------------- rezoom


def _rezoom(
    features: Any, rois: Any, w_offsets: Sequence[float], h_offsets: Sequence[float], scale: float
) -> Any:
    """Four gathers of rows from the map as a table (N * H * W, C)."""
    op = _opset()
    shape = op.Shape(features)
    channels, height, width = (
        op.Slice(shape, _integers([i]), _integers([i + 1])) for i in (1, 2, 3)
    )
    table = op.Reshape(
        op.Transpose(features, perm=[0, 2, 3, 1]), op.Concat(_integers([-1]), channels, axis=0)
    )
    rois = op.Cast(rois, to=11)
    image, cx, cy, w, h = (
        op.Slice(rois, _integers([i]), _integers([i + 1]), _integers([1])) for i in range(5)
    )
    x = op.Mul(op.Add(cx, op.Mul(_row(w_offsets), w)), _double(scale))
    y = op.Mul(op.Add(cy, op.Mul(_row(h_offsets), h)), _double(scale))
    known = op.Not(
        op.Or(op.IsNaN(op.Unsqueeze(x, _integers([2]))), op.IsNaN(op.Unsqueeze(y, _integers([1]))))
    )
    left, right, x_part = _neighbours(x, width)
    top, bottom, y_part = _neighbours(y, height)
    first = op.Mul(op.Cast(op.Unsqueeze(image, _integers([2])), to=7), height)
    total = None
    for row, y_weight in ((top, op.Sub(_double(1), y_part)), (bottom, y_part)):
        for column, x_weight in ((left, op.Sub(_double(1), x_part)), (right, x_part)):
            line = op.Mul(op.Add(first, op.Unsqueeze(row, _integers([1]))), width)
            place = op.Add(line, op.Unsqueeze(column, _integers([2])))
            weight = op.Mul(
                op.Unsqueeze(y_weight, _integers([1])), op.Unsqueeze(x_weight, _integers([2]))
            )
            weight = op.CastLike(op.Unsqueeze(weight, _integers([3])), features)
            value = op.Mul(op.Gather(table, place, axis=0), weight)
            value = op.Where(
                op.Equal(weight, op.CastLike(_double(0), weight)),
                op.CastLike(_double(0), value),
                value,
            )
            total = value if total is None else op.Add(total, value)
    known = op.Unsqueeze(known, _integers([3]))
    total = op.Where(known, total, op.CastLike(_double(0), total))
    points = _integers([len(w_offsets) * len(h_offsets)])
    count = op.Slice(op.Shape(rois), _integers([0]), _integers([1]))
    return op.Reshape(total, op.Concat(count, op.Mul(points, channels), axis=0), allowzero=1)


def _row(values: Sequence[float]) -> Any:
    """(1, n) float64."""
    op = _opset()
    import onnx

    tensor = onnx.helper.make_tensor("row", onnx.TensorProto.DOUBLE, [1, len(values)], values)
    return op.Constant(value=tensor)


def _neighbours(position: Any, size: Any) -> tuple[Any, Any, Any]:
    """Lower and upper index and the fraction between them, clamped to the map; NaN counts as 0."""
    op = _opset()
    position = op.Where(op.IsNaN(position), _double(0), position)
    last = op.Sub(size, _integers([1]))
    inside = op.Min(op.Max(position, _double(0)), op.Cast(last, to=11))
    lower = op.Floor(inside)
    index = op.Cast(lower, to=7)
    upper = op.Min(op.Add(index, _integers([1])), last)
    return index, upper, op.Sub(inside, lower)


# ---------------------------------------------------------------------------- overlap


def _box_iou(boxes1: Any, boxes2: Any) -> Any:
    return _opset().CastLike(_Pairs(boxes1, boxes2).iou, boxes1)


def _generalized_box_iou(boxes1: Any, boxes2: Any) -> Any:
    op, pairs = _opset(), _Pairs(boxes1, boxes2)
    enclosing = op.Mul(*pairs.enclosing)
    empty = _ratio(op.Sub(enclosing, pairs.union), enclosing)
    return op.CastLike(op.Sub(pairs.iou, empty), boxes1)


def _distance_box_iou(boxes1: Any, boxes2: Any, eps: float) -> Any:
    return _opset().CastLike(_Pairs(boxes1, boxes2).distance_iou(eps), boxes1)


def _complete_box_iou(boxes1: Any, boxes2: Any, eps: float) -> Any:
    op, pairs = _opset(), _Pairs(boxes1, boxes2)
    difference = op.Sub(_aspect(pairs.a), _aspect(pairs.b))
    v = op.Mul(op.Mul(difference, difference), _double(4 / math.pi**2))
    alpha = op.Div(v, op.Add(op.Sub(_double(1 + eps), pairs.iou), v))
    return op.CastLike(op.Sub(pairs.distance_iou(eps), op.Mul(alpha, v)), boxes1)


class _Pairs:
    """Sides (x1, y1, x2, y2) as float64 columns (N, 1) and rows (1, M), and what they share."""

    def __init__(self, boxes1: Any, boxes2: Any) -> None:
        op = _opset()
        self.a = _sides(op.Cast(boxes1, to=11))
        self.b = [op.Transpose(side, perm=[1, 0]) for side in _sides(op.Cast(boxes2, to=11))]
        shared = [
            _length(op.Max(self.a[i], self.b[i]), op.Min(self.a[i + 2], self.b[i + 2]))
            for i in (0, 1)
        ]
        intersection = op.Mul(*shared)
        self.union = op.Sub(op.Add(_area(self.a), _area(self.b)), intersection)
        self.iou = _ratio(intersection, self.union)
        self.enclosing = [
            _length(op.Min(self.a[i], self.b[i]), op.Max(self.a[i + 2], self.b[i + 2]))
            for i in (0, 1)
        ]

    def distance_iou(self, eps: float) -> Any:
        """IoU minus squared distance of centres over squared diagonal."""
        op = _opset()
        diagonal = op.Add(op.Add(*(op.Mul(x, x) for x in self.enclosing)), _double(eps))
        apart = [
            op.Sub(op.Add(self.a[i], self.a[i + 2]), op.Add(self.b[i], self.b[i + 2]))
            for i in (0, 1)
        ]
        squared = op.Mul(op.Add(*(op.Mul(x, x) for x in apart)), _double(0.25))
        return op.Sub(self.iou, op.Div(squared, diagonal))


def _sides(boxes: Any) -> list[Any]:
    op = _opset()
    return [op.Slice(boxes, _integers([i]), _integers([i + 1]), _integers([1])) for i in range(4)]


def _length(low: Any, high: Any) -> Any:
    op = _opset()
    return op.Max(op.Sub(high, low), _double(0))


def _area(sides: Sequence[Any]) -> Any:
    return _opset().Mul(_length(sides[0], sides[2]), _length(sides[1], sides[3]))


def _aspect(sides: Sequence[Any]) -> Any:
    """Angle of the diagonal: pi/2 for a flat box, 0 for a point."""
    op = _opset()
    width, height = _length(sides[0], sides[2]), _length(sides[1], sides[3])
    flat = op.Equal(height, _double(0))
    slope = op.Div(width, op.Where(flat, _double(1), height))
    angle = op.Cast(op.Atan(op.Cast(slope, to=1)), to=11)  # ONNX Runtime has it in float32 only
    steep = op.Where(op.Greater(width, _double(0)), _double(math.pi / 2), _double(0))
    return op.Where(flat, steep, angle)


def _ratio(part: Any, whole: Any) -> Any:
    """`part / whole`, 0 where the whole is empty."""
    op = _opset()
    empty = op.LessOrEqual(whole, _double(0))
    return op.Where(empty, _double(0), op.Div(part, op.Where(empty, _double(1), whole)))
