"""Pooling with quantised bins (RoIPool) and from a channel per bin (position-sensitive, R-FCN)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from perception.ops import reference
from perception.ops._arguments import (
    as_pair,
    as_rois,
    check_features,
    check_map,
    check_sampling,
    check_scale,
)
from perception.ops._registration import call, call_pair, define, deterministic


def roi_pool(
    input: Tensor,  # noqa: A002  (torchvision's name)
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Maximum of the cells of every bin; box corners are rounded to whole cells, ends included.

    Args:
        input: (N, C, H, W), floating.
        boxes: (K, 5), rows (image index, x1, y1, x2, y2), or a list of (L_i, 4), one per image;
            in input-image pixels.
        output_size: bins per box, an int or (height, width), at least 1.
        spatial_scale: map cells per image pixel.

    Returns:
        (K, C, height, width) in dtype and memory format of `input`. A bin outside the map is 0, so
        is a box that is not finite; a bin with a NaN is NaN.

    Gradient: to `input`, all of a bin's to its first maximum in reading order.

    Raises:
        TypeError: `input` is not floating and dense.
        ValueError: a shape or setting is wrong, or an image index is out of range.

    Source: Girshick, Fast R-CNN, ICCV 2015, section 2.1.
    """
    size, rois = _checked(input, boxes, output_size, spatial_scale)
    return call_pair(_roi_pool, input, rois, float(spatial_scale), *size)[0]


def ps_roi_align(
    input: Tensor,  # noqa: A002  (torchvision's name)
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
) -> Tensor:
    """RoIAlign whose bin (i, j) of channel d reads input channel (d * rows + i) * columns + j.

    Args:
        input: (N, D * height * width, H, W), floating.
        boxes: (K, 5), rows (image index, x1, y1, x2, y2), or a list of (L_i, 4), one per image;
            in input-image pixels. Always shifted by half a pixel, never widened.
        output_size: bins per box, an int or (height, width), at least 1.
        spatial_scale: map cells per image pixel.
        sampling_ratio: samples per bin and axis, at most 65535; 0 or less: one per map cell.

    Returns:
        (K, D, height, width) in dtype and memory format of `input`; 0 for a box without samples.

    Gradient: to `input`, of any order; none to `boxes`.

    Raises:
        TypeError: `input` is not floating and dense.
        ValueError: a shape or setting is wrong, or an image index is out of range.

    Source: Dai et al., R-FCN, NeurIPS 2016, section 2; with the lookup of Mask R-CNN.
    """
    check_sampling(sampling_ratio)
    size, rois = _checked(input, boxes, output_size, spatial_scale)
    _check_channels(input, size)
    return call(_ps_roi_align, input, rois, float(spatial_scale), *size, sampling_ratio)


def ps_roi_pool(
    input: Tensor,  # noqa: A002  (torchvision's name)
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """Mean of the cells of every bin, bin (i, j) from input channel (d * rows + i) * columns + j.

    Box corners are rounded to whole cells, the end excluded. As in torchvision the last row and
    column of the map are never read.

    Args:
        input: (N, D * height * width, H, W), floating.
        boxes: (K, 5), rows (image index, x1, y1, x2, y2), or a list of (L_i, 4), one per image;
            in input-image pixels.
        output_size: bins per box, an int or (height, width), at least 1.
        spatial_scale: map cells per image pixel.

    Returns:
        (K, D, height, width) in dtype and memory format of `input`; 0 for an empty bin.

    Gradient: to `input`, exactly that of this forward (torchvision's differs at the border).

    Raises:
        TypeError: `input` is not floating and dense.
        ValueError: a shape or setting is wrong, or an image index is out of range.

    Source: Dai et al., R-FCN, NeurIPS 2016, equation 1.
    """
    size, rois = _checked(input, boxes, output_size, spatial_scale)
    _check_channels(input, size)
    return call(_ps_roi_pool, input, rois, float(spatial_scale), *size)


def _checked(
    features: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: float,
) -> tuple[tuple[int, int], Tensor]:
    """(height, width) of the output and (K, 5) boxes."""
    check_features("input", features)
    check_scale("spatial_scale", spatial_scale)
    size = as_pair("output_size", output_size)
    if min(size) < 1:
        raise ValueError(f"output_size must be at least 1, got {size}")
    rois = as_rois(features, boxes)
    check_map("input", features, rois)
    return size, rois


def _check_channels(features: Tensor, size: tuple[int, int]) -> None:
    bins = size[0] * size[1]
    if features.shape[1] % bins:
        raise ValueError(f"input has {features.shape[1]} channels, expected a multiple of {bins}")


# ---------------------------------------------------------------------------- roi_pool


def _empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return torch.empty(
        shape,
        dtype=dtype or like.dtype,
        device=like.device,
        memory_format=reference.layout_of(like),
    )


def _fake_roi_pool(
    features: Tensor, rois: Tensor, scale: float, rows: int, columns: int
) -> tuple[Tensor, Tensor]:
    shape = (rois.shape[0], features.shape[1], rows, columns)
    return _empty(shape, features), _empty(shape, features, torch.int32)


def _fake_roi_pool_backward(
    grad: Tensor,
    argmax: Tensor,
    rois: Tensor,
    scale: float,
    shape: Sequence[int],
    deterministic: bool,
) -> Tensor:
    return torch.empty(
        shape, dtype=grad.dtype, device=grad.device, memory_format=reference.layout_of(argmax)
    )


def _setup_roi_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.shape, ctx.scale = inputs[0].shape, inputs[2]
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], inputs[1])


