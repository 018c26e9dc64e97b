"""Who matches whom, for all frames and thresholds at once: labels pick detections in file order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.evaluation.assignment import Mask, Rows, assign
from perception.structures import Float


@dataclass(frozen=True)
class Pairs:
    """P pairs of a label and a detection of one frame, in file order of labels, then detections."""

    target: Rows  # (P,) row of the label in the table of all labels
    predicted: Rows  # (P,) row of the detection
    overlap: Float  # (P,)

    def __getitem__(self, rows: Any) -> Pairs:
        return Pairs(self.target[rows], self.predicted[rows], self.overlap[rows])


@dataclass(frozen=True)
class Marks:
    """What counts for one class and difficulty; a label or detection with no mark takes no part."""

    valid: Mask  # (G,) labels to be found
    ignored: Mask  # (G,) labels that absorb a detection without counting
    valid_predicted: Mask  # (D,)
    short: Mask  # (D,) too small to count; may be matched
    forgivable: Mask  # (D,) valid detections that lie in a DontCare region


@dataclass(frozen=True)
class Matches:
    """Candidate pairs and at which of T thresholds they are assigned to each other."""

    pairs: Pairs
    taken: Mask  # (P, T)


def all_pairs(target_counts: Rows, predicted_counts: Rows) -> tuple[Rows, Rows]:
    """Rows (label, detection) of every pair within a frame, from the boxes per frame."""
    per_target = np.repeat(predicted_counts, target_counts)
    first = np.repeat(np.cumsum(predicted_counts) - predicted_counts, target_counts)
    target = np.repeat(np.arange(len(per_target)), per_target)
    start = np.cumsum(per_target) - per_target
    return target, np.arange(len(target)) - np.repeat(start - first, per_target)


def collect(pairs: Pairs, frame: Rows, marks: Marks, score: Float) -> Pairs:
    """The true positives when no score threshold is set.

    Each label takes the free candidate with the highest score, the first one of equals.
    `frame`: (G,) frame of each label; `score`: (D,).
    """
    pairs = candidates(pairs, marks)
    preferred = np.lexsort((-score[pairs.predicted], pairs.target))
    pairs = pairs[preferred]
    taken = assign(pairs.target, pairs.predicted, frame, np.zeros((len(preferred), 1), bool))
    return pairs[taken[:, 0] & is_true(pairs, marks)]


def match(pairs: Pairs, frame: Rows, marks: Marks, score: Float, thresholds: Float) -> Matches:
    """Assignment at each of T score thresholds; detections below the threshold are left out.

    Each label takes the free candidate with the largest overlap, the first one of equals; a short
    detection (the first in the file) only where there is no other. `thresholds`: (T,), or (F, T)
    for each frame its own.
    """
    pairs = candidates(pairs, marks)
    short = marks.short[pairs.predicted]
    preferred = np.lexsort((np.where(short, 0.0, -pairs.overlap), short, pairs.target))
    pairs = pairs[preferred]
    if thresholds.ndim == 2:
        thresholds = thresholds[frame[pairs.target]]
    left_out = score[pairs.predicted, None] < thresholds
    return Matches(pairs, assign(pairs.target, pairs.predicted, frame, left_out))


@dataclass(frozen=True)
class Tally:
    """Counts at each of T thresholds."""

    tp: Rows
    fp: Rows
    fn: Rows
    similarity: Float  # sum over true positives of (1 + cos(angle difference)) / 2


def tally(
    matches: Matches, marks: Marks, score: Float, thresholds: Float, similarity: Float
) -> Tally:
    """Counts true and false positives and misses; `similarity`: (P,) of `matches.pairs`."""
    pairs, taken = matches.pairs, matches.taken
    true = is_true(pairs, marks)
    counted = marks.valid_predicted & ~marks.forgivable
    assigned = taken[counted[pairs.predicted]].sum(0)
    above = np.sort(score[counted])
    reached = len(above) - np.searchsorted(above, thresholds, side="left")
    return Tally(
        tp=taken[true].sum(0),
        fp=reached - assigned,
        fn=np.count_nonzero(marks.valid) - taken[marks.valid[pairs.target]].sum(0),
        similarity=(taken[true] * similarity[true, None]).sum(0),
    )


def candidates(pairs: Pairs, marks: Marks) -> Pairs:
    """The pairs in which both sides take part."""
    label = (marks.valid | marks.ignored)[pairs.target]
    return pairs[label & (marks.valid_predicted | marks.short)[pairs.predicted]]


def is_true(pairs: Pairs, marks: Marks) -> Mask:
    """(P,) pairs that are true positives when assigned; others are neither right nor wrong."""
    return marks.valid[pairs.target] & marks.valid_predicted[pairs.predicted]
