"""Crops by bilinear lookup: the rezoom layer of MultiNet's FastBox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from perception.ops import reference
from perception.ops._arguments import as_rois, check_features, check_map, check_scale
from perception.ops._registration import call, define, deterministic, twice_differentiable

QUARTERS = (-0.25, 0.0, 0.25)


def rezoom(
    features: Tensor,
    boxes: Tensor,
    w_offsets: Sequence[float] = QUARTERS,
    h_offsets: Sequence[float] = QUARTERS,
    spatial_scale: float = 0.125,
) -> Tensor:
    """Samples a fine feature map on a grid of points relative to each box, clamped to the map.

    Point (wo, ho) of a box lies at ((cx + wo * w) * scale, (cy + ho * h) * scale) on the map, whose
    cell i is centred at coordinate i (no half-pixel shift).

    Args:
        features: (N, C, H, W), floating.
        boxes: (K, 5), rows (image index, cx, cy, w, h) in image pixels.
        w_offsets: x positions in box widths from the centre.
        h_offsets: y positions in box heights from the centre.
        spatial_scale: map cells per image pixel.

    Returns:
        (K, len(w_offsets) * len(h_offsets) * C): all channels of a point together, points of one
        w offset together. A point with a NaN coordinate is 0.

    Gradient: to `features` and to the centre and size of `boxes`; 0 where the clamp acts, the
    right-sided derivative at whole coordinates. Second gradients come from the definition.

    Raises:
        TypeError: `features` is not floating and dense.
        ValueError: a shape or the scale is wrong, or an image index is out of range.

    Source: Teichmann et al., MultiNet, 2018, section III-C; Stewart et al., TensorBox.
    """
    check_features("features", features)
    check_scale("spatial_scale", spatial_scale)
    rois = as_rois(features, boxes)
    check_map("features", features, rois)
    return call(
        _rezoom,
        features,
        rois,
        [float(o) for o in w_offsets],
        [float(o) for o in h_offsets],
        float(spatial_scale),
    )


def _fake(
    features: Tensor, rois: Tensor, w_offsets: list[float], h_offsets: list[float], scale: float
) -> Tensor:
    points = len(w_offsets) * len(h_offsets)
    return features.new_empty((rois.shape[0], points * features.shape[1]))


def _fake_backward(
    grad: Tensor,
    features: Tensor,
    rois: Tensor,
    w_offsets: list[float],
    h_offsets: list[float],
    scale: float,
    deterministic: bool,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(features), torch.empty_like(rois)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, *ctx.settings = inputs
    ctx.save_for_backward(features, rois)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    features, rois = ctx.saved_tensors
    grad_features, grad_rois = _rezoom_backward(
        grad, features, rois, *ctx.settings, deterministic()
    )
    return grad_features, grad_rois, None, None, None


_SETTINGS = "float[] w_offsets, float[] h_offsets, float spatial_scale"
_rezoom = define(
    f"rezoom(Tensor features, Tensor rois, {_SETTINGS}) -> Tensor",
    reference=reference.rezoom,
    fake=_fake,
    setup=_setup,
    backward=_backward,
)
_rezoom_backward = define(
    f"rezoom_backward(Tensor grad, Tensor features, Tensor rois, {_SETTINGS}, "
    "bool deterministic) -> (Tensor, Tensor)",
    fake=_fake_backward,
    **twice_differentiable(
        reference.rezoom_backward, by=lambda *given: reference.rezoom(*given[:-1]), places=(0, 1)
    ),
)
