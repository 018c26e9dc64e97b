"""What the heads with one answer per pixel share: their output, loss terms and class weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from perception.errors import PerceptionError
from perception.models.losses import PIXEL_LOSSES, ReduceCount, identity, pixel_loss
from perception.models.losses.pixels import Masks

Weights = Sequence[float] | Mapping[str, float] | None


class DenseOutput(NamedTuple):
    """Scores of every pixel of the network's input."""

    logits: Tensor  # (N, classes, H, W); one channel: the logit of class 1


def dense_loss(
    logits: Tensor,
    target: Tensor,
    terms: Mapping[str, float],
    *,
    masks: Masks,
    weight: Tensor | None,
    reduce_count: ReduceCount = identity,
    lovasz_step: int = 1,
) -> dict[str, Tensor]:
    """The terms of `terms` (name -> factor), each times its factor.

    `lovasz_step` n computes the Lovász term, which sorts, on every n-th row and column.
    """
    losses = {}
    for name, factor in terms.items():
        pixels = slice(None, None, lovasz_step if name == "lovasz" else 1)
        losses[name] = factor * pixel_loss(
            name,
            logits[:, :, pixels, pixels],
            target[:, pixels, pixels],
            masks=masks,
            weight=weight,
            reduce_count=reduce_count,
        )
    return losses


def checked_terms(terms: Mapping[str, float], setting: str) -> dict[str, float]:
    """Loss factors by name, or a `PerceptionError` for an unknown loss or none at all."""
    if unknown := sorted(set(terms) - set(PIXEL_LOSSES)):
        raise PerceptionError(f"{setting}.losses", unknown[0], f"any of {', '.join(PIXEL_LOSSES)}")
    if not terms:
        raise PerceptionError(
            f"{setting}.losses",
            "none",
            "at least one loss",
            f"Name one or more of {', '.join(PIXEL_LOSSES)}.",
        )
    return {name: float(factor) for name, factor in terms.items()}


def checked_masks(masks: str, setting: str) -> Masks:
    """`softmax` or `sigmoid`, or a `PerceptionError`."""
    if masks == "softmax":
        return "softmax"
    if masks == "sigmoid":
        return "sigmoid"
    raise PerceptionError(
        f"{setting}.masks", str(masks), "softmax or sigmoid", "Choose one of them."
    )


def class_weights(weights: Weights, classes: Sequence[str], setting: str) -> Tensor | None:
    """(K,) weights from a list in class order, or from a table by name (1 for all others)."""
    if weights is None:
        return None
    if isinstance(weights, Mapping):
        if unknown := sorted(set(weights) - set(classes)):
            raise PerceptionError(
                f"{setting}.class_weights", str(unknown[0]), f"any of {', '.join(classes)}"
            )
        return torch.tensor([float(weights.get(name, 1.0)) for name in classes])
    if len(weights) != len(classes):
        raise PerceptionError(
            f"{setting}.class_weights",
            f"{len(weights)} weights",
            f"{len(classes)}, one for each of {', '.join(classes)}",
            "Give one weight per class.",
        )
    return torch.tensor([float(value) for value in weights])
