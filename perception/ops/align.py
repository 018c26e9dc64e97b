"""RoIAlign: from one feature map, or from the levels of a pyramid in one call."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from perception.ops import reference
from perception.ops._arguments import (
    FLOATS,
    as_pair,
    as_rois,
    check_device,
    check_features,
    check_map,
    check_sampling,
    check_scale,
)
from perception.ops._registration import call, define, deterministic


def roi_align(
    input: Tensor,  # noqa: A002  (torchvision's name)
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Mean of bilinear samples on a regular grid in every bin of every box.

    Args:
        input: (N, C, H, W), floating; computed in float32, float64 input in float64.
        boxes: (K, 5), rows (image index, x1, y1, x2, y2), or a list of (L_i, 4), one per image;
            in input-image pixels. Keep them in float32: half precision is exact to 2048 only.
        output_size: bins per box, an int or (height, width).
        spatial_scale: map cells per image pixel, e.g. 1/8.
        sampling_ratio: samples per bin and axis, at most 65535; 0 or less: one per map cell.
        aligned: shift by half a pixel, so that pixel centres lie at whole numbers; boxes may then
            be smaller than a cell. Without it boxes are widened to at least one cell.

    Returns:
        (K, C, height, width) in dtype and memory format of `input`. Samples more than one cell
        outside the map count as 0. A box that is not finite gives zeros.

    Gradient: to `input`, of any order; none to `boxes`.

    Raises:
        TypeError: `input` is not floating and dense.
        ValueError: a shape or setting is wrong, or an image index is out of range.

    Source: He et al., Mask R-CNN, ICCV 2017, section 3.
    """
    check_features("input", input)
    rows, columns = as_pair("output_size", output_size)
    check_scale("spatial_scale", spatial_scale)
    check_sampling(sampling_ratio)
    rois = as_rois(input, boxes)
    check_map("input", input, rois)
    return call(
        _roi_align, input, rois, float(spatial_scale), rows, columns, sampling_ratio, aligned
    )


def multi_level_roi_align(
    features: Sequence[Tensor],
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scales: Sequence[float],
    sampling_ratio: int = -1,
    aligned: bool = False,
    canonical_size: float = 224,
    canonical_level: int = 4,
    levels: Tensor | None = None,
) -> Tensor:
    """RoIAlign of every box from the pyramid level that fits its size, in one call.

    A box of `canonical_size` pixels (square root of its area) reads the map of scale
    2^-canonical_level, one of twice the size the next coarser; clamped to the levels there are.

    Args:
        features: one (N, C, H_l, W_l) per level, finest first; of different dtypes (some layers
            answer in float32 under autocast) the widest counts.
        boxes: (K, 5), rows (image index, x1, y1, x2, y2), or a list of (L_i, 4), one per image;
            in input-image pixels.
        output_size: bins per box, an int or (height, width).
        spatial_scales: map cells per image pixel of each level, each half of the one before.
        sampling_ratio: samples per bin and axis, at most 65535; 0 or less: one per map cell.
        aligned: as for `roi_align`.
        canonical_size: size in image pixels of a box that reads `canonical_level`.
        canonical_level: that level, as the logarithm of its stride (4: stride 16).
        levels: (K,) int64 indices into `features` instead of the rule.

    Returns:
        (K, C, height, width), rows in the order of the boxes, in the memory format of the first
        level. Boxes without a positive area read the finest level.

    Gradient: to every level, of any order; none to `boxes`.

    Raises:
        TypeError: a level is not floating and dense.
        ValueError: shapes or settings do not fit, or an image index is out of range.

    Source: Lin et al., Feature Pyramid Networks, CVPR 2017, equation 1.
    """
    features = _of_one_dtype(features)
    scales = [float(scale) for scale in spatial_scales]
    _check_levels(features, scales, halving=levels is None)
    rows, columns = as_pair("output_size", output_size)
    check_sampling(sampling_ratio)
    check_scale("canonical_size", canonical_size)
    rois = as_rois(features[0], boxes)
    for each in features:
        check_map("features", each, rois)
    if levels is not None and (levels.dtype != torch.int64 or levels.shape != rois.shape[:1]):
        raise ValueError(
            f"levels must be int64 of shape ({rois.shape[0]},), got {levels.dtype} "
            f"of shape {tuple(levels.shape)}"
        )
    if levels is not None:
        check_device("levels", levels, rois)
    return call(
        _multi_level,
        features,
        rois,
        levels,
        scales,
        rows,
        columns,
        sampling_ratio,
        aligned,
        float(canonical_size),
        canonical_level,
    )


def _of_one_dtype(features: Sequence[Tensor]) -> list[Tensor]:
    """The levels in their widest dtype."""
    features = list(features)
    dtypes = {each.dtype for each in features if isinstance(each, Tensor)}
    if len(dtypes) < 2 or not all(each in FLOATS for each in dtypes):
        return features
    widest = functools.reduce(torch.promote_types, dtypes)
    return [each.to(widest) for each in features]


def _check_levels(features: Sequence[Tensor], scales: Sequence[float], *, halving: bool) -> None:
    if not features or len(features) != len(scales):
        raise ValueError(
            f"features and spatial_scales must be as many, at least one; got {len(features)} "
            f"and {len(scales)}"
        )
    for level, (each, scale) in enumerate(zip(features, scales, strict=True)):
        check_features(f"features[{level}]", each)
        check_scale(f"spatial_scales[{level}]", scale)
        check_device(f"features[{level}]", each, features[0])
        if each.shape[:2] != features[0].shape[:2]:
            raise ValueError(
                f"features[{level}] must have the images and channels of features[0]: "
                f"{tuple(each.shape)} beside {tuple(features[0].shape)}"
            )
        if halving and level and abs(scales[level - 1] / scale - 2) > 1e-3:
            raise ValueError(
                f"spatial_scales must halve from level to level, got {list(scales)}; "
                "give levels= for other pyramids"
            )


