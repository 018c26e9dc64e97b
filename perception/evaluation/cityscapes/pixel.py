"""Cityscapes pixel scores: IoU of classes and categories, and their instance-weighted iIoU.

Everything is counted in label *ids* (0..33). The definition is in README.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.cityscapes.protocol import AVERAGE_SIZE, CLASSES
from perception.evaluation.semantic.confusion import check_ids, class_iou, nan_mean
from perception.evaluation.semantic.runs import pair_codes, run_lengths, run_starts, tally
from perception.labels import LabelScheme

_MAX_INSTANCE = 1 << 16


@dataclass(frozen=True)
class PixelScores:
    """Fractions by name; NaN where undefined."""

    class_iou: Mapping[str, float]
    class_iiou: Mapping[str, float]
    category_iou: Mapping[str, float]
    category_iiou: Mapping[str, float]

    @property
    def means(self) -> dict[str, float]:
        """Mean of each over the entries that are not NaN."""
        return {
            f"mean_{name}": nan_mean(np.array(list(values.values())))
            for name, values in vars(self).items()
        }


@dataclass(frozen=True)
class PixelEvaluator:
    """Pooled confusion of label ids, and one row per labelled instance."""

    scheme: LabelScheme
    table: NDArray[np.int64]  # (34, 34) pixels by labelled and predicted id
    instances: NDArray[np.int64]  # (n, 4) class id, pixels, hit as class, hit as category
    images: int = 0

    @classmethod
    def zero(cls, scheme: LabelScheme) -> PixelEvaluator:
        """No image yet; `scheme` is that of Cityscapes or one with the same ids."""
        return cls(scheme, np.zeros((CLASSES, CLASSES), np.int64), np.zeros((0, 4), np.int64))

    def update(
        self,
        predicted: NDArray[np.uint8],
        target: NDArray[np.uint8],
        instances: NDArray[np.uint16] | None = None,
    ) -> PixelEvaluator:
        """This evaluator plus one image, all (H, W): predicted and labelled ids, and (for iIoU)
        the instance image, id * 1000 + n where a pixel belongs to an instance.

        Raises:
            ValueError: sizes differ, an id is above 33, or the instance image does not fit.
        """
        for name, other in (("predicted", predicted), ("instances", instances)):
            if other is not None and other.shape != target.shape:
                raise ValueError(f"{name} is {other.shape}, target is {target.shape}")
        codes = pair_codes(target, predicted)
        flat = None if instances is None else instances.ravel()
        starts = run_starts(codes) if flat is None else run_starts(codes, flat)
        lengths = run_lengths(starts, len(codes))
        codes = codes[starts]
        table = tally(codes, lengths, 1 << 16).reshape(256, 256)
        check_ids("predicted", table.sum(0), CLASSES)
        check_ids("target", table.sum(1), CLASSES)
        rows = (
            np.zeros((0, 4), np.int64)
            if flat is None
            else _instance_rows(self.scheme, flat[starts], codes, lengths)
        )
        return replace(
            self,
            table=self.table + table[:CLASSES, :CLASSES],
            instances=np.concatenate([self.instances, rows]),
            images=self.images + 1,
        )

    def merge(self, other: PixelEvaluator) -> PixelEvaluator:
        """Both parts together, in any order and grouping."""
        return replace(
            self,
            table=self.table + other.table,
            images=self.images + other.images,
            instances=np.concatenate([self.instances, other.instances]),
        )

    def compute(self) -> PixelScores:
        """The scores; without instance images iIoU has no hits (0 or NaN)."""
        rows = [c for c in self.scheme.classes if 0 <= c.id < CLASSES]
        kept = np.ones(CLASSES, bool)
        for c in rows:
            kept[c.id] = not c.ignore
        iou = class_iou(self.table, ~kept)
        hits, misses = self._weighted(column=2)
        class_iiou = {
            c.name: self._ratio(hits[c.id], misses[c.id], self._wrong([c.id], kept, [c.id]))
            if c.has_instances and not c.ignore
            else math.nan
            for c in rows
        }
        hits, misses = self._weighted(column=3)
        category_iou, category_iiou = {}, {}
        for name in dict.fromkeys(c.category for c in rows):
            members = [c for c in rows if c.category == name]
            ids = [c.id for c in members]
            category_iou[name] = self._category_iou(ids, kept)
            category_iiou[name] = math.nan
            if all(c.has_instances for c in members):
                category_iiou[name] = self._ratio(
                    math.fsum(hits[i] for i in ids),
                    math.fsum(misses[i] for i in ids),
                    self._wrong(ids, kept, ids),
                )
        return PixelScores(
            {c.name: float(iou[c.id]) for c in rows}, class_iiou, category_iou, category_iiou
        )

    def _category_iou(self, ids: list[int], kept: NDArray[np.bool_]) -> float:
        scored = [i for i in ids if kept[i]]
        if not scored:
            return math.nan
        hit = int(self.table[np.ix_(scored, scored)].sum())
        return self._ratio(hit, int(self.table[scored].sum()) - hit, self._wrong(scored, kept, ids))

    def _wrong(self, columns: list[int], kept: NDArray[np.bool_], own: list[int]) -> int:
        """Pixels predicted as one of `columns` whose true class is scored and not among `own`."""
        rows = kept.copy()
        rows[own] = False
        return int(self.table[rows][:, columns].sum())

    def _weighted(self, column: int) -> tuple[list[float], list[float]]:
        """Weighted hit and missed pixels by class id; exact sums, so order does not matter."""
        hits, misses = [0.0] * CLASSES, [0.0] * CLASSES
        average = {
            self.scheme.by_name[n].id: size
            for n, size in AVERAGE_SIZE.items()
            if n in self.scheme.by_name
        }
        for label in np.unique(self.instances[:, 0]).tolist():
            rows = self.instances[self.instances[:, 0] == label]
            weight = average[label] / rows[:, 1]
            hits[label] = math.fsum(weight * rows[:, column])
            misses[label] = math.fsum(weight * (rows[:, 1] - rows[:, column]))
        return hits, misses

    @staticmethod
    def _ratio(hit: float, missed: float, wrong: int) -> float:
        whole = hit + wrong + missed
        return hit / whole if whole else math.nan


def check_instances(
    scheme: LabelScheme, found: NDArray[np.integer], labels: NDArray[np.integer] | None = None
) -> None:
    """Raises ValueError unless every instance id is a class id below 1000, or class id * 1000 + n
    of a class with instances, and (where given) agrees with the label id of the same pixels.
    """
    ids = found.astype(np.int64)
    classes = np.where(ids < 1000, ids, ids // 1000)
    countable = np.zeros(_MAX_INSTANCE, bool)
    countable[[c.id for c in scheme.classes if c.has_instances and c.id >= 0]] = True
    odd = (classes >= CLASSES) | ((ids >= 1000) & ~countable[classes])
    if odd.any():
        raise ValueError(
            f"instance id {ids[odd][0]} is no class id and no class id * 1000 + n. KITTI stores "
            "id * 256 + n: convert it to Cityscapes' form first"
        )
    if labels is not None and (classes != labels).any():
        at = np.flatnonzero(classes != labels)[0]
        raise ValueError(
            f"instance id {ids[at]} is on pixels labelled {labels[at]}: the two images do not "
            "belong together"
        )


def _instance_rows(
    scheme: LabelScheme,
    instances: NDArray[np.integer],
    codes: NDArray[np.uint16],
    lengths: NDArray[np.int64],
) -> NDArray[np.int64]:
    """(n, 4) rows of the image's instances, from runs of equal (label, prediction, instance)."""
    check_instances(scheme, instances, codes >> 8)
    chosen = instances > 1000
    ids, predicted = instances[chosen].astype(np.int64), (codes[chosen] & 255).astype(np.int64)
    pixels = lengths[chosen]
    category = np.zeros(256, np.int64)
    names = {name: i for i, name in enumerate(dict.fromkeys(c.category for c in scheme.classes))}
    for c in scheme.classes:
        if 0 <= c.id < CLASSES:
            category[c.id] = names[c.category]
    true = ids // 1000
    size = tally(ids, pixels, _MAX_INSTANCE)
    as_class = tally(ids, pixels * (predicted == true), _MAX_INSTANCE)
    as_category = tally(ids, pixels * (category[predicted] == category[true]), _MAX_INSTANCE)
    present = np.flatnonzero(size)
    ignored = np.zeros(CLASSES, bool)
    ignored[[c.id for c in scheme.classes if c.ignore and c.id >= 0]] = True
    present = present[~ignored[present // 1000]]
    return np.stack(
        [present // 1000, size[present], as_class[present], as_category[present]], axis=1
    )
