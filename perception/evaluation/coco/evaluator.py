"""COCO's average precision of boxes: ten overlaps, 101 recall points, three sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from perception.errors import PerceptionError
from perception.evaluation.assignment import Mask, Rows, assign
from perception.evaluation.protocol import Protocol
from perception.structures import Boxes, Float

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # the doubles of the original
RECALL_POINTS = np.linspace(0, 1, 101)
SIZES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
)
MOST_DETECTIONS = 100  # per image and class, the best ones
COCO_BBOX = Protocol(
    "coco/bbox",
    1,
    {
        "thresholds": "0.50:0.95",
        "recall_points": 101,
        "most_detections": MOST_DETECTIONS,
        "sizes": {name: list(limits) for name, limits in SIZES.items()},
    },
)


@dataclass(frozen=True)
class CocoScores:
    """AP by class, size and overlap; NaN where a class has no object of the size."""

    classes: tuple[str, ...]
    precision: Mapping[str, Float]  # size: (classes, thresholds), mean over the recall points
    objects: Mapping[str, Rows]  # size: (classes,)

    def ap(
        self, size: str = "all", threshold: float | None = None, name: str | None = None
    ) -> float:
        """Mean over classes (or of one) and thresholds (or at one) that are defined."""
        values = self.precision[size]
        if name is not None:
            values = values[[self.classes.index(name)]]
        if threshold is not None:
            values = values[:, [int(np.abs(THRESHOLDS - threshold).argmin())]]
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else float("nan")


@dataclass(frozen=True)
class CocoRecord:
    """One image: what was there and what was found."""

    key: str
    predicted: Boxes
    target: Boxes


@dataclass(frozen=True)
class CocoEvaluator:
    """The boxes of every image; AP needs them all at once."""

    classes: tuple[str, ...]
    records: tuple[CocoRecord, ...] = field(default=(), repr=False)

    def update(self, key: str, predicted: Boxes, target: Boxes) -> CocoEvaluator:
        """This evaluator plus one image; `target.ignore` marks crowds.

        Raises:
            PerceptionError: a score or corner is not finite (names the image).
        """
        if not (np.isfinite(predicted.score).all() and np.isfinite(predicted.xyxy).all()):
            raise PerceptionError(
                f"image {key}: predicted boxes",
                "NaN or infinite values",
                "finite numbers",
                "Look at the model that made them.",
            )
        return replace(self, records=(*self.records, CocoRecord(key, predicted, target)))

    def merge(self, other: CocoEvaluator) -> CocoEvaluator:
        """Both parts together, in any order and grouping.

        Raises:
            ValueError: the parts have different classes.
        """
        if self.classes != other.classes:
            raise ValueError("evaluators of different classes cannot be merged")
        return replace(self, records=self.records + other.records)

    def compute(self) -> CocoScores:
        """Scores of all images, whatever their order.

        Raises:
            PerceptionError: no image, or two of one key.
        """
        records = sorted(self.records, key=lambda record: record.key)
        if not records:
            raise PerceptionError(COCO_BBOX.name, "no image", "at least one")
        for record, following in pairwise(records):
            if record.key == following.key:
                raise PerceptionError(
                    f"image {record.key}",
                    "the image twice",
                    "every image once",
                    "Score each image once.",
                )
        table = _Table.of(records, self.classes)
        found = {size: table.of_size(limits, len(self.classes)) for size, limits in SIZES.items()}
        return CocoScores(
            self.classes,
            {size: one[0] for size, one in found.items()},
            {size: one[1] for size, one in found.items()},
        )


@dataclass(frozen=True)
class _Table:
    """All boxes of the chosen classes; detections by image, class and falling score."""

    target_kind: Rows  # (G,)
    target_size: Float  # (G,) area
    crowd: Mask  # (G,)
    kind: Rows  # (D,)
    group: Rows  # (D,) image and class as one number, not decreasing
    score: Float  # (D,)
    size: Float  # (D,)
    picker: Rows  # (P,) detection of each pair within an image and class
    choice: Rows  # (P,) label
    overlap: Float  # (P,)

    @classmethod
    def of(cls, records: list[CocoRecord], classes: tuple[str, ...]) -> _Table:
        target, target_group = _grouped([record.target for record in records], classes)
        predicted, group = _grouped([record.predicted for record in records], classes)
        falling = np.lexsort((-predicted.score, group))
        rank = np.arange(len(falling)) - np.searchsorted(group[falling], group[falling])
        falling = falling[rank < MOST_DETECTIONS]
        predicted, group = predicted[falling], group[falling]
        order = np.argsort(target_group, kind="stable")
        target, target_group = target[order], target_group[order]
        start = np.searchsorted(target_group, group, side="left")
        count = np.searchsorted(target_group, group, side="right") - start
        picker = np.repeat(np.arange(len(group)), count)
        begin = np.repeat(np.cumsum(count) - count - start, count)
        choice = np.arange(len(picker)) - begin
        overlap = _overlap(predicted.xyxy[picker], target.xyxy[choice], target.ignore[choice])
        near = overlap >= THRESHOLDS[0]
        number = len(classes)
        return cls(
            target_group % number,
            _area(target.xyxy),
            target.ignore,
            group % number,
            group,
            predicted.score,
            _area(predicted.xyxy),
            picker[near],
            choice[near],
            overlap[near],
        )

    def of_size(self, limits: tuple[float, float], classes: int) -> tuple[Float, Rows]:
        """(classes, thresholds) mean precision and (classes,) objects of one range of sizes."""
        ignored = self.crowd | (self.target_size < limits[0]) | (self.target_size > limits[1])
        matched, excused = self._match(ignored)
        outside = (self.size < limits[0]) | (self.size > limits[1])
        excused |= ~matched & outside[:, None]
        objects = np.bincount(self.target_kind[~ignored], minlength=classes)
        precision = np.full((classes, len(THRESHOLDS)), np.nan)
        order = np.argsort(-self.score, kind="stable")
        for kind in np.flatnonzero(objects):
            own = order[self.kind[order] == kind]
            hit, wrong = matched & ~excused, ~matched & ~excused
            precision[kind] = _mean_precision(hit[own], wrong[own], int(objects[kind]))
        return precision, objects

    def _match(self, ignored: Mask) -> tuple[Mask, Mask]:
        """(D, T) detections that found something, and those whose find does not count."""
        # Labels that count come first; of equal overlaps the last one in the file is taken.
        best = np.lexsort((-self.choice, -self.overlap, ignored[self.choice], self.picker))
        picker, choice = self.picker[best], self.choice[best]
        left_out = self.overlap[best, None] < THRESHOLDS
        taken = assign(picker, choice, self.group, left_out, self.crowd[choice])
        shape = (len(self.score), len(THRESHOLDS))
        matched, excused = np.zeros(shape, bool), np.zeros(shape, bool)
        rows, columns = np.nonzero(taken)
        matched[picker[rows], columns] = True
        excused[picker[rows], columns] = ignored[choice[rows]]
        return matched, excused


def _grouped(parts: list[Boxes], classes: tuple[str, ...]) -> tuple[Boxes, Rows]:
    """All boxes of the classes, and image and class of each as one number."""
    boxes = Boxes.concatenate(parts)
    code = {name: i for i, name in enumerate(classes)}
    kind = np.array([code.get(name, -1) for name in boxes.names.tolist()], np.int64)
    image = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    chosen = kind >= 0
    return boxes[chosen], (image * len(classes) + kind)[chosen]


def _mean_precision(hit: Mask, wrong: Mask, objects: int) -> Float:
    """(T,) mean over 101 recall points of the best precision there or beyond; (D, T) outcomes."""
    tp, fp = np.cumsum(hit, axis=0), np.cumsum(wrong, axis=0)
    precision = tp / (tp + fp + np.spacing(1))
    beyond = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    beyond = np.vstack([beyond, np.zeros(beyond.shape[1])])
    points = [np.searchsorted(column, RECALL_POINTS, side="left") for column in (tp / objects).T]
    return np.array([beyond[at, t].mean() for t, at in enumerate(points)])


def _overlap(found: Float, label: Float, crowd: Mask) -> Float:
    """(P,) intersection over union, over the detection's own area where the label is a crowd."""
    low, high = np.maximum(found[:, :2], label[:, :2]), np.minimum(found[:, 2:], label[:, 2:])
    shared = (high - low).clip(min=0).prod(1)
    union = np.where(crowd, _area(found), _area(found) + _area(label) - shared)
    result: Float = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return result


def _area(xyxy: Float) -> Float:
    return (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
