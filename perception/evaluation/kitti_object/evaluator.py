"""Average precision of boxes over a whole data set, by the KITTI object benchmark's rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.evaluation.kitti_object.curves import Curve, make_curve, score_thresholds
from perception.evaluation.kitti_object.matching import collect, match, tally
from perception.evaluation.kitti_object.protocol import (
    METRICS,
    ObjectClass,
    ObjectRules,
    find_rules,
)
from perception.evaluation.kitti_object.scene import Scene, Task
from perception.formats.kitti_object import BoxTable
from perception.structures import Boxes, Float


@dataclass(frozen=True)
class ObjectScores:
    """Curves by class, metric and difficulty."""

    rules: ObjectRules
    frames: int
    curves: dict[tuple[str, str, str], Curve]  # (class, metric, difficulty)
    objects: dict[tuple[str, str], int]  # (class, difficulty): labels that had to be found
    notes: tuple[str, ...]  # metrics that do not exist, and why

    def curve(self, name: str, difficulty: str, metric: str = "image") -> Curve | None:
        """One curve; None where the metric does not exist for the class."""
        return self.curves.get((name, metric, difficulty))

    def ap(self, name: str, difficulty: str, metric: str = "image") -> float:
        """Average precision by the protocol's own rule; NaN where the metric does not exist."""
        curve = self.curve(name, difficulty, metric)
        return float("nan") if curve is None else curve.ap


@dataclass(frozen=True)
class FrameRecord:
    """One frame: what was there and what was found."""

    key: str
    predicted: Boxes
    target: Boxes


@dataclass(frozen=True)
class FrameTable:
    """All frames of a data set in the order of their keys, as they are read from files."""

    predicted: BoxTable
    target: BoxTable

    def rows(self) -> Iterator[FrameRow]:
        """The record of every frame; nothing is copied."""
        predicted, target = (_ranges(table.counts) for table in (self.predicted, self.target))
        for key, rows, labels in zip(self.predicted.keys, predicted, target, strict=True):
            yield FrameRow(self, key, rows, labels)


@dataclass(frozen=True, eq=False)
class FrameRow:
    """One frame of a table; like `FrameRecord`."""

    table: FrameTable = field(repr=False)
    key: str
    predicted_rows: slice
    target_rows: slice

    @property
    def predicted(self) -> Boxes:
        """What was found."""
        return self.table.predicted.boxes[self.predicted_rows]

    @property
    def target(self) -> Boxes:
        """What was there."""
        return self.table.target.boxes[self.target_rows]


@dataclass(frozen=True)
class KittiObjectEvaluator:
    """The boxes of every frame; AP needs them all at once.

    `protocol`: a name or rules of one's own. `classes`: names that the protocol knows, or
    `ObjectClass` for others; empty: the protocol's. `metrics`: of image, orientation, ground,
    box3d; those that the protocol lacks are left out.
    """

    protocol: str | ObjectRules = "kitti_2019"
    classes: Sequence[str | ObjectClass] = ()
    metrics: tuple[str, ...] = METRICS
    records: tuple[FrameRecord | FrameRow, ...] = field(default=(), repr=False)

    @property
    def rules(self) -> ObjectRules:
        """The protocol with the chosen classes and metrics."""
        rules = find_rules(self.protocol) if isinstance(self.protocol, str) else self.protocol
        known = {kind.name: kind for kind in rules.classes}
        chosen = []
        for wanted in self.classes or rules.classes:
            kind = wanted if isinstance(wanted, ObjectClass) else known.get(wanted.lower())
            if kind is None:
                raise PerceptionError(
                    f"class {wanted}",
                    "no overlap limit for it",
                    f"one of {', '.join(known)}, or an ObjectClass",
                    'Give its rules, ObjectClass("truck", overlap=0.7).',
                )
            chosen.append(kind)
        metrics = tuple(m for m in rules.metrics if m in self.metrics)
        return replace(rules, classes=tuple(chosen), metrics=metrics)

    def update(self, key: str, predicted: Boxes, target: Boxes) -> KittiObjectEvaluator:
        """This evaluator plus one frame.

        Raises:
            PerceptionError: a score or corner is not finite (names the frame).
        """
        _require_finite(f"frame {key}: predicted scores", predicted.score)
        _require_finite(f"frame {key}: predicted boxes", predicted.xyxy)
        _require_finite(f"frame {key}: labelled boxes", target.xyxy)
        return replace(self, records=(*self.records, FrameRecord(key, predicted, target)))

    def merge(self, other: KittiObjectEvaluator) -> KittiObjectEvaluator:
        """Both parts together, in any order and grouping.

        Raises:
            ValueError: the parts were measured by different rules.
        """
        if self.rules != other.rules:
            raise ValueError(f"{self.rules.name} cannot be merged with other rules")
        return replace(self, records=self.records + other.records)

    def compute(self) -> ObjectScores:
        """Scores of all frames, whatever their order.

        Raises:
            PerceptionError: no frame, or two of one key.
        """
        return evaluate(self.scene(), self.rules)

    def scene(self) -> Scene:
        """All frames in one table, in order of their keys."""
        records = sorted(self.records, key=lambda record: record.key)
        if not records:
            raise PerceptionError(
                self.rules.name,
                "no frame",
                "at least one",
                "Check the folders and the list of frames.",
            )
        for record, following in pairwise(records):
            if record.key == following.key:
                raise PerceptionError(
                    f"frame {record.key}",
                    "the frame twice",
                    "every frame once",
                    "Score each frame once.",
                )
        first = records[0]
        if isinstance(first, FrameRow):
            keys = tuple(record.key for record in records)
            same = all(isinstance(r, FrameRow) and r.table is first.table for r in records)
            if same and keys == first.table.target.keys:  # all of one table: nothing to copy
                return Scene.of(first.table.predicted, first.table.target)
        target = BoxTable.of((record.key, record.target) for record in records)
        return Scene.of(BoxTable.of((r.key, r.predicted) for r in records), target)


