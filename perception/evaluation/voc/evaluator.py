"""Average precision of boxes by the rules of Pascal VOC, at one overlap threshold or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.evaluation.protocol import Protocol
from perception.evaluation.verdict import Verdict
from perception.evaluation.voc.curves import Curve, make_curve
from perception.evaluation.voc.overlap import Rows, best_objects
from perception.evaluation.voc.protocol import VocRules, as_text
from perception.structures import Boxes, Float

FIRST_PIXEL = np.array([1.0, 1.0, 0.0, 0.0])  # continuous corners to 1-based inclusive ones


@dataclass(frozen=True)
class VocScores:
    """Curves by class and overlap threshold."""

    curves: Mapping[tuple[str, float], Curve]

    def ap(self, name: str) -> float:
        """Mean over the thresholds; NaN for a class without objects."""
        return float(
            np.mean([curve.ap for (kind, _), curve in self.curves.items() if kind == name])
        )

    def mean_ap(self, threshold: float | None = None) -> float:
        """Mean over the classes that have objects, at one threshold or over all; NaN if none."""
        aps = [
            curve.ap
            for (_, at), curve in self.curves.items()
            if threshold in (None, at) and not np.isnan(curve.ap)
        ]
        return float(np.mean(aps)) if aps else float("nan")


@dataclass(frozen=True)
class VocRecord:
    """One image: objects and detections with 1-based inclusive corners."""

    key: str
    target_names: tuple[str, ...]
    target_corners: Float  # (G, 4)
    difficult: NDArray[np.bool_]  # (G,) neither right nor wrong
    names: tuple[str, ...]
    score: Float  # (D,)
    corners: Float  # (D, 4)
    order: Rows  # (D,) of equal scores the lower number comes first


@dataclass(frozen=True)
class VocEvaluator:
    """The boxes of every image; AP needs them all at once."""

    rules: VocRules
    classes: tuple[str, ...]
    records: tuple[VocRecord, ...] = field(default=(), repr=False)

    @property
    def protocol(self) -> Protocol:
        """The definition that is written beside scores."""
        return self.rules.protocol(self.classes)

    def update(self, key: str, predicted: Boxes, target: Boxes) -> VocEvaluator:
        """This evaluator plus one image; `target.ignore` marks difficult objects.

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
        corners, score = predicted.xyxy + FIRST_PIXEL, predicted.score
        if self.rules.rounded:
            corners, score = as_text(predicted.xyxy, score)
        return self.add(
            VocRecord(
                key,
                tuple(target.names.tolist()),
                target.xyxy + FIRST_PIXEL,
                target.ignore,
                tuple(predicted.names.tolist()),
                score,
                corners,
                np.zeros(len(score), np.int64),
            )
        )

    def add(self, *records: VocRecord) -> VocEvaluator:
        """This evaluator plus some images."""
        return replace(self, records=(*self.records, *records))

    def merge(self, other: VocEvaluator) -> VocEvaluator:
        """Both parts together, in any order and grouping.

        Raises:
            ValueError: the parts were measured by different rules.
        """
        if replace(self, records=()) != replace(other, records=()):
            raise ValueError("evaluators of different rules cannot be merged")
        return self.add(*other.records)

    def compute(self) -> VocScores:
        """Scores of all images, whatever their order.

        Raises:
            PerceptionError: no image, or two of one key.
        """
        return self.matched().scores(np.ones(len(self.records), np.int64))

    def matched(self) -> Matched:
        """Every detection with the object it lies on; images in order of their keys."""
        records = sorted(self.records, key=lambda record: record.key)
        if not records:
            raise PerceptionError(
                self.protocol.name, "no image", "at least one", "Check the list of images."
            )
        for record, following in pairwise(records):
            if record.key == following.key:
                raise PerceptionError(
                    f"image {record.key}",
                    "the image twice",
                    "every image once",
                    "Score each image once.",
                )
        return Matched.of(records, self.classes, self.rules)


