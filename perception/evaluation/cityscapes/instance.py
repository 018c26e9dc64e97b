"""Cityscapes instance AP: masks with confidence against labelled instances (README.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.cityscapes.pixel import check_instances
from perception.evaluation.cityscapes.protocol import (
    MIN_INSTANCE_PIXELS,
    OVERLAPS,
    scored_instances,
)
from perception.evaluation.semantic.confusion import nan_mean
from perception.labels import LabelScheme


@dataclass(frozen=True)
class Mask:
    """One predicted instance."""

    label: int  # class id
    score: float
    pixels: NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True)
class Matches:
    """What one class of one image adds, per overlap."""

    asked: int  # labelled instances that count
    predictions: int
    missed: tuple[int, ...]  # (10,)
    true: tuple[tuple[float, ...], ...]  # (10, *) confidence of found instances
    false: tuple[tuple[float, ...], ...]  # (10, *) confidence of wrong predictions


@dataclass(frozen=True)
class InstanceScores:
    """Fractions; NaN for classes without a labelled instance."""

    matrix: Mapping[str, NDArray[np.float64]]  # (10,) AP by overlap
    ap: float
    ap50: float


@dataclass(frozen=True)
class InstanceEvaluator:
    """The matches of every image, by class."""

    scheme: LabelScheme
    records: tuple[Mapping[str, Matches], ...] = ()  # one per image

    def update(
        self, predicted: Sequence[Mask], instances: NDArray[np.integer]
    ) -> InstanceEvaluator:
        """This evaluator plus one image; `instances` (H, W) holds id * 1000 + n, or the id.

        Raises:
            ValueError: a mask has another size or an unknown class, or an id is not Cityscapes'.
        """
        known = {c.id for c in self.scheme.classes}
        for mask in predicted:
            if mask.pixels.shape != instances.shape:
                raise ValueError(f"mask is {mask.pixels.shape}, labels are {instances.shape}")
            if mask.label not in known:
                raise ValueError(f"class id {mask.label} is not in the label table")
            if not math.isfinite(mask.score):
                raise ValueError(f"confidence is {mask.score}")
        record = _match_image(self.scheme, predicted, instances)
        return replace(self, records=(*self.records, record))

    def merge(self, other: InstanceEvaluator) -> InstanceEvaluator:
        """Both parts together."""
        return replace(self, records=self.records + other.records)

    def compute(self) -> InstanceScores:
        """AP of every class at every overlap, and their means over the classes."""
        names = scored_instances(self.scheme).values()
        matrix = {name: _class_ap([r[name] for r in self.records if name in r]) for name in names}
        table = np.array(list(matrix.values()))
        return InstanceScores(matrix, nan_mean(table.mean(1)), nan_mean(table[:, 0]))


# ---------------------------------------------------------------------------- one image


@dataclass(frozen=True)
class _Prediction:
    score: float
    size: int
    shared: Mapping[int, int]  # instance id: common pixels, own class alone
    void: int  # pixels on ignored regions


def _match_image(
    scheme: LabelScheme, predicted: Sequence[Mask], instances: NDArray[np.integer]
) -> dict[str, Matches]:
    """The matches of every scored class that the image has or that was predicted."""
    ids, counts = np.unique(instances, return_counts=True)
    check_instances(scheme, ids)
    sizes = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    ignored = {c.id for c in scheme.classes if c.ignore}
    record = {}
    for label, name in scored_instances(scheme).items():
        own = {i: n for i, n in sizes.items() if (i if i < 1000 else i // 1000) == label}
        found = [
            _intersect(mask, instances, own, ignored)
            for mask in predicted
            if mask.label == label and mask.pixels.any()
        ]
        if own or found:
            record[name] = _match_class(own, found)
    return record


def _intersect(
    mask: Mask, instances: NDArray[np.integer], own: Mapping[int, int], ignored: set[int]
) -> _Prediction:
    ids, counts = np.unique(instances[mask.pixels], return_counts=True)
    under = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    return _Prediction(
        mask.score,
        sum(under.values()),
        {i: n for i, n in under.items() if i in own},
        sum(n for i, n in under.items() if i in ignored),
    )


def _match_class(own: Mapping[int, int], predicted: Sequence[_Prediction]) -> Matches:
    asked = [i for i in sorted(own) if i >= 1000 and own[i] >= MIN_INSTANCE_PIXELS]
    missed, true, false = [], [], []
    for overlap in OVERLAPS.tolist():
        hits, wrong = [], []
        for instance in asked:
            scores = [p.score for p in predicted if _iou(p, instance, own) > overlap]
            if scores:
                best = scores[0]
                for score in scores[1:]:  # a second one on the same object is wrong
                    wrong.append(min(best, score))
                    best = max(best, score)
                hits.append(best)
        for p in predicted:
            if not any(_iou(p, i, own) > overlap for i in own) and _forgivable(p, own) <= overlap:
                wrong.append(p.score)
        missed.append(len(asked) - len(hits))
        true.append(tuple(hits))
        false.append(tuple(wrong))
    return Matches(len(asked), len(predicted), tuple(missed), tuple(true), tuple(false))


def _iou(predicted: _Prediction, instance: int, sizes: Mapping[int, int]) -> float:
    shared = predicted.shared.get(instance, 0)
    return shared / (predicted.size + sizes[instance] - shared)


def _forgivable(predicted: _Prediction, sizes: Mapping[int, int]) -> float:
    """Share of a prediction on void, groups, and instances too small to be asked for.

    A group region that is also small counts twice, as in the benchmark's program.
    """
    groups = sum(n for i, n in predicted.shared.items() if i < 1000)
    small = sum(n for i, n in predicted.shared.items() if sizes[i] < MIN_INSTANCE_PIXELS)
    return (predicted.void + groups + small) / predicted.size


# ---------------------------------------------------------------------------- all images


def _class_ap(matches: Sequence[Matches]) -> NDArray[np.float64]:
    """(10,) AP of one class; NaN where no instance is asked for, 0 where nothing was predicted."""
    if not any(m.asked for m in matches):
        return np.full(len(OVERLAPS), np.nan)
    return np.array(
        [
            _average_precision(
                np.array([s for m in matches for s in m.true[k]]),
                np.array([s for m in matches for s in m.false[k]]),
                sum(m.missed[k] for m in matches),
            )
            for k in range(len(OVERLAPS))
        ]
    )


def _average_precision(true: NDArray[np.float64], false: NDArray[np.float64], missed: int) -> float:
    """Area under precision over recall, by steps centred on each point; 0 without predictions."""
    thresholds = np.unique(np.concatenate([true, false]))
    if not len(thresholds):
        return 0.0
    hits = len(true) - np.searchsorted(np.sort(true), thresholds)
    wrong = len(false) - np.searchsorted(np.sort(false), thresholds)
    precision = np.append(hits / (hits + wrong), 1.0)
    recall = np.append(hits / (len(true) + missed), 0.0)
    around = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ ((around[:-2] - around[2:]) / 2))
