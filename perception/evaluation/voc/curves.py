"""Precision over recall, and its area by the rules of 2007 and of later years."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.structures import Float

RECALL_STEPS = np.arange(0, 1.1, 0.1)  # 11; as doubles 0.30000000000000004 and so on
TINY = np.finfo(np.float64).eps  # where no detection counts, precision is 0, not 0 / 0


@dataclass(frozen=True)
class Curve:
    """One class at one overlap threshold, detections by falling score."""

    ap: float  # NaN without an object
    objects: int  # that are not difficult
    detections: int
    hits: int  # true positives
    recall: Float  # (D,)
    precision: Float  # (D,)

    @property
    def max_recall(self) -> float:
        """Recall of all detections; NaN without an object."""
        if not self.objects:
            return float("nan")
        return float(self.recall[-1]) if len(self.recall) else 0.0


def make_curve(
    outcome: NDArray[np.int64], objects: int, weights: NDArray[np.int64], rule: str
) -> Curve:
    """The curve of detections by falling score.

    Args:
        outcome: (D,) 1 right, -1 wrong, 0 on a difficult object.
        objects: how many had to be found.
        weights: (D,) how often each detection counts.
        rule: "2007" or "area".
    """
    tp = np.cumsum((outcome > 0) * weights)
    fp = np.cumsum((outcome < 0) * weights)
    recall = tp / objects if objects else np.full(len(tp), np.nan)
    precision = tp / np.maximum(tp + fp, TINY)
    ap = float("nan") if not objects else _AP[rule](recall, precision)
    hits = int(tp[-1]) if len(tp) else 0
    return Curve(ap, objects, int(weights.sum()), hits, recall, precision)


def ap_2007(recall: Float, precision: Float) -> float:
    """Mean over 11 recall steps of the largest precision at that recall or beyond."""
    beyond = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
    return float(beyond[np.searchsorted(recall, RECALL_STEPS, side="left")].mean())


def ap_area(recall: Float, precision: Float) -> float:
    """Area under the precision made non-increasing from the right."""
    beyond = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * beyond).sum())


_AP = {"2007": ap_2007, "area": ap_area}
