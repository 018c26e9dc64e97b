"""What became of every label and every detection, at one score threshold per class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from perception.evaluation.assignment import Rows
from perception.evaluation.kitti_object.matching import is_true, match
from perception.evaluation.kitti_object.protocol import ObjectRules
from perception.evaluation.kitti_object.scene import Scene
from perception.evaluation.kitti_object.weighted import frame_steps
from perception.evaluation.verdict import Verdict


@dataclass(frozen=True)
class Verdicts:
    """Verdicts by the rules of the image and the hardest difficulty."""

    target: Rows  # (G,) `Verdict` of each label
    predicted: Rows  # (D,)
    thresholds: Mapping[str, float]  # score with the best F1 over all frames, by class

    def counts(self, scene: Scene) -> tuple[Rows, Rows, Rows]:
        """(F,) labels found, labels missed, wrong detections of each frame."""
        frames = len(scene.target_counts)
        return (
            np.bincount(scene.frame[self.target == Verdict.RIGHT], minlength=frames),
            np.bincount(scene.frame[self.target == Verdict.MISSED], minlength=frames),
            np.bincount(scene.predicted_frame[self.predicted == Verdict.WRONG], minlength=frames),
        )


def judge(scene: Scene, rules: ObjectRules) -> Verdicts:
    """Verdicts at the score where each class has its best F1 over all frames."""
    hardest = replace(
        rules,
        metrics=("image",),
        difficulties=rules.difficulties[-1:],
        classes=tuple(replace(kind, always=True) for kind in rules.classes),
    )
    target = np.full(len(scene.target), int(Verdict.NEUTRAL))
    predicted = np.full(len(scene.predicted), int(Verdict.NEUTRAL))
    thresholds = {}
    score = scene.predicted.score
    for task in scene.tasks(hardest):
        threshold = frame_steps(scene, task, hardest).best_threshold()
        marks = scene.mark(task, hardest)
        matches = match(task.close, scene.frame, marks, score, np.array([threshold]))
        taken = matches.pairs[matches.taken[:, 0]]
        hit = is_true(taken, marks)
        target[marks.valid] = Verdict.MISSED
        target[taken.target] = np.where(hit, Verdict.RIGHT, Verdict.NEUTRAL)
        predicted[marks.valid_predicted & ~marks.forgivable] = Verdict.WRONG
        predicted[taken.predicted] = np.where(hit, Verdict.RIGHT, Verdict.NEUTRAL)
        predicted[scene.predicted_names.is_any((task.kind.name,)) & (score < threshold)] = (
            Verdict.LEFT_OUT
        )
        thresholds[task.kind.name] = threshold
    return Verdicts(target, predicted, thresholds)
