"""KITTI road scores (MaxF1, AP, PRE, REC, FPR, FNR) from one integer histogram.

Confidence is 8 bit, and value v reaches threshold k/255 exactly when v >= k, so that two rows of
256 pixel counts hold everything. Counts of a category are pooled over its images before any score
is taken. The definition is in README.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.kitti_road.protocol import EPSILON, RECALL_STEPS, THRESHOLDS

_EXACT = 1 << 24  # OpenCV's histograms are float32: exact up to here


@dataclass(frozen=True)
class RoadCurve:
    """One value per threshold k/255."""

    precision: NDArray[np.float64]  # (256,)
    recall: NDArray[np.float64]  # (256,)
    f1: NDArray[np.float64]  # (256,)


@dataclass(frozen=True)
class RoadScores:
    """Scores of one category, fractions in [0, 1]; NaN where undefined (no road pixel at all)."""

    max_f1: float
    ap: float
    precision: float  # PRE, REC, FPR, FNR: at the best threshold
    recall: float
    fpr: float
    fnr: float
    accuracy: float
    tnr: float
    best_threshold: float
    best_index: int
    tp: int
    fp: int
    fn: int
    tn: int
    images: int
    curve: RoadCurve

    @property
    def positives(self) -> int:
        """Road pixels."""
        return self.tp + self.fn

    @property
    def negatives(self) -> int:
        """Evaluated pixels that are not road."""
        return self.fp + self.tn


@dataclass(frozen=True)
class RoadCounts:
    """Evaluated pixels by confidence; row 0 not road, row 1 road."""

    histogram: NDArray[np.int64]  # (2, 256)
    images: int = 0

    @classmethod
    def zero(cls) -> RoadCounts:
        """No image yet."""
        return cls(np.zeros((2, 256), np.int64))

    def update(
        self, confidence: NDArray[np.uint8], road: NDArray[np.bool_], valid: NDArray[np.bool_]
    ) -> RoadCounts:
        """These counts plus one image; all of one shape, usually (H, W); pixels that are not
        `valid` do not count.

        `confidence` is 8 bit (`quantize` makes it from a probability).
        """
        _check(confidence, road, valid)
        on_road = np.bincount(confidence[road & valid], minlength=256)
        background = _histogram(confidence, valid) - on_road
        added = np.stack([background, on_road])
        return RoadCounts(self.histogram + added, self.images + 1)

    def merge(self, other: RoadCounts) -> RoadCounts:
        """Counts of both parts, in any order and grouping."""
        return RoadCounts(self.histogram + other.histogram, self.images + other.images)

    def compute(self) -> RoadScores:
        """The scores; NaN where there is no road pixel."""
        return scores_of(self.histogram[1], self.histogram[0], self.images)


def quantize(probability: NDArray[np.floating]) -> NDArray[np.uint8]:
    """`round(255 p)` as a submission stores it; (H, W) probability in [0, 1].

    Raises:
        ValueError: a value is NaN or outside [0, 1].
    """
    if not (probability.size == 0 or (probability.min() >= 0 and probability.max() <= 1)):
        raise ValueError(
            f"probability ranges {probability.min()}..{probability.max()}, expected [0, 1]"
        )
    result: NDArray[np.uint8] = np.rint(255 * probability).astype(np.uint8)
    return result


def scores_of(road: NDArray[np.int64], background: NDArray[np.int64], images: int) -> RoadScores:
    """Scores from the pixels of each kind by confidence bin; both (256,)."""
    positives, negatives = int(road.sum()), int(background.sum())
    false_negatives = np.concatenate([[0], np.cumsum(road)[:-1]])
    false_positives = negatives - np.concatenate([[0], np.cumsum(background)[:-1]])
    true_positives = positives - false_negatives
    if not positives:
        return _undefined(negatives, images)
    recall = true_positives / positives
    precision = true_positives / (true_positives + false_positives + EPSILON)
    f1 = 2 * precision * recall / (precision + recall + EPSILON)
    kept = np.count_nonzero((recall != 0) | (precision != 0))  # the others are all at the end
    ap = float(np.mean([precision[:kept][recall[:kept] >= r].max() for r in RECALL_STEPS]))
    best = int(np.argmax(f1[:kept]))
    tp, fp, fn = (int(n[best]) for n in (true_positives, false_positives, false_negatives))
    tn = negatives - fp
    return RoadScores(
        max_f1=float(f1[best]),
        ap=ap,
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        fpr=_ratio(fp, fp + tn),
        fnr=_ratio(fn, tp + fn),
        accuracy=_ratio(tp + tn, positives + negatives),
        tnr=_ratio(tn, negatives),
        best_threshold=float(THRESHOLDS[best]),
        best_index=best,
        tp=tp,
        fp=fp,
        fn=fn,
        tn=tn,
        images=images,
        curve=RoadCurve(precision, recall, f1),
    )


# ---------------------------------------------------------------------------- helpers


def _check(
    confidence: NDArray[np.uint8], road: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> None:
    if not confidence.shape == road.shape == valid.shape:
        raise ValueError(
            f"confidence is {confidence.shape}, road {road.shape}, valid {valid.shape}: "
            "all must be of one size"
        )
    if confidence.dtype != np.uint8 or road.dtype != bool or valid.dtype != bool:
        raise ValueError(
            f"confidence is {confidence.dtype}, road {road.dtype}, valid {valid.dtype}, expected "
            "uint8, bool, bool (`quantize` turns probabilities into confidence)"
        )


def _histogram(values: NDArray[np.uint8], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(256,) counts of the chosen values."""
    import cv2

    if values.size >= _EXACT or not values.size:
        return np.bincount(values[chosen], minlength=256)
    counted = cv2.calcHist(
        [np.ascontiguousarray(values)], [0], chosen.view(np.uint8), [256], [0, 256]
    )
    return counted.ravel().astype(np.int64)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _undefined(negatives: int, images: int) -> RoadScores:
    nan = np.full(256, np.nan)
    values = dict.fromkeys(
        ("max_f1", "ap", "precision", "recall", "fpr", "fnr", "accuracy", "tnr"), math.nan
    )
    return RoadScores(
        **values,
        best_threshold=math.nan,
        best_index=0,
        tp=0,
        fp=negatives,
        fn=0,
        tn=0,
        images=images,
        curve=RoadCurve(nan, nan, nan),
    )
