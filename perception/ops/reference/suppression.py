"""Suppression of overlapping boxes: the definitions. Compiled versions are held to these.

Candidates are ranked by score, equal scores by lower index. A box with a coordinate that is not
finite, or with score NaN, is never returned and suppresses nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perception.ops.reference.boxes import box_iou
from perception.ops.reference.rotated import box_iou_rotated

HARD, LINEAR, GAUSSIAN = range(3)
ID, AVG, MAX, IOU_AVG, GENERALIZED_AVG, QUASI_SUM = range(6)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """(n,) int64 rows of the boxes that greedy suppression keeps, best first.

    A kept box removes all later ones whose IoU with it is above the threshold. The IoU is
    computed in the dtype of the boxes, in the order of operations of torchvision's kernel.
    """
    rows = _ranked(boxes, scores)
    chosen = boxes[rows]

    def removed(i: int) -> Tensor:
        return _kernel_iou(chosen[i], chosen[i + 1 :]) > iou_threshold

    return rows[_greedy(len(rows), removed, boxes.device)]


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`nms` of every group of equal `idxs` by itself; the survivors together, best first."""
    kept = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for group in idxs.unique():
        rows = (idxs == group).nonzero()[:, 0]
        kept[rows[nms(boxes[rows], scores[rows], iou_threshold)]] = True
    rows = _ranked(boxes, scores)
    return rows[kept[rows]]


def nms_padded(
    boxes: Tensor, scores: Tensor, idxs: Tensor | None, iou_threshold: float, max_output: int
) -> tuple[Tensor, Tensor]:
    """The first `max_output` rows of `nms` or `batched_nms`, then -1; and their number."""
    if idxs is None:
        kept = nms(boxes, scores, iou_threshold)
    else:
        kept = batched_nms(boxes, scores, idxs, iou_threshold)
    kept = kept[:max_output]
    padded = kept.new_full((max_output,), -1)
    padded[: len(kept)] = kept
    return padded, kept.new_tensor(len(kept))


def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """`nms` of boxes (cx, cy, w, h, angle in degrees), overlaps in float64."""
    rows = _ranked(boxes, scores)
    chosen = boxes[rows].double()

    def removed(i: int) -> Tensor:
        return box_iou_rotated(chosen[i : i + 1], chosen[i + 1 :])[0] > iou_threshold

    return rows[_greedy(len(rows), removed, boxes.device)]


def soft_nms(
    boxes: Tensor, scores: Tensor, method: int, iou_threshold: float, sigma: float, min_score: float
) -> tuple[Tensor, Tensor]:
    """Repeatedly emit the best box and lower the scores of those that overlap it.

    `method` is one of HARD, LINEAR, GAUSSIAN. (n,) int64 rows and their (n,) final scores, float64
    inside (Bodla et al., ICCV 2017).
    """
    rows = _ranked(boxes, scores).sort().values
    current = scores[rows].double()
    order, emitted = [], []
    while len(rows):
        best = int(current.argmax())
        if current[best] < min_score:
            break
        order.append(rows[best])
        emitted.append(current[best])
        overlap = box_iou(boxes[rows[best]][None].double(), boxes[rows].double())[0]
        current = current * _decay(overlap, method, iou_threshold, sigma)
        left = current >= min_score
        left[best] = False
        if method == HARD:
            left &= overlap < iou_threshold
        rows, current = rows[left], current[left]
    if not order:
        return rows.new_empty(0), scores.new_empty(0)
    return torch.stack(order), torch.stack(emitted).to(scores.dtype)


def box_voting(
    boxes: Tensor,
    scores: Tensor,
    all_boxes: Tensor,
    all_scores: Tensor,
    iou_threshold: float,
    scoring: int,
    beta: float,
) -> tuple[Tensor, Tensor]:
    """Replace every box by the score-weighted mean of all boxes that overlap it.

    (n, 4) boxes and (n,) scores (Gidaris and Komodakis, ICCV 2015, section 4).
    """
    overlap = box_iou(boxes.double(), all_boxes.double())
    voter = _usable(all_boxes, all_scores) & all_scores.isfinite()
    votes = (overlap >= iou_threshold) & voter
    weight = torch.where(votes, all_scores.double(), 0.0)
    corners = torch.where(voter[:, None], all_boxes.double(), 0.0)
    total = weight.sum(1)
    mean = (weight @ corners) / torch.where(total == 0, 1.0, total)[:, None]
    voted = torch.where((total == 0)[:, None], boxes.double(), mean)
    return voted.to(boxes.dtype), _vote_scores(
        scores.double(), weight, torch.where(votes, overlap, 0.0), votes, scoring, beta
    ).to(scores.dtype)


def _vote_scores(
    scores: Tensor, weight: Tensor, overlap: Tensor, votes: Tensor, scoring: int, beta: float
) -> Tensor:
    """(n,) new scores; a box for which nobody votes keeps its own."""
    count = votes.sum(1).double()
    alone, safe = count == 0, count.clamp(min=1)
    if scoring == ID:
        return scores
    if scoring == AVG:
        new = weight.sum(1) / safe
    elif scoring == MAX:
        new = torch.where(votes, weight, -torch.inf).amax(1) if votes.shape[1] else scores
    elif scoring == IOU_AVG:
        total = overlap.sum(1)
        alone = alone | (total == 0)
        new = (weight * overlap).sum(1) / torch.where(alone, 1.0, total)
    elif scoring == GENERALIZED_AVG:
        new = (torch.where(votes, weight**beta, 0.0).sum(1) / safe) ** (1 / beta)
    else:
        new = weight.sum(1) / safe**beta
    return torch.where(alone, scores, new)


def _decay(overlap: Tensor, method: int, iou_threshold: float, sigma: float) -> Tensor:
    if method == GAUSSIAN:
        return torch.exp(-overlap * overlap / sigma)
    if method == LINEAR:
        return torch.where(overlap >= iou_threshold, 1 - overlap, 1.0)
    return torch.ones_like(overlap)


def _ranked(boxes: Tensor, scores: Tensor) -> Tensor:
    """Rows of the usable boxes, best score first, equal scores in order."""
    order = scores.argsort(descending=True, stable=True)
    return order[_usable(boxes, scores)[order]]


def _usable(boxes: Tensor, scores: Tensor) -> Tensor:
    """(N,) bool: all coordinates finite, score not NaN."""
    return boxes.isfinite().all(1) & ~scores.isnan()


def _greedy(count: int, removed: object, device: torch.device) -> Tensor:
    """Positions that survive; `removed(i)` marks which of the later ones box i removes."""
    alive = torch.ones(count, dtype=torch.bool, device=device)
    for i in range(count):
        if alive[i]:
            alive[i + 1 :] &= ~removed(i)  # type: ignore[operator]
    return alive.nonzero()[:, 0]


def _kernel_iou(box: Tensor, others: Tensor) -> Tensor:
    """(M,) IoU in the operations and order of torchvision's kernel; float64 where it overflows."""
    union, iou = _overlap(box, others)
    if union.isfinite().all():
        return iou.double()
    return torch.where(union.isfinite(), iou, _overlap(box.double(), others.double())[1])


def _overlap(box: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    width = (torch.minimum(box[2], others[:, 2]) - torch.maximum(box[0], others[:, 0])).clamp(0)
    height = (torch.minimum(box[3], others[:, 3]) - torch.maximum(box[1], others[:, 1])).clamp(0)
    intersection = width * height
    union = area + areas - intersection
    return union, intersection / union
