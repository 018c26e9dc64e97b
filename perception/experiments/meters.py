"""What measures each kind of task, by the benchmarks' own evaluators: one meter per kind.

A meter collects (prediction, label) pairs; `metrics` are flat numbers by name, `headline` the ones
that people quote, by their title.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.evaluation.kitti_object import KittiObjectEvaluator
from perception.evaluation.kitti_road import PERSPECTIVE, RoadEvaluator, quantize
from perception.evaluation.kitti_road.protocol import URBAN
from perception.evaluation.protocol import Protocol
from perception.evaluation.semantic import PIXEL as SEMANTIC
from perception.evaluation.semantic import Confusion
from perception.evaluation.values import VALUES, ValueErrors
from perception.labels import LabelScheme
from perception.ops import box_iou
from perception.structures import Boxes
from perception.tasks import Kind, Task

HALF = 128  # the first of the thresholds k/255 that is not below 0.5
ROAD_CATEGORIES = ("um", "umm", "uu")


class Meter(ABC):
    """Scores of one task on one data set.

    Args:
        task: what is measured.
        scheme: label scheme of a task of the kind CLASSES.
        classes: box classes that are scored.
    """

    protocol: Protocol
    note: str  # what `frame_score` is

    def __init__(self, task: Task, scheme: LabelScheme | None, classes: Sequence[str]) -> None:
        self.task, self.scheme, self.classes = task, scheme, tuple(classes)

    @abstractmethod
    def update(self, key: str, result: Any, label: Any) -> None:
        """Takes in one frame: a result and a label of the task's kind."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Flat numbers by name; NaN where nothing was labelled."""

    @abstractmethod
    def headline(self) -> dict[str, float]:
        """The numbers that people quote, by their title."""

    @abstractmethod
    def frame_score(self, result: Any, label: Any) -> float:
        """One number for ranking frames, higher is better (not a benchmark's score)."""


class MaskMeter(Meter):
    """MaxF1 and AP of KITTI road, in perspective."""

    note = "F1 at 0.5"

    def __init__(self, task: Task, scheme: LabelScheme | None, classes: Sequence[str]) -> None:
        super().__init__(task, scheme, classes)
        self.evaluator = RoadEvaluator(PERSPECTIVE)
        self.protocol = self.evaluator.protocol

    def update(self, key: str, result: Any, label: Any) -> None:
        """A `MaskResult` and a label with `mask` and `valid`."""
        confidence = quantize(np.clip(result.probability, 0, 1))
        category = _category(key, self.task.name)
        self.evaluator = self.evaluator.update(category, confidence, label.mask, label.valid)

    def metrics(self) -> dict[str, float]:
        """MaxF1, AP, PRE, REC of the urban categories together (of all frames elsewhere)."""
        scores = self.evaluator.compute()
        if not scores:
            return {}
        main = scores.get(URBAN) or next(iter(scores.values()))
        return {
            "max_f1": main.max_f1,
            "ap": main.ap,
            "precision": main.precision,
            "recall": main.recall,
            "best_threshold": main.best_threshold,
            "f1_at_half": float(main.curve.f1[HALF]),
        }

    def headline(self) -> dict[str, float]:
        """MaxF1, at the best threshold of these frames, and F1 at 0.5, which knows none of them."""
        titles = {"max_f1": "MaxF1", "f1_at_half": "F1 at 0.5"}
        found = self.metrics()
        return {f"{self.task.name} {titles[n]}": found[n] for n in titles if n in found}

    def frame_score(self, result: Any, label: Any) -> float:
        """F1 at 0.5."""
        predicted, mask, valid = result.probability >= 0.5, label.mask, label.valid
        hit = int((predicted & mask & valid).sum())
        total = int((predicted & valid).sum() + (mask & valid).sum())
        return 2 * hit / total if total else float("nan")


class BoxesMeter(Meter):
    """AP (R40) of KITTI object, per class and difficulty."""

    note = "F1 at overlap 0.5"

    def __init__(self, task: Task, scheme: LabelScheme | None, classes: Sequence[str]) -> None:
        super().__init__(task, scheme, classes)
        self.evaluator = KittiObjectEvaluator(classes=self.classes, metrics=("image",))
        self.protocol = self.evaluator.rules.protocol

    def update(self, key: str, result: Boxes, label: Boxes) -> None:
        """Predicted and labelled boxes."""
        self.evaluator = self.evaluator.update(key, result, label)

    def metrics(self) -> dict[str, float]:
        """AP per class and difficulty, with the number of objects beside each."""
        scores = self.evaluator.compute()
        values: dict[str, float] = {}
        for kind in scores.rules.classes:
            for level in scores.rules.difficulties:
                name = f"{kind.name}/{level.name}"
                values[f"{name}/ap"] = scores.ap(kind.name, level.name)
                values[f"{name}/objects"] = float(scores.objects[kind.name, level.name])
        return values

    def headline(self) -> dict[str, float]:
        """AP of the moderate objects of each class."""
        end = "/moderate/ap"
        own = "" if self.task.name == "boxes" else f"{self.task.name}: "
        return {
            f"{own}{name.removesuffix(end)} AP, moderate": value
            for name, value in self.metrics().items()
            if name.endswith(end)
        }

    def frame_score(self, result: Boxes, label: Boxes) -> float:
        """F1 of confident boxes at overlap 0.5."""
        return boxes_f1(result, label, self.classes)


