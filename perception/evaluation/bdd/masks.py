"""Drivable-area and lane scores of the multi-task driving papers (YOLOP's metric; README.md).

The papers average the scores of batches, so that their numbers depend on batch size and order;
`pooled` takes the same formulas once over all images. Always say which of the two is quoted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.protocol import Protocol
from perception.evaluation.semantic.confusion import check_ids, pair_table

EPSILON = 1e-12  # in the lane accuracy's denominator
DRIVABLE = Protocol("bdd/drivable", 1, {"accuracy": "pixels that are right"})
LANE = Protocol("bdd/lane", 1, {"accuracy": "recall of lane pixels"})


@dataclass(frozen=True)
class MaskScores:
    """Fractions in [0, 1]."""

    acc: float  # drivable: pixels that are right; lane: recall of lane pixels
    iou: float  # of the foreground
    miou: float  # mean over classes, absent ones as 0
    balanced_acc: float  # mean of both classes' recall: "accuracy" of other papers' lane tables


@dataclass(frozen=True)
class MaskSetScores:
    """Scores of a set, in both ways."""

    batched: MaskScores  # mean over batches, weighted by their images
    pooled: MaskScores  # one confusion over all images
    confusion: NDArray[np.int64]  # (classes, classes), rows: true


@dataclass(frozen=True)
class MaskEvaluator:
    """One confusion per image; `protocol` says which accuracy is meant."""

    protocol: Protocol
    classes: int = 2
    batch_size: int = 24
    images: tuple[tuple[int, NDArray[np.int64]], ...] = ()  # (position, confusion)

    def update(
        self, predicted: NDArray[np.uint8], target: NDArray[np.uint8], *, position: int
    ) -> MaskEvaluator:
        """This evaluator plus one image of (H, W) class ids; `position` is its place in the order
        that makes the batches.

        Raises:
            ValueError: the sizes differ or an id is no class.
        """
        table = pair_table(predicted, target)
        check_ids("target", table.sum(1), self.classes)
        check_ids("predicted", table.sum(0), self.classes)
        return replace(
            self, images=(*self.images, (position, table[: self.classes, : self.classes]))
        )

    def merge(self, other: MaskEvaluator) -> MaskEvaluator:
        """Both parts together."""
        return replace(self, images=self.images + other.images)

    def compute(self) -> MaskSetScores:
        """Both kinds of scores."""
        tables = [table for _, table in sorted(self.images, key=lambda image: image[0])]
        starts = range(0, len(tables), self.batch_size)
        batches = [tables[i : i + self.batch_size] for i in starts]
        total = np.sum(tables, axis=0) if tables else np.zeros((self.classes,) * 2, np.int64)
        return MaskSetScores(
            _weighted_mean([(self._scores(np.sum(b, axis=0)), len(b)) for b in batches]),
            self._scores(total),
            total,
        )

    def _scores(self, table: NDArray[np.int64]) -> MaskScores:
        hit = table.diagonal().astype(np.float64)
        rows, columns = table.sum(1), table.sum(0)
        union = rows + columns - hit
        iou = np.divide(hit, union, out=np.zeros(self.classes), where=union > 0)
        recall = np.divide(hit, rows, out=np.zeros(self.classes), where=rows > 0)
        if self.protocol == LANE:
            acc = float(hit[1] / (rows[1] + EPSILON))
        else:
            acc = float(hit.sum() / table.sum()) if table.any() else math.nan
        return MaskScores(acc, float(iou[1]), float(iou.mean()), float(recall.mean()))


def foreground(mask: NDArray[np.integer], threshold: int = 1) -> NDArray[np.uint8]:
    """1 where a label mask is above `threshold`, same shape.

    Raises:
        ValueError: the mask is not empty but nowhere above it (an index mask of 0 and 1).
    """
    if mask.any() and mask.max() <= threshold:
        raise ValueError(
            f"the largest value is {mask.max()}, foreground is above {threshold}: is this a mask "
            "of class indices instead of grey values?"
        )
    return (mask > threshold).astype(np.uint8)


def _weighted_mean(scores: Sequence[tuple[MaskScores, int]]) -> MaskScores:
    images = sum(n for _, n in scores)
    if not images:
        return MaskScores(math.nan, math.nan, math.nan, math.nan)
    return MaskScores(
        *(
            sum(getattr(one, name) * n for one, n in scores) / images
            for name in MaskScores.__dataclass_fields__
        )
    )
