"""All frames of a data set in one table, prepared for matching."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perception.evaluation.assignment import Mask, Rows
from perception.evaluation.kitti_object.matching import Marks, Pairs, all_pairs
from perception.evaluation.kitti_object.overlap import (
    Overlap,
    Solid,
    ground_overlap,
    image_overlap,
    solid_overlap,
)
from perception.evaluation.kitti_object.protocol import Difficulty, ObjectClass, ObjectRules
from perception.formats.kitti_object import BoxTable
from perception.structures import Boxes, Float

DONT_CARE = "dontcare"


@dataclass(frozen=True)
class Scene:
    """Labels and detections of all frames, frame after frame; rows are those of the tables."""

    keys: tuple[str, ...]  # (F,) names of the frames
    target: Boxes
    predicted: Boxes
    target_counts: Rows  # (F,) labels of each frame
    predicted_counts: Rows  # (F,)

    @classmethod
    def of(cls, predicted: BoxTable, target: BoxTable) -> Scene:
        """From two tables of the same frames in the same order."""
        return cls(target.keys, target.boxes, predicted.boxes, target.counts, predicted.counts)

    @cached_property
    def target_names(self) -> Names:
        """Class names of the labels; ignored regions are DontCare whatever their name."""
        return Names.of(self.target.names.tolist(), ignore=self.target.ignore)

    @cached_property
    def predicted_names(self) -> Names:
        """Class names of the detections."""
        return Names.of(self.predicted.names.tolist())

    @cached_property
    def frame(self) -> Rows:
        """(G,) frame of each label."""
        return np.repeat(np.arange(len(self.target_counts)), self.target_counts)

    @cached_property
    def predicted_frame(self) -> Rows:
        """(D,) frame of each detection."""
        return np.repeat(np.arange(len(self.predicted_counts)), self.predicted_counts)

    def similarity(self, pairs: Pairs) -> Float:
        """(P,) how well the observation angles agree, 0 (opposite) to 1."""
        alphas = _filled(self.target.alpha, -10), _filled(self.predicted.alpha, -10)
        return (1 + np.cos(alphas[0][pairs.target] - alphas[1][pairs.predicted])) / 2

    @cached_property
    def target_height(self) -> Float:
        """(G,) pixels, with its sign."""
        return self.target.xyxy[:, 3] - self.target.xyxy[:, 1]

    @cached_property
    def predicted_height(self) -> Float:
        """(D,) whole pixels, rounded down."""
        result: Float = np.trunc(np.abs(self.predicted.xyxy[:, 1] - self.predicted.xyxy[:, 3]))
        return result

    def tasks(self, rules: ObjectRules) -> Iterator[Task]:
        """Everything that is matched; orientation comes with the image."""
        lowest = min((kind.overlap for kind in rules.classes), default=0.0)
        for metric in ("image", "ground", "box3d"):
            oriented = metric == "image" and "orientation" in rules.metrics
            if not (metric in rules.metrics or oriented):
                continue
            close, covered = self._overlapping(metric, lowest)
            for kind in rules.classes:
                if self.detected(kind, metric, rules):
                    chosen = close[close.overlap > kind.overlap]
                    inside = covered[covered.overlap > kind.overlap]
                    for level in rules.difficulties:
                        yield Task(metric, kind, level, chosen, inside)

    def _overlapping(self, metric: str, lowest: float) -> tuple[Pairs, Pairs]:
        """Pairs of labels and detections, and of regions and detections, above `lowest`."""
        rows = self._meeting(metric)
        region = self.target_names.is_any((DONT_CARE,))[rows[0]]
        overlap = self._overlap(metric, *rows)
        iou, share = overlap.iou, overlap.over_second
        close, inside = (~region & (iou > lowest)), (region & (share > lowest))
        return (
            Pairs(rows[0][close], rows[1][close], iou[close]),
            Pairs(rows[0][inside], rows[1][inside], share[inside]),
        )

    def _meeting(self, metric: str) -> tuple[Rows, Rows]:
        """Pairs that meet along x; most do not, and this is cheaper than their overlap."""
        target, predicted = all_pairs(self.target_counts, self.predicted_counts)
        if metric == "image":
            (low, high), (low2, high2) = (
                (boxes.xyxy[:, 0].copy(), boxes.xyxy[:, 2].copy())
                for boxes in (self.target, self.predicted)
            )
        else:
            (low, high), (low2, high2) = (solid.span for solid in self.solids)
        meet = np.minimum(high[target], high2[predicted]) > np.maximum(low[target], low2[predicted])
        return target[meet], predicted[meet]

    def mark_targets(
        self, kind: ObjectClass, level: Difficulty, rules: ObjectRules
    ) -> tuple[Mask, Mask]:
        """(G,) labels that have to be found, and labels that absorb a detection."""
        height = self.target_height
        low = height < level.min_height if rules.limit_height_counts else height <= level.min_height
        hard = (self.target.occlusion > level.max_occlusion) | low
        hard |= self.target.truncation > level.max_truncation  # NaN, unknown, is above no limit
        same = self.target_names.is_any((kind.name,))
        return same & ~hard, (same & hard) | self.target_names.is_any(kind.neighbours)

    def mark(self, task: Task, rules: ObjectRules) -> Marks:
        """What counts for one class, difficulty and metric."""
        valid, ignored = self.mark_targets(task.kind, task.level, rules)
        short = np.full(len(self.predicted), rules.short_detections)
        short &= self.predicted_height < task.level.min_height
        counted = self.predicted_names.is_any((task.kind.name,)) & ~short
        covered = np.zeros(len(self.predicted), bool)
        covered[task.covered.predicted] = True
        return Marks(valid, ignored, counted, short, forgivable=counted & covered)

    @cached_property
    def oriented(self) -> bool:
        """Whether every detection has an observation angle."""
        return not bool((_filled(self.predicted.alpha, -10) == -10).any())

    def detected(self, kind: ObjectClass, metric: str, rules: ObjectRules) -> bool:
        """Whether some detection has what the metric needs; otherwise it is not evaluated."""
        own = self.predicted_names.is_any((kind.name,))
        if metric == "image":
            edge = self.predicted.xyxy[:, 0] >= 0 if rules.left_edge else own
            return kind.always or bool((own & edge).any())
        solid = self.solids[1]
        known = (solid.size[:, 1:] > 0).all(1) & (solid.bottom[:, ::2] != -1000).all(1)
        if metric == "box3d":
            known &= (solid.bottom[:, 1] != -1000) & (solid.size[:, 0] > 0)
        return bool((own & known).any())

    @cached_property
    def solids(self) -> tuple[Solid, Solid]:
        """3D boxes of labels and detections, with the format's numbers for unknown ones."""
        return _solid(self.target), _solid(self.predicted)

    def _overlap(self, metric: str, target: Rows, predicted: Rows) -> Overlap:
        if metric == "image":
            return image_overlap(self.target.xyxy[target], self.predicted.xyxy[predicted])
        solids = self.solids[0][target], self.solids[1][predicted]
        return ground_overlap(*solids) if metric == "ground" else solid_overlap(*solids)