def _backward_roi_pool(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Any, ...]:
    result = _roi_pool_backward(grad, *ctx.saved_tensors, ctx.scale, ctx.shape, deterministic())
    return result, None, None, None, None


def _setup_roi_pool_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1], inputs[2])


def _backward_roi_pool_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """Every bin takes the second gradient from the cell that was its maximum."""
    argmax, rois = ctx.saved_tensors
    pixels = grad.flatten(2)[rois[:, 0].long()]
    found = argmax.long().flatten(2)
    again = pixels.gather(2, found.clamp(min=0)) * (found >= 0)
    return again.view(argmax.shape), None, None, None, None, None


_roi_pool = define(
    "roi_pool(Tensor features, Tensor rois, float spatial_scale, int rows, int columns) "
    "-> (Tensor, Tensor)",
    reference=reference.roi_pool,
    fake=_fake_roi_pool,
    setup=_setup_roi_pool,
    backward=_backward_roi_pool,
)
_roi_pool_backward = define(
    "roi_pool_backward(Tensor grad, Tensor argmax, Tensor rois, float spatial_scale, "
    "SymInt[] shape, bool deterministic) -> Tensor",
    reference=reference.roi_pool_backward,
    fake=_fake_roi_pool_backward,
    setup=_setup_roi_pool_backward,
    backward=_backward_roi_pool_backward,
)


# ---------------------------------------------------------------------------- position-sensitive


def _fake_read(
    features: Tensor, rois: Tensor, scale: float, rows: int, columns: int, *sampling: int
) -> Tensor:
    outputs = features.shape[1] // (rows * columns)
    return _empty((rois.shape[0], outputs, rows, columns), features)


def _fake_add_back(
    grad: Tensor, rois: Tensor, scale: float, shape: Sequence[int], *settings: int
) -> Tensor:
    return _empty(shape, grad)


def _setup_read(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, ctx.scale, _, _, *ctx.sampling = inputs
    ctx.shape = features.shape
    ctx.save_for_backward(rois)


def _setup_add_back(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, rois, ctx.scale, _, *ctx.sampling, _ = inputs
    ctx.size = grad.shape[2:]
    ctx.save_for_backward(rois)


def _linear_pair(name: str, sampling: str, read: Any, add_back: Any) -> tuple[Any, Any]:
    """Defines a linear op and its gradient; each is the other's gradient."""

    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (rois,) = ctx.saved_tensors
        result = add_back_op(grad, rois, ctx.scale, ctx.shape, *ctx.sampling, deterministic())
        return result, None, None, None, None, *[None] * len(ctx.sampling)

    def again(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (rois,) = ctx.saved_tensors
        result = read_op(grad, rois, ctx.scale, *ctx.size, *ctx.sampling)
        return result, None, None, None, None, *[None] * len(ctx.sampling)

    read_op = define(
        f"{name}(Tensor features, Tensor rois, float spatial_scale, int rows, int columns"
        f"{sampling}) -> Tensor",
        reference=read,
        fake=_fake_read,
        setup=_setup_read,
        backward=backward,
    )
    add_back_op = define(
        f"{name}_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt[] shape"
        f"{sampling}, bool deterministic) -> Tensor",
        reference=add_back,
        fake=_fake_add_back,
        setup=_setup_add_back,
        backward=again,
    )
    return read_op, add_back_op


_ps_roi_align, _ = _linear_pair(
    "ps_roi_align", ", int sampling_ratio", reference.ps_roi_align, reference.ps_roi_align_backward
)
_ps_roi_pool, _ = _linear_pair(
    "ps_roi_pool", "", reference.ps_roi_pool, reference.ps_roi_pool_backward
)
