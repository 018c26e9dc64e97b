"""From counts at score thresholds to 41 recall slots and average precision."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from perception.evaluation.assignment import Rows
from perception.evaluation.kitti_object.matching import Tally
from perception.evaluation.kitti_object.protocol import RECALL_SLOTS, ObjectRules
from perception.structures import Float


@dataclass(frozen=True)
class Curve:
    """One class, difficulty and metric."""

    precision: Float  # (41,) or orientation similarity; slot i stands for recall i / 40
    ap: float  # by the protocol's own rule
    ap_r40: float  # mean of slots 1..40
    ap_r11: float  # mean of slots 0, 4, ..., 40
    ap_r41: float  # mean of all slots
    objects: int  # labels that had to be found; below 41 no detector can reach 1
    thresholds: Float  # (T,) T <= 41, score of each filled slot
    tp: Rows  # (T,)
    fp: Rows
    fn: Rows

    @property
    def recall(self) -> Float:
        """(T,) share of the objects that was found at each threshold."""
        return self.tp / max(self.objects, 1)


def score_thresholds(scores: Float, objects: int) -> Float:
    """At most 41 of the true positives' scores, where recall passes a multiple of 1/40.

    `objects`: labels that had to be found. README.md gives the rule.
    """
    ordered = np.sort(scores)[::-1]
    last = len(ordered) - 1
    chosen: list[int] = []
    current, index = 0.0, 0

    def reached(i: int) -> bool:
        left, right = (i + 1) / objects, (i + 2) / objects
        return not right - current < current - left

    while index <= last:
        # `reached` is monotone in the index; the last score is always taken.
        index = bisect_left(range(last), True, lo=min(index, last), key=reached)
        chosen.append(index)
        current += 1 / (RECALL_SLOTS - 1.0)
        index += 1
    return ordered[chosen]


def make_curve(
    tally: Tally, values: Float | Rows, objects: int, thresholds: Float, rules: ObjectRules
) -> Curve:
    """The curve of (T,) `values` per detection, `tally.tp` or `tally.similarity`."""
    slots = np.zeros(RECALL_SLOTS)
    filled = slots[: len(thresholds)]
    with np.errstate(invalid="ignore"):
        np.divide(values, tally.tp + tally.fp, out=filled)
    # The running maximum passes over NaN (no detection left at all), but a NaN stays where it is.
    best = np.fmax.accumulate(slots[::-1])[::-1]
    slots = np.where(np.isnan(slots), np.nan, best)
    means = _means(slots)
    if rules.decimals is None:
        own = means
    else:  # half to even on the decimal text, as C prints it
        own = _means(np.array([float(f"{value:.{rules.decimals}f}") for value in slots]))
    return Curve(
        precision=slots,
        ap=own[rules.recall_rule],
        ap_r40=means["R40"],
        ap_r11=means["R11"],
        ap_r41=means["R41"],
        objects=objects,
        thresholds=thresholds,
        tp=tally.tp,
        fp=tally.fp,
        fn=tally.fn,
    )


def _means(slots: Float) -> dict[str, float]:
    """Average precision of 41 slots by every rule."""
    parts = {"R40": slots[1:], "R11": slots[::4], "R41": slots}
    return {rule: float(part.sum() / len(part)) for rule, part in parts.items()}