def evaluate(scene: Scene, rules: ObjectRules) -> ObjectScores:
    """Scores of all frames of `scene`."""
    curves = {
        (task.kind.name, metric, task.level.name): curve
        for task in scene.tasks(rules)
        for metric, curve in _curves(scene, task, rules)
        if metric in rules.metrics and (metric != "orientation" or scene.oriented)
    }
    objects = {
        (kind.name, level.name): int(np.count_nonzero(scene.mark_targets(kind, level, rules)[0]))
        for kind in rules.classes
        for level in rules.difficulties
    }
    return ObjectScores(
        rules, len(scene.target_counts), curves, objects, tuple(_notes(scene, rules))
    )


def _curves(scene: Scene, task: Task, rules: ObjectRules) -> Iterator[tuple[str, Curve]]:
    """The curve of one metric, and with the image's also that of orientation."""
    marks = scene.mark(task, rules)
    score, frame = scene.predicted.score, scene.frame
    objects = int(np.count_nonzero(marks.valid))
    collected = collect(task.close, frame, marks, score)
    thresholds = score_thresholds(score[collected.predicted], objects)
    matches = match(task.close, frame, marks, score, thresholds)
    similarity = scene.similarity(matches.pairs)
    counts = tally(matches, marks, score, thresholds, similarity)
    yield task.metric, make_curve(counts, counts.tp, objects, thresholds, rules)
    if task.metric == "image":
        yield "orientation", make_curve(counts, counts.similarity, objects, thresholds, rules)


def _notes(scene: Scene, rules: ObjectRules) -> Iterator[str]:
    """What is not scored, and why."""
    if "orientation" in rules.metrics and not scene.oriented:
        yield "orientation is not scored: a detection has no alpha (-10)"
    for metric in rules.metrics:
        missing = [
            kind.name
            for kind in rules.classes
            if metric != "orientation" and not scene.detected(kind, metric, rules)
        ]
        if missing:
            yield f"{', '.join(missing)}: {_SAID[metric]} not scored, {_NEEDED[metric]}"


_SAID = {"image": "boxes in the image", "ground": "boxes on the ground", "box3d": "boxes in 3D"}
_NEEDED = {
    "image": "no detection of the class begins inside the image",
    "ground": "no detection of the class has x, z, width and length",
    "box3d": "no detection of the class has a box in 3D",
}


def _ranges(counts: NDArray[np.int64]) -> list[slice]:
    """Rows of each frame."""
    ends = np.cumsum(counts).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _require_finite(where: str, values: Float) -> None:
    if not np.isfinite(values).all():
        raise PerceptionError(
            where,
            "NaN or infinite values",
            "finite numbers",
            "Check the detector that wrote these values.",
        )
