"""The same counts kept apart by frame, so that frames can be weighted or looked at one by one.

With weights 1 the curves are those of `evaluate`; with the number of times that a frame was drawn
they are those of a resampled data set, without matching anything again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.assignment import Mask, Rows
from perception.evaluation.kitti_object.curves import Curve, make_curve, score_thresholds
from perception.evaluation.kitti_object.matching import (
    Marks,
    Matches,
    Pairs,
    Tally,
    candidates,
    collect,
    is_true,
    match,
)
from perception.evaluation.kitti_object.protocol import ObjectRules
from perception.evaluation.kitti_object.scene import Scene, Task
from perception.structures import Float


@dataclass(frozen=True)
class WeightedCurves:
    """Both curves of one class, difficulty and metric."""

    precision: Curve
    orientation: Curve  # has a meaning in the image alone


@dataclass(frozen=True)
class FrameSteps:
    """How the counts of every frame grow as the score threshold falls past E steps."""

    objects: Rows  # (F,) labels to be found in each frame
    collected: Float  # (C,) falling scores of the true positives without a threshold
    collected_frame: Rows  # (C,)
    score: Float  # (E,) falling
    frame: Rows  # (E,)
    tp: Rows  # (E,) what the step adds; may be negative
    fp: Rows
    found: Rows  # labels that are no longer missed
    similarity: Float

    def tally(self, thresholds: Float, weights: Rows) -> Tally:
        """Counts at T thresholds over all frames, each frame counted `weights` (F,) times."""
        last = np.searchsorted(-self.score, -thresholds, side="right")
        weight = weights[self.frame]

        def total(steps: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([[0], np.cumsum(steps * weight)])[last]

        return Tally(
            tp=total(self.tp),
            fp=total(self.fp),
            fn=int(self.objects @ weights) - total(self.found),
            similarity=total(self.similarity),
        )

    def curves(self, weights: Rows, rules: ObjectRules) -> WeightedCurves:
        """The curves of weighted frames."""
        objects = int(self.objects @ weights)
        scores = np.repeat(self.collected, weights[self.collected_frame])
        thresholds = score_thresholds(scores, objects)
        counts = self.tally(thresholds, weights)
        return WeightedCurves(
            make_curve(counts, counts.tp, objects, thresholds, rules),
            make_curve(counts, counts.similarity, objects, thresholds, rules),
        )

    def best_threshold(self) -> float:
        """The score with the largest F1 over all frames; infinite where nothing is found."""
        thresholds = np.unique(self.score)
        counts = self.tally(thresholds, np.ones_like(self.objects))
        wrong = counts.fp + counts.fn
        f1 = np.divide(
            2 * counts.tp, 2 * counts.tp + wrong, out=np.zeros(len(wrong)), where=counts.tp > 0
        )
        return float(thresholds[f1.argmax()]) if f1.any() else np.inf


def frame_steps(scene: Scene, task: Task, rules: ObjectRules) -> FrameSteps:
    """The steps of one class, difficulty and metric."""
    marks = scene.mark(task, rules)
    close = candidates(task.close, marks)
    score, frame, frames = scene.predicted.score, scene.frame, len(scene.target_counts)
    thresholds = _own_thresholds(close, frame, score, frames)
    matches = match(close, frame, marks, score, thresholds)
    steps = _growth(matches, marks, frame, thresholds, scene)
    counted = np.flatnonzero(marks.valid_predicted & ~marks.forgivable)
    zero = np.zeros(len(counted), np.int64)
    columns = [
        np.concatenate([own, more])
        for own, more in zip(
            steps,
            (score[counted], scene.predicted_frame[counted], zero, zero + 1, zero, zero * 0.0),
            strict=True,
        )
    ]
    falling = np.argsort(-columns[0], kind="stable")
    collected = collect(close, frame, marks, score)
    order = np.argsort(-score[collected.predicted], kind="stable")
    return FrameSteps(
        np.bincount(frame[marks.valid], minlength=frames),
        score[collected.predicted][order],
        frame[collected.target][order],
        *(column[falling] for column in columns),
    )


def _own_thresholds(pairs: Pairs, frame: Rows, score: Float, frames: int) -> Float:
    """(F, T) falling scores of each frame's candidates, padded with infinity in front."""
    detections, first = np.unique(pairs.predicted, return_index=True)
    where = frame[pairs.target[first]]
    order = np.lexsort((score[detections], where))
    where = where[order]
    counts = np.bincount(where, minlength=frames)
    place = np.arange(len(where)) - np.searchsorted(where, where)  # 0: the frame's lowest
    width = int(counts.max(initial=0))
    table = np.full((frames, width), np.inf)
    table[where, width - 1 - place] = score[detections][order]
    return table


def _growth(
    matches: Matches, marks: Marks, frame: Rows, thresholds: Float, scene: Scene
) -> tuple[Float, Rows, Rows, Rows, Rows, Float]:
    """Score, frame, and growth of tp, fp, found, similarity at every threshold of every frame."""
    pairs, taken = matches.pairs, matches.taken
    true = is_true(pairs, marks)
    owner = frame[pairs.target]
    counted = (marks.valid_predicted & ~marks.forgivable)[pairs.predicted]
    width = thresholds.shape[1]

    def growth(chosen: Mask, weight: Float | None = None) -> NDArray[Any]:
        rows, columns = np.nonzero(taken & chosen[:, None])
        weights = None if weight is None else weight[rows]
        cells = np.bincount(owner[rows] * width + columns, weights, thresholds.size)
        result: NDArray[Any] = np.diff(cells.reshape(thresholds.shape), prepend=0, axis=1)[finite]
        return result

    finite = np.isfinite(thresholds)
    return (
        thresholds[finite],
        np.nonzero(finite)[0],
        growth(true),
        -growth(counted),
        growth(marks.valid[pairs.target]),
        growth(true, scene.similarity(pairs)),
    )


def all_steps(scene: Scene, rules: ObjectRules) -> dict[tuple[str, str, str], FrameSteps]:
    """Steps by (class, metric, difficulty); those of the image serve orientation too."""
    return {
        (task.kind.name, task.metric, task.level.name): frame_steps(scene, task, rules)
        for task in scene.tasks(rules)
    }
