"""How far an exported file is from the network it was made of: raw answers, then scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from perception.experiments.build import Experiment
from perception.inference.model import Model
from perception.structures import Boxes, ClassesResult, MaskResult, Prediction, ValuesResult

LARGEST = 1e-3  # difference of a probability, and of a box in pixels relative to the image's width
AGREEMENT = 0.999  # share of pixels of one class, and of boxes that both have


@dataclass(frozen=True)
class Difference:
    """Of one task, over all images."""

    largest: float
    mean: float
    agreement: float  # share of pixels with the same class, or of boxes that both have; else 1


def compare(
    model: Model, exported: Model, images: Iterable[np.ndarray[Any, np.dtype[np.uint8]]]
) -> dict[str, Difference]:
    """Differences by task between two models on (H, W, 3) RGB images."""
    found: dict[str, list[Difference]] = {}
    for image in images:
        a, b = model.predict(image), exported.predict(image)
        for task in b.results:
            found.setdefault(task, []).append(_difference(a, b, task))
    return {
        task: Difference(
            max(d.largest for d in rows),
            float(np.mean([d.mean for d in rows])),
            float(np.mean([d.agreement for d in rows])),
        )
        for task, rows in found.items()
    }


def too_far(differences: dict[str, Difference]) -> list[str]:
    """One line for each task beyond what float32 explains."""
    return [
        f"{task}: largest difference {d.largest:.2g}, agreement {d.agreement:.2%}"
        for task, d in differences.items()
        if not (d.largest <= LARGEST and d.agreement >= AGREEMENT)
    ]


def scores(model: Model, experiment: Experiment, limit: int | None) -> dict[str, float]:
    """The headline numbers, by "data set: title"."""
    evaluation = experiment.evaluate_model(model, limit=limit)
    return {f"{s.dataset}: {n}": v for s in evaluation.sets for n, v in s.headline().items()}


def dropped(before: dict[str, float], after: dict[str, float], limit: float) -> list[str]:
    """One line for each score that fell by more than `limit`, in the unit of the scores."""
    return [
        f"{name}: {value:.4g} became {after[name]:.4g}"
        for name, value in before.items()
        if not np.isnan(value) and not after[name] >= value - limit
    ]


def as_values(differences: dict[str, Difference]) -> dict[str, Any]:
    """Plain values."""
    return {task: asdict(difference) for task, difference in differences.items()}


def _difference(a: Prediction, b: Prediction, task: str) -> Difference:
    first, second = a.results[task], b.results[task]
    if isinstance(first, MaskResult) and isinstance(second, MaskResult):
        return _of(first.probability, second.probability)
    if isinstance(first, ValuesResult) and isinstance(second, ValuesResult):
        return _of(first.values, second.values)
    if isinstance(first, ClassesResult) and isinstance(second, ClassesResult):
        assert first.score is not None and second.score is not None
        same = float((first.label.ids == second.label.ids).mean())
        return _of(first.score, second.score, same)
    assert isinstance(first, Boxes) and isinstance(second, Boxes)
    return _of_boxes(first, second, a.size[1])


def _of(a: Any, b: Any, agreement: float = 1.0) -> Difference:
    apart = np.abs(a.astype(np.float64) - b)
    return Difference(float(apart.max()), float(apart.mean()), agreement)


def _of_boxes(a: Boxes, b: Boxes, width: int) -> Difference:
    """Each box with the nearest one of its class; those without a partner do not agree."""
    if not len(a) and not len(b):
        return Difference(0.0, 0.0, 1.0)
    apart = []
    for name in np.unique(a.names):
        left, right = a[a.names == name], b[b.names == name]
        if len(right):
            far = np.abs(left.xyxy[:, None] - right.xyxy[None]).max(2) / width
            far = np.maximum(far, np.abs(left.score[:, None] - right.score[None]))
            apart += far.min(1).tolist()
    paired = np.array([d for d in apart if d <= LARGEST] or [0.0])
    agreement = float(sum(d <= LARGEST for d in apart) / max(len(a), len(b)))
    return Difference(float(paired.max()), float(paired.mean()), agreement)
