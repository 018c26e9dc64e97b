"""Losses: each a sum over what counts, divided by `reduce_count` of how much counts.

`reduce_count` gives the mean count per process (the identity in one process). Gradients that are
averaged over processes then equal those of one process that saw all of it. Ratios of sums (dice,
Lovász) are therefore taken per image and class, and averaged.
"""

from perception.models.losses.boxes import generalized_iou_loss, smooth_l1
from perception.models.losses.common import ReduceCount, identity, mean
from perception.models.losses.pixels import (
    PIXEL_LOSSES,
    cross_entropy,
    dice,
    focal,
    lovasz,
    pixel_loss,
    probabilities,
)

__all__ = [
    "PIXEL_LOSSES",
    "ReduceCount",
    "cross_entropy",
    "dice",
    "focal",
    "generalized_iou_loss",
    "identity",
    "lovasz",
    "mean",
    "pixel_loss",
    "probabilities",
    "smooth_l1",
]