# ---------------------------------------------------------------------------- registration


def _fake_roi_align(
    features: Tensor,
    rois: Tensor,
    scale: float,
    rows: int,
    columns: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    shape = (rois.shape[0], features.shape[1], rows, columns)
    return torch.empty(
        shape,
        dtype=features.dtype,
        device=features.device,
        memory_format=reference.layout_of(features),
    )


def _fake_roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    scale: float,
    shape: Sequence[int],
    sampling_ratio: int,
    aligned: bool,
    deterministic: bool = True,
) -> Tensor:
    return torch.empty(
        shape, dtype=grad.dtype, device=grad.device, memory_format=reference.layout_of(grad)
    )


def _setup_roi_align(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, ctx.scale, ctx.rows, ctx.columns, ctx.sampling_ratio, ctx.aligned = inputs
    ctx.shape = features.shape
    ctx.save_for_backward(rois)


def _backward_roi_align(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    (rois,) = ctx.saved_tensors
    grad_features = _roi_align_backward(
        grad, rois, ctx.scale, ctx.shape, ctx.sampling_ratio, ctx.aligned, deterministic()
    )
    return grad_features, None, None, None, None, None, None


def _setup_roi_align_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, rois, ctx.scale, _, ctx.sampling_ratio, ctx.aligned, _ = inputs
    ctx.size = grad.shape[2:]
    ctx.save_for_backward(rois)


def _backward_roi_align_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """RoIAlign is linear, so the gradient of its gradient is RoIAlign itself."""
    (rois,) = ctx.saved_tensors
    rows, columns = ctx.size
    again = _roi_align(grad, rois, ctx.scale, rows, columns, ctx.sampling_ratio, ctx.aligned)
    return again, None, None, None, None, None, None


_roi_align = define(
    "roi_align(Tensor features, Tensor rois, float spatial_scale, int rows, int columns, "
    "int sampling_ratio, bool aligned) -> Tensor",
    reference=reference.roi_align,
    fake=_fake_roi_align,
    setup=_setup_roi_align,
    backward=_backward_roi_align,
)
_roi_align_backward = define(
    "roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt[] shape, "
    "int sampling_ratio, bool aligned, bool deterministic) -> Tensor",
    reference=reference.roi_align_backward,
    fake=_fake_roi_align_backward,
    setup=_setup_roi_align_backward,
    backward=_backward_roi_align_backward,
)


# ---------------------------------------------------------------------------- pyramids


def _fake_multi_level(
    features: list[Tensor],
    rois: Tensor,
    levels: Tensor | None,
    scales: list[float],
    rows: int,
    columns: int,
    *settings: Any,
) -> Tensor:
    return _fake_roi_align(features[0], rois, scales[0], rows, columns, 0, False)


def _fake_multi_level_backward(
    grad: Tensor,
    rois: Tensor,
    levels: Tensor | None,
    scales: list[float],
    shapes: Sequence[int],
    *settings: Any,
) -> list[Tensor]:
    parts = [shapes[4 * i : 4 * i + 4] for i in range(len(scales))]
    return [_fake_roi_align_backward(grad, rois, 1.0, shape, 0, False) for shape in parts]


def _setup_multi_level(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, levels, ctx.scales, _, _, *ctx.settings = inputs
    ctx.shapes = [size for each in features for size in each.shape]
    ctx.save_for_backward(rois, *([] if levels is None else [levels]))


def _backward_multi_level(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    rois, *levels = ctx.saved_tensors
    grads = _multi_level_backward(
        grad,
        rois,
        levels[0] if levels else None,
        ctx.scales,
        ctx.shapes,
        *ctx.settings,
        deterministic(),
    )
    return grads, None, None, None, None, None, *[None] * len(ctx.settings)


def _setup_multi_level_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    grad, rois, levels, ctx.scales, _, *ctx.settings, _ = inputs
    ctx.size = grad.shape[2:]
    ctx.save_for_backward(rois, *([] if levels is None else [levels]))


def _backward_multi_level_backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    """Linear in all levels together, as RoIAlign is."""
    rois, *levels = ctx.saved_tensors
    again = _multi_level(
        list(grads), rois, levels[0] if levels else None, ctx.scales, *ctx.size, *ctx.settings
    )
    return again, None, None, None, None, None, *[None] * len(ctx.settings)


_RULE = "int sampling_ratio, bool aligned, float canonical_size, int canonical_level"
_multi_level = define(
    "multi_level_roi_align(Tensor[] features, Tensor rois, Tensor? levels, "
    f"float[] spatial_scales, int rows, int columns, {_RULE}) -> Tensor",
    reference=reference.multi_level_roi_align,
    fake=_fake_multi_level,
    setup=_setup_multi_level,
    backward=_backward_multi_level,
)
_multi_level_backward = define(
    "multi_level_roi_align_backward(Tensor grad, Tensor rois, Tensor? levels, "
    f"float[] spatial_scales, SymInt[] shapes, {_RULE}, bool deterministic) -> Tensor[]",
    reference=reference.multi_level_roi_align_backward,
    fake=_fake_multi_level_backward,
    setup=_setup_multi_level_backward,
    backward=_backward_multi_level_backward,
)
