"""Choosing among overlapping boxes: greedy, by class, soft, rotated; and voting."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from perception.ops import reference
from perception.ops._registration import call, call_pair, define

SOFT_METHODS = ("hard", "linear", "gaussian")
VOTE_SCORINGS = ("id", "avg", "max", "iou_avg", "generalized_avg", "quasi_sum")


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, *, max_output: int | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """Greedy suppression: keeps a box unless a kept one with a higher score overlaps it too much.

    Args:
        boxes: (N, 4), rows (x1, y1, x2, y2).
        scores: (N,); on ties the lower index comes first.
        iou_threshold: 0 to 1; a box with IoU above it is dropped.
        max_output: size of a padded result, whose size does not depend on the values.

    Returns:
        (n,) int64 indices of the kept boxes, highest score first. Boxes with a coordinate that is
        not finite and boxes with a NaN score are never returned and suppress nothing.
        With `max_output`: (max_output,) int64 indices of the first ones, padded with -1, and their
        number as an int64 scalar. On a GPU this form never waits for the device.

    No gradient.

    Raises:
        ValueError: a shape is wrong, or the threshold lies outside [0, 1].

    Source: torchvision's `nms`, with its float32 decisions; ties and NaN defined here.
    """
    boxes, scores = _candidates(boxes, scores, iou_threshold)
    if max_output is None:
        return call(_nms, boxes, scores, float(iou_threshold))
    return call_pair(_nms_padded, boxes, scores, None, float(iou_threshold), _size(max_output))


def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor,
    iou_threshold: float,
    *,
    max_output: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """`nms` within every group of equal `idxs` (class or image), the survivors by score.

    Exactly what running each group alone gives: the groups are compared, never shifted apart.

    Args:
        boxes: (N, 4), rows (x1, y1, x2, y2).
        scores: (N,).
        idxs: (N,) any int64 values; equal ones form a group.
        iou_threshold: 0 to 1.
        max_output: as in `nms`.

    Returns:
        As `nms`.

    Raises:
        ValueError: a shape is wrong, or the threshold lies outside [0, 1].
    """
    boxes, scores = _candidates(boxes, scores, iou_threshold)
    if idxs.shape != scores.shape:
        raise ValueError(f"idxs must have shape {tuple(scores.shape)}, got {tuple(idxs.shape)}")
    _together(boxes, "boxes", idxs, "idxs")
    if idxs.is_floating_point():
        idxs = torch.unique(idxs, return_inverse=True)[1]
    idxs = idxs.long()
    if max_output is None:
        return call(_batched_nms, boxes, scores, idxs, float(iou_threshold))
    return call_pair(_nms_padded, boxes, scores, idxs, float(iou_threshold), _size(max_output))


def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """`nms` of rotated boxes, suppressing where `box_iou_rotated` is above the threshold.

    Args:
        boxes: (N, 5), rows (cx, cy, w, h, angle in degrees).
        scores: (N,).
        iou_threshold: 0 to 1.

    Returns:
        (n,) int64 indices, highest score first; boxes that are not finite are never returned.

    Raises:
        ValueError: a shape is wrong, or the threshold lies outside [0, 1].
    """
    boxes, scores = _candidates(boxes, scores, iou_threshold, columns=5)
    return call(_nms_rotated, boxes, scores, float(iou_threshold))


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    method: str = "gaussian",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """Lowers the scores of boxes that overlap a better one, instead of dropping them.

    The box with the highest current score is emitted until that is below `min_score`; the others'
    scores s become, at overlap o, s * exp(-o * o / sigma) (gaussian), s * (1 - o) where
    o >= iou_threshold (linear), or are dropped there (hard).

    Args:
        boxes: (N, 4), rows (x1, y1, x2, y2).
        scores: (N,).
        method: "gaussian", "linear" or "hard".
        iou_threshold: 0 to 1; not used by "gaussian".
        sigma: above 0; used only by "gaussian".
        min_score: boxes whose score falls below it are dropped.

    Returns:
        (n,) int64 indices in the order of emission and (n,) final scores. Boxes that are not
        finite and NaN scores are dropped. No gradient.

    Raises:
        ValueError: a shape, the method or a number is wrong.

    Source: Bodla et al., Soft-NMS, ICCV 2017, with areas without +1.
    """
    boxes, scores = _candidates(boxes, scores, iou_threshold)
    if method not in SOFT_METHODS:
        raise ValueError(f"method must be one of {SOFT_METHODS}, got {method!r}")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be finite and above 0, got {sigma}")
    if min_score != min_score:
        raise ValueError("min_score must be a number, got NaN")
    return call_pair(
        _soft_nms,
        boxes,
        scores,
        SOFT_METHODS.index(method),
        float(iou_threshold),
        float(sigma),
        float(min_score),
    )


def box_voting(
    boxes: Tensor,
    scores: Tensor,
    all_boxes: Tensor,
    all_scores: Tensor,
    iou_threshold: float = 0.5,
    scoring: str = "id",
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Replaces every kept box by the score-weighted mean of all boxes that overlap it.

    Call it per class. With s the scores and o the overlaps of a box's n voters the new score is
    the old one (id), mean s (avg), max s (max), sum(s * o) / sum(o) (iou_avg),
    mean(s ** beta) ** (1 / beta) (generalized_avg) or sum(s) / n ** beta (quasi_sum).

    Args:
        boxes: (n, 4) kept boxes, rows (x1, y1, x2, y2).
        scores: (n,).
        all_boxes: (N, 4) the voters; those not finite, or with such a score, have no vote.
        all_scores: (N,).
        iou_threshold: 0 to 1; voters have at least this IoU.
        scoring: see above.
        beta: the exponent, not 0 for "generalized_avg".

    Returns:
        (n, 4) boxes and (n,) scores, with the dtypes of `boxes` and `scores` (at least float32); a
        box whose voters' scores sum to 0 stays as it is. No gradient.

    Raises:
        ValueError: a shape, the threshold, `scoring` or `beta` is wrong.

    Source: Gidaris and Komodakis, ICCV 2015, section 4; the scorings follow detectron's.
    """
    boxes, scores = _candidates(boxes, scores, iou_threshold)
    all_boxes, all_scores = _candidates(all_boxes, all_scores, iou_threshold, prefix="all_")
    _together(boxes, "boxes", all_boxes, "all_boxes")
    if scoring not in VOTE_SCORINGS:
        raise ValueError(f"scoring must be one of {VOTE_SCORINGS}, got {scoring!r}")
    if not abs(beta) < math.inf or (beta == 0 and scoring == "generalized_avg"):
        raise ValueError(f"beta must be finite (and not 0 for generalized_avg), got {beta}")
    return call_pair(
        _box_voting,
        boxes,
        scores,
        all_boxes,
        all_scores,
        float(iou_threshold),
        VOTE_SCORINGS.index(scoring),
        float(beta),
    )


