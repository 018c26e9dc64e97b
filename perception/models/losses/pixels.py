"""Losses of class scores per pixel against a label image.

Logits are (N, K, H, W), targets (N, H, W) with class ids and `ignore_index`. `softmax` masks
compete for each pixel; `sigmoid` masks are K independent yes/no questions (K = 1: is it class 1?).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from perception.labels import IGNORE_INDEX
from perception.models.losses.common import ReduceCount, identity, mean

Masks = Literal["softmax", "sigmoid"]


def pixel_loss(
    name: str,
    logits: Tensor,
    target: Tensor,
    *,
    masks: Masks = "softmax",
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_count: ReduceCount = identity,
) -> Tensor:
    """The loss called `name` in `PIXEL_LOSSES`, a scalar; `weight` is (K,), per class."""
    return PIXEL_LOSSES[name](
        logits.float(),
        target,
        masks=masks,
        weight=weight,
        ignore_index=ignore_index,
        reduce_count=reduce_count,
    )


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    masks: Masks = "softmax",
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_count: ReduceCount = identity,
) -> Tensor:
    """Weighted mean of the cross-entropy over the pixels that are not ignored.

    The weights are divided out: sum of w·CE / sum of w. With sigmoid masks it is the binary
    cross-entropy summed over classes; `weight` then multiplies each class's term.
    """
    return focal(
        logits,
        target,
        gamma=0.0,
        masks=masks,
        weight=weight,
        ignore_index=ignore_index,
        reduce_count=reduce_count,
    )


def focal(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    masks: Masks = "softmax",
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_count: ReduceCount = identity,
) -> Tensor:
    """Cross-entropy times (1 - p of the true answer)^gamma; `gamma` 0 is the cross-entropy.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 4.
    """
    valid = target != ignore_index
    if masks == "softmax":
        index = torch.where(valid, target, 0).long()
        loss = F.cross_entropy(logits, index, reduction="none")
        pixel_weight = valid.float() if weight is None else weight[index] * valid
    else:
        answers = foreground(target, logits.shape[1]).to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, answers, reduction="none")
        pixel_weight = valid[:, None].float().expand_as(logits)
        if weight is not None:
            pixel_weight = pixel_weight * weight.view(1, -1, 1, 1)
    if gamma:
        loss = (1 - torch.exp(-loss)).clamp_min(1e-12) ** gamma * loss
    count = valid.sum() if masks == "sigmoid" else pixel_weight.sum()
    return mean((loss * pixel_weight).sum(), count, reduce_count)


def dice(
    logits: Tensor,
    target: Tensor,
    *,
    masks: Masks = "softmax",
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_count: ReduceCount = identity,
) -> Tensor:
    """1 - soft F1 (dice), averaged over the classes present in each image.

    Source: KittiSeg's `softF1`; Milletari et al., V-Net, 3DV 2016.
    """
    p, truth, present, valid = _per_image(logits, target, masks, ignore_index)
    p = p * valid[:, None]
    overlap = (p * truth).sum(-1)
    loss = 1 - 2 * overlap / (p.sum(-1) + truth.sum(-1)).clamp_min(1e-7)
    return _class_mean(loss, present, weight, reduce_count)


def lovasz(
    logits: Tensor,
    target: Tensor,
    *,
    masks: Masks = "softmax",
    weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_count: ReduceCount = identity,
) -> Tensor:
    """Lovász extension of 1 - IoU, averaged over the classes present in each image.

    Source: Berman et al., The Lovász-Softmax loss, CVPR 2018, algorithm 1 and equation 11.
    """
    p, truth, present, valid = _per_image(logits, target, masks, ignore_index)
    image, label = present.nonzero(as_tuple=True)
    truth = truth[image, label]
    errors = (truth - p[image, label]).abs() * valid[image]
    errors, order = errors.sort(dim=-1, descending=True)  # ignored pixels have error 0: last
    with torch.no_grad():
        truth = truth.gather(-1, order)
        size = truth.sum(-1, keepdim=True)
        found = truth.cumsum(-1)
        union = size - found + torch.arange(1, truth.shape[-1] + 1, device=truth.device)
        jaccard = 1 - (size - found) / union
        steps = torch.cat((jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]), -1)
    loss = torch.zeros_like(present, dtype=errors.dtype)
    loss = loss.index_put((image, label), (errors * steps).sum(-1))
    return _class_mean(loss, present, weight, reduce_count)


PIXEL_LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "lovasz": lovasz,
}


def probabilities(logits: Tensor, masks: Masks) -> Tensor:
    """(N, K, ...) logits -> probabilities of the classes."""
    return logits.softmax(1) if masks == "softmax" else logits.sigmoid()


def foreground(target: Tensor, classes: int) -> Tensor:
    """(N, H, W) class ids -> (N, K, H, W) bool, class by class; one class means class 1."""
    ids = torch.arange(classes, device=target.device) if classes > 1 else target.new_ones(1)
    return target[:, None] == ids.view(1, -1, 1, 1)


def _per_image(
    logits: Tensor, target: Tensor, masks: Masks, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Probability, truth (N, K, pixels), present (N, K) bool, valid (N, pixels) float."""
    p = probabilities(logits, masks).flatten(2)
    truth = foreground(target, logits.shape[1]).flatten(2)
    valid = (target != ignore_index).flatten(1)
    truth = truth & valid[:, None]
    return p, truth.to(p.dtype), truth.any(-1), valid.to(p.dtype)


def _class_mean(
    loss: Tensor, present: Tensor, weight: Tensor | None, reduce_count: ReduceCount
) -> Tensor:
    """Mean of (N, K) losses over the classes present, weighted by class where asked."""
    share = present.to(loss.dtype)
    if weight is not None:
        share = share * weight
    return mean((loss * share).sum(), share.sum(), reduce_count)
