"""Pixel confusion over a whole data set, and intersection over union from it.

Counts are pooled over all images before any score is taken. A class that is neither labelled nor
predicted has no score (NaN) and is left out of the mean; one that is predicted but never labelled
scores 0 and counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.semantic.runs import pair_codes, run_lengths, run_starts, tally
from perception.labels import IGNORE_INDEX


@dataclass(frozen=True)
class SegmentationScores:
    """Intersection over union per class, in [0, 1]."""

    iou: NDArray[np.float64]  # (classes,) NaN: neither labelled nor predicted
    mean_iou: float  # over the classes that are not NaN
    pixel_accuracy: float


@dataclass(frozen=True)
class Confusion:
    """`table[t, p]`: pixels of true class t predicted as class p."""

    table: NDArray[np.int64]  # (classes, classes)
    images: int = 0

    @classmethod
    def zero(cls, classes: int) -> Confusion:
        """No image yet."""
        return cls(np.zeros((classes, classes), np.int64))

    def update(
        self,
        predicted: NDArray[np.uint8],
        target: NDArray[np.uint8],
        *,
        ignore_index: int | None = IGNORE_INDEX,
    ) -> Confusion:
        """These counts plus one image of (H, W) class ids; pixels labelled `ignore_index` do not
        count.

        Raises:
            ValueError: the sizes differ, or an id is no class.
        """
        table = pair_table(predicted, target)
        if ignore_index is not None:
            table[ignore_index] = 0
        check_ids("target", table.sum(1), len(self.table))
        check_ids("predicted", table.sum(0), len(self.table))
        classes = len(self.table)
        return Confusion(self.table + table[:classes, :classes], self.images + 1)

    def merge(self, other: Confusion) -> Confusion:
        """Counts of both parts, in any order and grouping."""
        return Confusion(self.table + other.table, self.images + other.images)

    def compute(self) -> SegmentationScores:
        """The scores; every class of the table counts."""
        iou = class_iou(self.table)
        total = int(self.table.sum())
        accuracy = int(self.table.diagonal().sum()) / total if total else float("nan")
        return SegmentationScores(iou, nan_mean(iou), accuracy)


def pair_table(predicted: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(256, 256) pixels by target (row) and predicted (column) id.

    Raises:
        ValueError: the sizes differ or the ids are not uint8.
    """
    if predicted.shape != target.shape:
        raise ValueError(
            f"predicted is {predicted.shape}, target is {target.shape}: resize the prediction to "
            "the size of the label before scoring"
        )
    if predicted.dtype != np.uint8 or target.dtype != np.uint8:
        raise ValueError(f"predicted is {predicted.dtype}, target {target.dtype}, expected uint8")
    codes = pair_codes(target, predicted)
    starts = run_starts(codes)
    counts = tally(codes[starts], run_lengths(starts, len(codes)), 1 << 16)
    return counts.reshape(256, 256)


def check_ids(name: str, counts: NDArray[np.int64], classes: int) -> None:
    """Raises ValueError when pixels are counted above the last class."""
    unknown = np.flatnonzero(counts[classes:]) + classes
    if len(unknown):
        raise ValueError(
            f"{name} holds class ids {unknown[:8].tolist()} outside 0..{classes - 1}. Are these "
            "label ids instead of train ids, or the other way round?"
        )


def class_iou(
    table: NDArray[np.int64], ignored: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """(classes,) TP / (TP + FP + FN); NaN for ignored classes and where nothing was counted.

    Pixels whose true class is `ignored` (classes,) count for nobody; a prediction of an ignored
    class on any other pixel is a false negative of the true one.
    """
    kept = np.ones(len(table), bool) if ignored is None else ~ignored
    hit = table.diagonal().astype(np.float64)
    union = table.sum(1) + table[kept].sum(0) - hit
    valid = kept & (union > 0)
    result: NDArray[np.float64] = np.divide(hit, union, out=np.full(len(hit), np.nan), where=valid)
    return result


def nan_mean(values: NDArray[np.float64]) -> float:
    """Mean of the entries that are not NaN; NaN when there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
