"""What the definitions share: which dtype they compute in, and the check of image indices."""

from __future__ import annotations

import torch
from torch import Tensor


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """float64 computes in float64, everything else in float32; coordinates are always float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def image_indices(rois: Tensor, images: int) -> Tensor:
    """(K,) int64 image index of each row; ValueError for the first that is not 0..images-1."""
    index = rois[:, 0].double()
    wrong = ~((index >= 0) & (index < images) & (index == index.floor()))
    if wrong.any():
        row = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"boxes: row {row} has image index {index[row].item():g}, expected a whole number "
            f"from 0 to {images - 1}"
        )
    return index.long()


def weighted(value: Tensor, weight: Tensor) -> Tensor:
    """`value * weight`, but 0 where the weight is 0, also for infinite and NaN values.

    Finite values stay as they are, so that the gradient to a weight of 0 is right, too.
    """
    return torch.where((weight != 0) | value.isfinite(), value, torch.zeros_like(value)) * weight


def in_format_of(features: Tensor, result: Tensor) -> Tensor:
    """`result` in the memory format of the features: channels-last if they are that alone."""
    last = features.is_contiguous(memory_format=torch.channels_last)
    if last and not features.is_contiguous():
        return result.contiguous(memory_format=torch.channels_last)
    return result.contiguous()