@dataclass(frozen=True)
class Matched:
    """All detections of the chosen classes by falling score, with the object they lie on."""

    classes: tuple[str, ...]
    rules: VocRules
    target_image: Rows  # (G,)
    target_kind: Rows  # (G,) index into `classes`, -1: another class
    difficult: NDArray[np.bool_]  # (G,)
    image: Rows  # (D,)
    kind: Rows  # (D,)
    score: Float  # (D,) falling
    corners: Float  # (D, 4)
    target: Rows  # (D,) object with the largest overlap, -1: none of the class in the image
    overlap: Float  # (D,)

    @classmethod
    def of(cls, records: Sequence[VocRecord], classes: tuple[str, ...], rules: VocRules) -> Matched:
        """From the records of all images."""
        code = {name: i for i, name in enumerate(classes)}
        target_kind = _codes([n for r in records for n in r.target_names], code)
        kind = _codes([n for r in records for n in r.names], code)
        numbers = np.arange(len(records))
        target_image = np.repeat(numbers, [len(r.target_names) for r in records])
        image = np.repeat(numbers, [len(r.names) for r in records])
        score, corners, order = (
            np.concatenate([getattr(r, name) for r in records])
            for name in ("score", "corners", "order")
        )
        falling = np.lexsort((order, -score))
        falling = falling[kind[falling] >= 0]
        image, kind, corners = image[falling], kind[falling], corners[falling]
        best, overlap = best_objects(
            corners,
            image * len(classes) + kind,
            np.concatenate([r.target_corners for r in records]),
            np.where(target_kind < 0, -1, target_image * len(classes) + target_kind),
        )
        return cls(
            classes,
            rules,
            target_image,
            target_kind,
            np.concatenate([r.difficult for r in records]),
            image,
            kind,
            score[falling],
            corners,
            best,
            overlap,
        )

    def outcome(self, threshold: float) -> Rows:
        """(D,) 1 right, -1 wrong, 0 on a difficult object; each object is found once."""
        hit = np.flatnonzero(self.overlap > threshold)
        outcome = np.full(len(self.overlap), -1, np.int64)
        objects = self.target[hit]
        _, first = np.unique(objects, return_index=True)
        outcome[hit[first]] = 1
        outcome[hit[self.difficult[objects]]] = 0
        return outcome

    @cached_property
    def outcomes(self) -> dict[float, Rows]:
        """`outcome` at every threshold."""
        return {threshold: self.outcome(threshold) for threshold in self.rules.thresholds}

    def best_score(self, kind: int, objects: int) -> float:
        """The score with the best F1 of a class at the first threshold; infinite if none hits."""
        own = np.flatnonzero(self.kind == kind)
        outcome = self.outcomes[self.rules.thresholds[0]][own]
        hits, counted = np.cumsum(outcome > 0), np.cumsum(outcome != 0)
        last = np.append(np.diff(self.score[own]) != 0, True)[: len(own)]  # of equal scores
        f1 = np.where(last, hits / np.maximum(objects + counted, 1), 0)
        return float(self.score[own[f1.argmax()]]) if f1.any() else np.inf

    def verdicts(self) -> tuple[Rows, Rows]:
        """`Verdict` of each object and detection, each class at the score with its best F1."""
        outcome = self.outcomes[self.rules.thresholds[0]]
        target = np.full(len(self.target_kind), int(Verdict.NEUTRAL))
        predicted = np.choose(outcome + 1, [Verdict.WRONG, Verdict.NEUTRAL, Verdict.RIGHT])
        for kind in range(len(self.classes)):
            wanted = (self.target_kind == kind) & ~self.difficult
            limit = self.best_score(kind, int(np.count_nonzero(wanted)))
            own = self.kind == kind
            predicted[own & (self.score < limit)] = Verdict.LEFT_OUT
            target[wanted] = Verdict.MISSED
            target[self.target[own & (predicted == Verdict.RIGHT)]] = Verdict.RIGHT
        return target, predicted

    def scores(self, weights: Rows) -> VocScores:
        """Scores when image i counts `weights[i]` times."""
        curves = {}
        for number, name in enumerate(self.classes):
            own = self.kind == number
            found = (self.target_kind == number) & ~self.difficult
            objects = int(weights[self.target_image[found]].sum())
            times = weights[self.image[own]]
            for threshold, outcome in self.outcomes.items():
                curves[name, threshold] = make_curve(outcome[own], objects, times, self.rules.rule)
        return VocScores(curves)


def _codes(names: list[str], code: Mapping[str, int]) -> Rows:
    return np.array([code.get(name, -1) for name in names], np.int64)
