"""Which points answer for which box: those that say it best (task-aligned assignment).

A point's claim on a box is score * overlap^6: it must lie in the box and the best few win. Source:
Feng et al., TOOD, ICCV 2021, section 3.2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from perception.ops import box_iou

SCORE_POWER, OVERLAP_POWER = 0.5, 6.0
NEAR = 1.0  # points this many strides from the middle of a box count as inside: no box is without


class Aligned(NamedTuple):
    """What the M points of one image are to answer."""

    box: Tensor  # (M,) index of the point's box; 0 where not positive
    positive: Tensor  # (M,) bool
    ignore: Tensor  # (M,) bool: neither right nor wrong
    quality: Tensor  # (M,) the score that a positive shall have, 0..1; 0 elsewhere


@torch.no_grad()
def assign_aligned(
    xyxy: Tensor,
    scores: Tensor,
    points: Tensor,
    strides: Tensor,
    boxes: Tensor,
    label: Tensor,
    ignored: Tensor,
    *,
    candidates: int = 10,
) -> Aligned:
    """Assigns (M,) points to (G,) boxes of one image.

    Args:
        xyxy, scores: (M, 4) what the points say, (M, K) score of every class.
        points, strides: (M, 2) x, y and (M,) of the points, in pixels.
        boxes, label, ignored: (G, 4), (G,) class, (G,) regions that are neither right nor wrong.
        candidates: points that a box has at most.

    Returns:
        a point of two boxes is that of the larger overlap; points in an ignored region that have
        no box are ignored.
    """
    none = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    box = torch.zeros(len(points), dtype=torch.long, device=points.device)
    quality = xyxy.new_zeros(len(points))
    in_region = _inside(points, boxes[ignored]).any(1) if ignored.any() else none
    true = (~ignored).nonzero()[:, 0]
    if not len(true):
        return Aligned(box, none, in_region, quality)
    overlap = box_iou(xyxy.float(), boxes[true].float()).clamp(0, 1)  # (M, G)
    claim = scores[:, label[true]].float().pow(SCORE_POWER) * overlap.pow(OVERLAP_POWER)
    possible = _inside(points, boxes[true]) | _near(points, strides, boxes[true])
    claim = torch.where(possible, claim + 1e-9, claim.new_zeros(()))
    best = claim.topk(min(candidates, len(points)), 0).indices
    chosen = torch.zeros_like(possible).scatter_(0, best, True) & possible
    mine = torch.where(chosen, overlap, overlap.new_full((), -1.0)).max(1)
    positive = mine.values >= 0
    own = torch.zeros_like(chosen).scatter_(1, mine.indices[:, None], True) & positive[:, None]
    claim, overlap = claim * own, overlap * own
    strongest = claim.max(0, keepdim=True).values.clamp_min(1e-12)
    quality = (claim / strongest * overlap.max(0, keepdim=True).values).sum(1)
    box = torch.where(positive, true[mine.indices], box)
    return Aligned(box, positive, in_region & ~positive, quality)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """(M, G) whether each point lies in each box."""
    apart = torch.cat(
        [points[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - points[:, None]], 2
    )
    return (apart > 0).all(2)


def _near(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """(M, G) whether each point is near the middle of each box, on the finest level."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    far = (points[:, None] - middle[None]).abs().max(2).values
    fine = strides == strides.min()
    return (far <= NEAR * strides[:, None]) & fine[:, None]
