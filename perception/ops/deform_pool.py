"""Deformable region-of-interest pooling, plain and position-sensitive."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from perception.ops import reference
from perception.ops._arguments import (
    as_pair,
    as_rois,
    check_device,
    check_features,
    check_sampling,
    check_scale,
)
from perception.ops._registration import call, define, deterministic, twice_differentiable

_MAX_SAMPLES = 1024  # per part and axis


def deform_roi_pool(
    input: Tensor,  # noqa: A002 (MMCV's name)
    boxes: Tensor | Sequence[Tensor],
    offset: Tensor | None,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    gamma: float = 0.1,
) -> Tensor:
    """`roi_align(aligned=True)` whose bin (i, j) is shifted by gamma * box size * offset.

    Args:
        input: (N, C, H, W), floating.
        boxes: (K, 5), rows (image index, x1, y1, x2, y2), or a list of (L, 4), one per image.
        offset: (K, 2, rows, columns): x in channel 0, y in channel 1, in units of gamma times the
            box's width or height; None: no shift.
        output_size: bins per box, int or (rows, columns).
        spatial_scale: map cells per unit of the boxes.
        sampling_ratio: samples per bin and axis, at most 65535; 0: as many as cells in the bin.
        gamma: factor of the offsets.

    Returns:
        (K, C, rows, columns), dtype and memory format of `input`. A box that is not finite gives 0.

    Gradient: to input and offset; second gradients come from the definition.

    Raises:
        TypeError: `input` or `offset` is not floating and dense.
        ValueError: a shape or number is wrong, or an image index is out of range.

    Source: Dai et al., ICCV 2017, section 2.2, as MMCV's `DeformRoIPool`.
    """
    check_features("input", input)
    check_scale("spatial_scale", spatial_scale)
    check_sampling(sampling_ratio)
    if not abs(gamma) < math.inf:
        raise ValueError(f"gamma must be finite, got {gamma}")
    rows, columns = as_pair("output_size", output_size)
    rois = as_rois(input, boxes)
    _check_map(input, rois)
    if offset is not None:
        check_features("offset", offset)
        check_device("offset", offset, input)
        if tuple(offset.shape) != (rois.shape[0], 2, rows, columns):
            raise ValueError(
                f"offset must have shape {(rois.shape[0], 2, rows, columns)}, "
                f"got {tuple(offset.shape)}"
            )
    return call(
        _deform_roi_pool,
        input,
        rois.detach(),
        offset,
        rows,
        columns,
        float(spatial_scale),
        max(sampling_ratio, 0),
        float(gamma),
    )


def deform_ps_roi_pool(
    input: Tensor,  # noqa: A002
    boxes: Tensor | Sequence[Tensor],
    offset: Tensor | None,
    output_size: int,
    spatial_scale: float = 1.0,
    *,
    output_dim: int,
    group_size: int | None = None,
    part_size: int | None = None,
    sample_per_part: int = 4,
    trans_std: float = 0.1,
) -> Tensor:
    """Position-sensitive pooling whose bins are shifted by learned offsets, per class.

    Bin (i, j) of output channel d reads input channel (d * G + gi) * G + gj, gi = floor(i * G / P).
    Coordinates are rounded before scaling; samples sit at the corners of the sub-bins; those more
    than half a cell outside the map are not counted.

    Args:
        input: (N, output_dim * group_size ** 2, H, W), floating.
        boxes: (K, 5), rows (image index, x1, y1, x2, y2), or a list of (L, 4), one per image.
        offset: (K, 2 * classes, part_size, part_size), channel 2 * class is x, the next one y, in
            units of trans_std times the box's size; `classes` divides `output_dim`. None: no shift.
        output_size: P, bins per side.
        spatial_scale: map cells per unit of the boxes.
        output_dim: output channels.
        group_size: G; default `output_size`.
        part_size: parts per side that have offsets; default `output_size`.
        sample_per_part: samples per bin and axis.
        trans_std: factor of the offsets.

    Returns:
        (K, output_dim, P, P), dtype and memory format of `input`; 0 where no sample counts, and
        for a box that is not finite.

    Gradient: to input and offset (second gradients come from the definition); the number of
    samples that count has none.

    Raises:
        TypeError: `input` or `offset` is not floating and dense.
        ValueError: a shape or number is wrong, or an image index is out of range.

    Source: Dai et al., Deformable ConvNets, ICCV 2017, the authors' R-FCN operator.
    """
    check_features("input", input)
    check_scale("spatial_scale", spatial_scale)
    size = as_pair("output_size", output_size)[0]
    group = size if group_size is None else group_size
    part = size if part_size is None else part_size
    for name, value in (
        ("output_size", size),
        ("output_dim", output_dim),
        ("group_size", group),
        ("part_size", part),
        ("sample_per_part", sample_per_part),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if sample_per_part > _MAX_SAMPLES or not abs(trans_std) < math.inf:
        raise ValueError(
            f"sample_per_part must be at most {_MAX_SAMPLES} and trans_std finite, "
            f"got {sample_per_part} and {trans_std}"
        )
    if input.shape[1] != output_dim * group * group:
        raise ValueError(
            f"input must have output_dim * group_size ** 2 = {output_dim * group * group} "
            f"channels, got {input.shape[1]}"
        )
    rois = as_rois(input, boxes)
    _check_map(input, rois)
    _check_part_offsets(offset, rois, output_dim, part)
    return call(
        _deform_ps_roi_pool,
        input,
        rois.detach(),
        offset,
        size,
        float(spatial_scale),
        output_dim,
        group,
        part,
        sample_per_part,
        float(trans_std),
    )


def _check_map(features: Tensor, rois: Tensor) -> None:
    empty = not (features.shape[0] and features.shape[2] and features.shape[3])
    if empty and rois.shape[0]:  # in this order: a traced graph does not know how many boxes
        raise ValueError(f"input has no pixels for {rois.shape[0]} boxes: {tuple(features.shape)}")


def _check_part_offsets(offset: Tensor | None, rois: Tensor, output_dim: int, part: int) -> None:
    if offset is None:
        return
    check_features("offset", offset)
    check_device("offset", offset, rois)
    classes = offset.shape[1] // 2
    if tuple(offset.shape) != (rois.shape[0], 2 * classes, part, part) or (
        classes < 1 or output_dim % classes
    ):
        raise ValueError(
            f"offset must have shape ({rois.shape[0]}, 2 * classes, {part}, {part}) with classes "
            f"dividing {output_dim}, got {tuple(offset.shape)}"
        )


def _like(features: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Empty, with the memory format of `features`."""
    last = features.is_contiguous(memory_format=torch.channels_last)
    made = features.new_empty(shape)
    if last and not features.is_contiguous():
        return made.to(memory_format=torch.channels_last)
    return made