@dataclass(frozen=True)
class Task:
    """One class and difficulty in one metric, with the pairs that overlap enough for the class."""

    metric: str  # image, ground, box3d
    kind: ObjectClass
    level: Difficulty
    close: Pairs  # labels and detections; the overlap is intersection over union
    covered: Pairs  # regions and detections; the overlap is over the detection's own size


@dataclass(frozen=True)
class Names:
    """Class names in lower case as codes."""

    codes: Rows  # (N,)
    table: dict[str, int]

    @classmethod
    def of(cls, names: list[str], ignore: Mask | None = None) -> Names:
        """Codes of N names; rows of `ignore` are DontCare."""
        table: dict[str, int] = {DONT_CARE: 0}
        spelled = {n: table.setdefault(n.lower(), len(table)) for n in dict.fromkeys(names)}
        codes = np.array([spelled[name] for name in names], np.int64)
        return cls(codes if ignore is None else np.where(ignore, 0, codes), table)

    def is_any(self, names: tuple[str, ...]) -> Mask:
        """(N,) True for these classes."""
        codes = [self.table[n.lower()] for n in names if n.lower() in self.table]
        return np.isin(self.codes, codes)


def _solid(boxes: Boxes) -> Solid:
    size, bottom = _filled(boxes.dimensions, -1), _filled(boxes.location, -1000)
    return Solid(size, bottom, _filled(boxes.rotation_y, -10))


def _filled(values: Float, unset: float) -> Float:
    return np.where(np.isnan(values), unset, values)