def _candidates(
    boxes: Tensor, scores: Tensor, iou_threshold: float, columns: int = 4, prefix: str = ""
) -> tuple[Tensor, Tensor]:
    """Boxes and scores as the kernels take them: float32 or float64, without gradient."""
    if not (isinstance(boxes, Tensor) and isinstance(scores, Tensor)):
        kinds = type(boxes).__name__, type(scores).__name__
        raise TypeError(f"{prefix}boxes and {prefix}scores must be tensors, got {kinds}")
    if boxes.dim() != 2 or boxes.shape[1] != columns:
        raise ValueError(f"{prefix}boxes must have shape (N, {columns}), got {tuple(boxes.shape)}")
    if scores.dim() != 1 or scores.shape[0] != boxes.shape[0]:
        raise ValueError(
            f"{prefix}scores must have shape ({boxes.shape[0]},), got {tuple(scores.shape)}"
        )
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold must lie in [0, 1], got {iou_threshold}")
    _together(boxes, f"{prefix}boxes", scores, f"{prefix}scores")
    return _real(boxes), _real(scores)


def _together(first: Tensor, name: str, second: Tensor, other: str) -> None:
    if first.device != second.device:
        raise ValueError(f"{name} are on {first.device}, {other} on {second.device}")


def _real(values: Tensor) -> Tensor:
    """Integers in float64, halves in float32; detached."""
    if values.layout is not torch.strided or values.dtype.is_complex:
        raise TypeError(f"expected dense real numbers, got {values.dtype}, {values.layout}")
    if values.dtype is not torch.float32 and values.dtype is not torch.float64:
        wide = not values.dtype.is_floating_point
        values = values.to(torch.float64 if wide else torch.float32)
    return values.detach() if values.requires_grad else values


def _size(max_output: int) -> int:
    if max_output < 0:
        raise ValueError(f"max_output must be at least 0, got {max_output}")
    return max_output


def _some(boxes: Tensor) -> int | torch.SymInt:
    """A size known only from the values: 0 to the number of boxes."""
    if isinstance(boxes.shape[0], int) and boxes.shape[0] == 0:
        return 0  # inductor refuses to index nothing by who knows how many
    kept = torch.library.get_ctx().new_dynamic_size()
    torch._check(kept <= boxes.shape[0])
    return kept


def _fake_kept(boxes: Tensor, *_: object) -> Tensor:
    return boxes.new_empty(_some(boxes), dtype=torch.int64)


def _fake_padded(
    boxes: Tensor, scores: Tensor, idxs: Tensor | None, iou_threshold: float, max_output: int
) -> tuple[Tensor, Tensor]:
    return (boxes.new_empty(max_output, dtype=torch.int64), boxes.new_empty((), dtype=torch.int64))


def _fake_soft(boxes: Tensor, scores: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    kept = _some(boxes)
    return boxes.new_empty(kept, dtype=torch.int64), scores.new_empty(kept)


def _fake_voting(boxes: Tensor, scores: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return boxes.new_empty(boxes.shape), scores.new_empty(scores.shape)


_nms = define(
    "nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor",
    reference=reference.nms,
    fake=_fake_kept,
)
_batched_nms = define(
    "batched_nms(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor",
    reference=reference.batched_nms,
    fake=_fake_kept,
)
_nms_padded = define(
    "nms_padded(Tensor boxes, Tensor scores, Tensor? idxs, float iou_threshold, int max_output)"
    " -> (Tensor, Tensor)",
    reference=reference.nms_padded,
    fake=_fake_padded,
)
_nms_rotated = define(
    "nms_rotated(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor",
    reference=reference.nms_rotated,
    fake=_fake_kept,
)
_soft_nms = define(
    "soft_nms(Tensor boxes, Tensor scores, int method, float iou_threshold, float sigma,"
    " float min_score) -> (Tensor, Tensor)",
    reference=reference.soft_nms,
    fake=_fake_soft,
)
_box_voting = define(
    "box_voting(Tensor boxes, Tensor scores, Tensor all_boxes, Tensor all_scores,"
    " float iou_threshold, int scoring, float beta) -> (Tensor, Tensor)",
    reference=reference.box_voting,
    fake=_fake_voting,
)