def _fake_plain(
    features: Tensor, rois: Tensor, offset: Tensor | None, rows: int, columns: int, *_: object
) -> Tensor:
    return _like(features, (rois.shape[0], features.shape[1], rows, columns))


def _fake_sensitive(
    features: Tensor,
    rois: Tensor,
    offset: Tensor | None,
    size: int,
    scale: float,
    dim: int,
    *_: object,
) -> Tensor:
    return _like(features, (rois.shape[0], dim, size, size))


def _fake_backward(
    grad: Tensor, features: Tensor, rois: Tensor, offset: Tensor | None, *_: object
) -> tuple[Tensor, Tensor]:
    grad_offset = features.new_empty(0) if offset is None else offset.new_empty(offset.shape)
    return _like(features, tuple(features.shape)), grad_offset


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, offset, *ctx.settings = inputs
    ctx.save_for_backward(features, rois, offset)


def _gradient(backward: Any) -> Callable[..., tuple[Any, ...]]:
    def run(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        features, rois, offset = ctx.saved_tensors
        to_features, to_offset = backward(
            grad, features, rois, offset, *ctx.settings, deterministic()
        )
        rest = (None,) * len(ctx.settings)
        return (to_features, None, to_offset if offset is not None else None, *rest)

    return run


_PLAIN = "int pooled_height, int pooled_width, float spatial_scale, int sampling_ratio, float gamma"
_SENSITIVE = (
    "int pooled_size, float spatial_scale, int output_dim, int group_size, int part_size,"
    " int sample_per_part, float trans_std"
)


def _define(name: str, settings: str, fake: Callable[..., Tensor]) -> Any:
    """One pooling and the op of its gradient."""
    inputs = "Tensor input, Tensor rois, Tensor? offset"
    definition, count = getattr(reference, name), 4 + settings.count(",")
    backward = define(
        f"{name}_backward(Tensor grad, {inputs}, {settings}, bool deterministic)"
        " -> (Tensor, Tensor)",
        fake=_fake_backward,
        **twice_differentiable(
            getattr(reference, f"{name}_backward"),
            by=lambda *given: definition(*given[:count]),
            places=(0, 2),
        ),
    )
    return define(
        f"{name}({inputs}, {settings}) -> Tensor",
        reference=getattr(reference, name),
        fake=fake,
        setup=_setup,
        backward=_gradient(backward),
    )


_deform_roi_pool = _define("deform_roi_pool", _PLAIN, _fake_plain)
_deform_ps_roi_pool = _define("deform_ps_roi_pool", _SENSITIVE, _fake_sensitive)