class ClassesMeter(Meter):
    """Mean IoU over the pixels of all frames."""

    protocol = SEMANTIC
    note = "mean IoU"

    def __init__(self, task: Task, scheme: LabelScheme | None, classes: Sequence[str]) -> None:
        super().__init__(task, scheme, classes)
        assert scheme is not None
        self.names = scheme.names
        self.confusion = Confusion.zero(len(self.names))

    def update(self, key: str, result: Any, label: Any) -> None:  # noqa: ARG002
        """A `ClassesResult` and a `SemanticLabel` of one scheme."""
        self.confusion = self.confusion.update(result.label.train_ids, label.train_ids)

    def metrics(self) -> dict[str, float]:
        """Mean IoU, pixel accuracy and the IoU of every class."""
        scores = self.confusion.compute()
        return {
            "mean_iou": scores.mean_iou,
            "pixel_accuracy": scores.pixel_accuracy,
            **{f"iou/{n}": float(v) for n, v in zip(self.names, scores.iou, strict=True)},
        }

    def headline(self) -> dict[str, float]:
        """Mean IoU."""
        own = "" if self.task.name == "semantic" else f"{self.task.name} "
        return {f"{own}mean IoU": self.confusion.compute().mean_iou}

    def frame_score(self, result: Any, label: Any) -> float:
        """Mean IoU of the frame."""
        one = Confusion.zero(len(self.names))
        return one.update(result.label.train_ids, label.train_ids).compute().mean_iou


class ValuesMeter(Meter):
    """Errors of numbers per pixel, as depth is measured."""

    protocol = VALUES
    note = "share of pixels within a factor of 1.25"

    def __init__(self, task: Task, scheme: LabelScheme | None, classes: Sequence[str]) -> None:
        super().__init__(task, scheme, classes)
        self.errors = ValueErrors()

    def update(self, key: str, result: Any, label: Any) -> None:
        """A `ValuesResult` and a `ValuesLabel`.

        Raises:
            PerceptionError: the prediction has no finite number where the label has one.
        """
        try:
            self.errors = self.errors.update(result.values, label.values)
        except ValueError as error:
            where = f"frame {key}: {self.task.name}"
            raise PerceptionError(where, str(error), "a number for every labelled pixel") from error

    def metrics(self) -> dict[str, float]:
        """Mean absolute error, AbsRel, RMSE and delta < 1.25 over all known pixels."""
        return self.errors.compute()

    def headline(self) -> dict[str, float]:
        """The share of pixels within a factor of 1.25."""
        return {f"{self.task.name} δ < 1.25": self.errors.compute()["delta_1.25"]}

    def frame_score(self, result: Any, label: Any) -> float:
        """delta < 1.25 of the frame."""
        return ValueErrors().update(result.values, label.values).compute()["delta_1.25"]


METERS: dict[Kind, type[Meter]] = {  # in the order in which numbers are told
    Kind.MASK: MaskMeter,
    Kind.BOXES: BoxesMeter,
    Kind.CLASSES: ClassesMeter,
    Kind.VALUES: ValuesMeter,
}


def boxes_f1(
    predicted: Boxes,
    target: Boxes,
    classes: Sequence[str],
    *,
    score: float = 0.4,
    overlap: float = 0.5,
) -> float:
    """F1 of confident boxes of `classes`, matched greedily; NaN where there is nothing."""
    predicted, target = (b.replace(names=np.char.lower(b.names)) for b in (predicted, target))
    shown = predicted[predicted.score >= score]
    shown = shown[np.argsort(-shown.score, kind="stable")]
    wanted = target[~target.ignore & np.isin(target.names, np.char.lower(classes))]
    free = np.ones(len(wanted), bool)
    hits = 0
    overlaps = box_iou(torch.from_numpy(shown.xyxy), torch.from_numpy(wanted.xyxy)).numpy()
    for row, name in zip(overlaps, shown.names, strict=True):
        iou: NDArray[Any] = row * free * (wanted.names == name)
        if len(iou) and iou.max() >= overlap:
            free[iou.argmax()] = False
            hits += 1
    total = len(shown) + len(wanted)
    return 2 * hits / total if total else float("nan")


def _category(key: str, task: str) -> str:
    """KITTI road's category of a frame: um_road, um_lane, ...; the task's name elsewhere."""
    prefix = key.split("_")[0]
    return f"{prefix}_{task}" if prefix in ROAD_CATEGORIES else task
