"""Evaluating a model on labelled frames, by the benchmarks' own evaluators, in original pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from perception.evaluation.kitti_object import KittiObjectEvaluator
from perception.evaluation.kitti_road import PERSPECTIVE, RoadEvaluator, quantize
from perception.evaluation.kitti_road.protocol import URBAN
from perception.evaluation.protocol import Protocol
from perception.evaluation.semantic import PIXEL as SEMANTIC
from perception.evaluation.semantic import Confusion, SegmentationScores
from perception.inference.model import Model, Timing
from perception.labels import LabelScheme
from perception.ops import box_iou
from perception.structures import Boxes, Frame, Prediction

_PARTS = ("pre", "network", "post")
ROAD_CATEGORIES = ("um", "umm", "uu")


@dataclass(frozen=True)
class FrameScore:
    """One frame's own score per task: F1 at 0.5 (road), mean IoU (semantic), F1 of boxes."""

    key: str
    scores: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Mean over the tasks that have a score; NaN without any."""
        known = [v for v in self.scores.values() if not np.isnan(v)]
        return float(np.mean(known)) if known else float("nan")


@dataclass(frozen=True)
class SetEvaluation:
    """What one validation set says about a model."""

    dataset: str
    frames: tuple[FrameScore, ...]
    timing: tuple[Timing, ...]
    road: RoadEvaluator | None = None
    semantic: Confusion | None = None
    boxes: KittiObjectEvaluator | None = None
    scheme: LabelScheme | None = None

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """By what each task was measured."""
        road = (self.road.protocol,) if self.road else ()
        boxes = (self.boxes.rules.protocol,) if self.boxes else ()
        return (*road, *boxes, *((SEMANTIC,) if self.semantic else ()))

    @property
    def mean_timing(self) -> Timing:
        """Mean over the frames; the first one, which warms up, is left out where there are more."""
        kept = self.timing[1:] or self.timing
        return Timing(*(float(np.mean([getattr(t, n) for t in kept] or [0.0])) for n in _PARTS))

    def headline(self) -> dict[str, float]:
        """The numbers that people quote."""
        wanted = {"road/max_f1": "road MaxF1", "semantic/mean_iou": "mean IoU"}
        found = {title: v for name, v in self.metrics().items() if (title := wanted.get(name))}
        for name, value in self.metrics().items():
            task, *rest = name.split("/")
            if task == "boxes" and rest[1:] == ["moderate", "ap"]:
                found[f"{rest[0]} AP, moderate"] = value
        return found

    def metrics(self) -> dict[str, float]:
        """Flat numbers by "task/metric"; NaN where nothing was labelled."""
        return {
            **(road_metrics(self.road) if self.road else {}),
            **(semantic_metrics(self.semantic, self.scheme) if self.semantic else {}),
            **(boxes_metrics(self.boxes) if self.boxes else {}),
        }


@dataclass(frozen=True)
class Evaluation:
    """Every validation set of a run."""

    sets: tuple[SetEvaluation, ...] = field(default_factory=tuple)

    def metrics(self) -> dict[str, float]:
        """Flat numbers by "data set/task/metric"."""
        return {f"{s.dataset}/{name}": v for s in self.sets for name, v in s.metrics().items()}


def evaluate_set(
    model: Model,
    dataset: str,
    frames: Iterable[Frame],
    tasks: Sequence[str],
    *,
    box_classes: Sequence[str] = (),
    tick: Callable[[], None] = lambda: None,
) -> SetEvaluation:
    """Predicts every frame at batch size 1 and updates the evaluators of `tasks`.

    Args:
        model: what is evaluated; only the heads of `tasks` run.
        dataset: name in the results.
        frames: labelled frames, read one after the other.
        tasks: any of road, boxes, semantic.
        box_classes: classes of the box evaluator.
        tick: called after each frame (a progress bar).
    """
    road = RoadEvaluator(PERSPECTIVE) if "road" in tasks else None
    scheme = model.scheme if "semantic" in tasks else None
    semantic = Confusion.zero(len(scheme.names)) if scheme else None
    boxes = (
        KittiObjectEvaluator(classes=tuple(box_classes), metrics=("image",))
        if "boxes" in tasks
        else None
    )
    scores, timing = [], []
    for frame in frames:
        prediction = model.predict(frame.image, key=frame.key, tasks=tasks)
        timing.append(model.timing)
        if road and frame.road and prediction.road is not None:
            confidence = quantize(np.clip(prediction.road, 0, 1))
            road = road.update(_category(frame.key), confidence, frame.road.road, frame.road.valid)
        if semantic and frame.semantic and prediction.semantic:
            semantic = semantic.update(prediction.semantic.train_ids, frame.semantic.train_ids)
        if boxes and frame.boxes is not None and prediction.boxes is not None:
            boxes = boxes.update(frame.key, prediction.boxes, frame.boxes)
        scores.append(FrameScore(frame.key, frame_scores(frame, prediction, scheme, box_classes)))
        tick()
    return SetEvaluation(dataset, tuple(scores), tuple(timing), road, semantic, boxes, scheme)


# ---------------------------------------------------------------------------- numbers


def road_metrics(evaluator: RoadEvaluator) -> dict[str, float]:
    """MaxF1, AP, PRE, REC of the urban categories together (of all frames elsewhere)."""
    scores = evaluator.compute()
    if not scores:
        return {}
    main = scores.get(URBAN) or next(iter(scores.values()))
    return {
        "road/max_f1": main.max_f1,
        "road/ap": main.ap,
        "road/precision": main.precision,
        "road/recall": main.recall,
        "road/best_threshold": main.best_threshold,
    }


def semantic_metrics(confusion: Confusion, scheme: LabelScheme | None) -> dict[str, float]:
    """Mean IoU, pixel accuracy and the IoU of every class."""
    scores: SegmentationScores = confusion.compute()
    names = scheme.names if scheme else tuple(map(str, range(len(scores.iou))))
    return {
        "semantic/mean_iou": scores.mean_iou,
        "semantic/pixel_accuracy": scores.pixel_accuracy,
        **{f"semantic/iou/{name}": float(v) for name, v in zip(names, scores.iou, strict=True)},
    }


def boxes_metrics(evaluator: KittiObjectEvaluator) -> dict[str, float]:
    """AP (R40) per class and difficulty, with the number of objects beside each."""
    scores = evaluator.compute()
    values: dict[str, float] = {}
    for kind in scores.rules.classes:
        for level in scores.rules.difficulties:
            name = f"boxes/{kind.name}/{level.name}"
            values[f"{name}/ap"] = scores.ap(kind.name, level.name)
            values[f"{name}/objects"] = float(scores.objects[kind.name, level.name])
    return values


def frame_scores(
    frame: Frame,
    prediction: Prediction,
    scheme: LabelScheme | None,
    box_classes: Sequence[str] = (),
) -> dict[str, float]:
    """One number per task for ranking frames (not a benchmark's score)."""
    scores: dict[str, float] = {}
    if frame.road and prediction.road is not None:
        scores["road"] = _f1(prediction.road >= 0.5, frame.road.road, frame.road.valid)
    if scheme and frame.semantic and prediction.semantic:
        one = Confusion.zero(len(scheme.names))
        one = one.update(prediction.semantic.train_ids, frame.semantic.train_ids)
        scores["semantic"] = one.compute().mean_iou
    if frame.boxes is not None and prediction.boxes is not None:
        scores["boxes"] = boxes_f1(prediction.boxes, frame.boxes, box_classes)
    return scores


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
        iou = row * free * (wanted.names == name)
        if len(iou) and iou.max() >= overlap:
            free[iou.argmax()] = False
            hits += 1
    total = len(shown) + len(wanted)
    return 2 * hits / total if total else float("nan")


# ---------------------------------------------------------------------------- helpers


def _category(key: str) -> str:
    prefix = key.split("_")[0]
    return f"{prefix}_road" if prefix in ROAD_CATEGORIES else "road"


def _f1(predicted: Any, target: Any, valid: Any) -> float:
    hit = int((predicted & target & valid).sum())
    total = int((predicted & valid).sum() + (target & valid).sum())
    return 2 * hit / total if total else float("nan")
