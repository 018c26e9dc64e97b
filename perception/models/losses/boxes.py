"""Losses of boxes against boxes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def smooth_l1(predicted: Tensor, target: Tensor, *, beta: float = 1.0) -> Tensor:
    """(K, D), (K, D) -> (K,) sums over D of 0.5 d²/beta below `beta`, |d| - beta/2 above.

    `beta` 0 is the plain L1. Source: Girshick, Fast R-CNN, ICCV 2015, equation 3.
    """
    return F.smooth_l1_loss(predicted, target, beta=beta, reduction="none").sum(-1)


def generalized_iou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """(K, 4) xyxy, (K, 4) xyxy -> (K,) 1 - GIoU of each pair, in [0, 2].

    Source: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019.
    """
    predicted, target = predicted.float(), target.float()
    inside = _area(
        torch.maximum(predicted[:, :2], target[:, :2]),
        torch.minimum(predicted[:, 2:], target[:, 2:]),
    )
    hull = _area(
        torch.minimum(predicted[:, :2], target[:, :2]),
        torch.maximum(predicted[:, 2:], target[:, 2:]),
    )
    areas = _area(predicted[:, :2], predicted[:, 2:]) + _area(target[:, :2], target[:, 2:])
    union = (areas - inside).clamp_min(1e-7)
    hull = hull.clamp_min(1e-7)
    return 1 - inside / union + (hull - union) / hull


def _area(low: Tensor, high: Tensor) -> Tensor:
    """(K,) areas of boxes given by their corners; 0 where they are empty."""
    width, height = (high - low).clamp_min(0).unbind(-1)
    return width * height
