"""Pooling of boxes from feature maps: RoIAlign."""

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
    check_sampling,
    check_scale,
)
from perception.ops._registration import call, define


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


def check_map(name: str, features: Tensor, rois: Tensor) -> None:
    """A map that boxes are read from has pixels; ValueError if not."""
    empty = features.shape[0] == 0 or features.shape[2] == 0 or features.shape[3] == 0
    if empty and rois.shape[0]:
        raise ValueError(f"{name} has no pixels to read boxes from: {tuple(features.shape)}")


# ---------------------------------------------------------------------------- registration


def _fake_roi_align(
    features: Tensor, rois: Tensor, scale: float, rows: int, columns: int, sampling_ratio: int,
    aligned: bool,
) -> Tensor:  # fmt: skip
    shape = (rois.shape[0], features.shape[1], rows, columns)
    return torch.empty(
        shape, dtype=features.dtype, device=features.device,
        memory_format=reference.layout_of(features),
    )  # fmt: skip


def _fake_roi_align_backward(
    grad: Tensor, rois: Tensor, scale: float, shape: Sequence[int], sampling_ratio: int,
    aligned: bool,
) -> Tensor:  # fmt: skip
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
        grad, rois, ctx.scale, ctx.shape, ctx.sampling_ratio, ctx.aligned
    )
    return grad_features, None, None, None, None, None, None


def _setup_roi_align_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, rois, ctx.scale, _, ctx.sampling_ratio, ctx.aligned = inputs
    ctx.size = grad.shape[2:]
    ctx.save_for_backward(rois)


def _backward_roi_align_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """RoIAlign is linear, so the gradient of its gradient is RoIAlign itself."""
    (rois,) = ctx.saved_tensors
    rows, columns = ctx.size
    again = _roi_align(grad, rois, ctx.scale, rows, columns, ctx.sampling_ratio, ctx.aligned)
    return again, None, None, None, None, None


_roi_align = define(
    "roi_align(Tensor features, Tensor rois, float spatial_scale, int rows, int columns, "
    "int sampling_ratio, bool aligned) -> Tensor",
    reference=reference.roi_align, fake=_fake_roi_align,
    setup=_setup_roi_align, backward=_backward_roi_align,
)  # fmt: skip
_roi_align_backward = define(
    "roi_align_backward(Tensor grad, Tensor rois, float spatial_scale, SymInt[] shape, "
    "int sampling_ratio, bool aligned) -> Tensor",
    reference=reference.roi_align_backward, fake=_fake_roi_align_backward,
    setup=_setup_roi_align_backward, backward=_backward_roi_align_backward,
)  # fmt: skip
