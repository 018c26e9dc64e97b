"""Panoptic quality (Kirillov et al., CVPR 2019, section 4), as COCO and Cityscapes compute it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.cityscapes.protocol import MATCH_OVERLAP
from perception.evaluation.semantic.runs import run_lengths, run_starts

VOID = 0


@dataclass(frozen=True)
class Category:
    """A category of the labels' JSON."""

    id: int
    name: str
    thing: bool


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic image."""

    id: int
    category: int
    area: int = 0  # of labels: as the JSON says
    crowd: bool = False


@dataclass(frozen=True)
class Quality:
    """Fractions; NaN when no category has a segment."""

    pq: float
    sq: float
    rq: float
    categories: int = 1


@dataclass(frozen=True)
class PanopticScores:
    """All, things, stuff; and every category (zeros where it has no segment at all)."""

    groups: Mapping[str, Quality]
    per_category: Mapping[int, Quality]


@dataclass(frozen=True)
class PanopticEvaluator:
    """Overlaps of matched segments, and counts, by category."""

    categories: tuple[Category, ...]
    matched: Mapping[int, tuple[float, ...]]  # IoU of every matched segment
    counts: Mapping[int, tuple[int, int]]  # false positives, false negatives
    images: int = 0

    @classmethod
    def zero(cls, categories: Sequence[Category]) -> PanopticEvaluator:
        """No image yet."""
        return cls(tuple(categories), {}, {})

    def update(
        self,
        predicted: NDArray[np.int64],
        predicted_segments: Sequence[Segment],
        target: NDArray[np.int64],
        target_segments: Sequence[Segment],
    ) -> PanopticEvaluator:
        """This evaluator plus one image; `predicted` and `target` (H, W) hold segment ids.

        Raises:
            ValueError: sizes differ; a predicted segment is in only one of image and list; a
                category is unknown.
        """
        one = _match_image(self, predicted, predicted_segments, target, target_segments)
        return self.merge(one)

    def merge(self, other: PanopticEvaluator) -> PanopticEvaluator:
        """Both parts together."""
        matched = {
            c: self.matched.get(c, ()) + other.matched.get(c, ())
            for c in {**self.matched, **other.matched}
        }
        counts = {}
        for c in {**self.counts, **other.counts}:
            (a, b), (d, e) = self.counts.get(c, (0, 0)), other.counts.get(c, (0, 0))
            counts[c] = (a + d, b + e)
        return replace(self, matched=matched, counts=counts, images=self.images + other.images)

    def compute(self) -> PanopticScores:
        """Means over the categories that have any segment."""
        per_category, present = {}, {}
        for c in self.categories:
            overlaps = self.matched.get(c.id, ())
            wrong, missed = self.counts.get(c.id, (0, 0))
            per_category[c.id] = _quality(overlaps, wrong, missed)
            present[c.id] = bool(len(overlaps) + wrong + missed)
        groups = {
            name: _mean(
                [
                    per_category[c.id]
                    for c in self.categories
                    if present[c.id] and (name == "All" or c.thing == (name == "Things"))
                ]
            )
            for name in ("All", "Things", "Stuff")
        }
        return PanopticScores(groups, per_category)


# ---------------------------------------------------------------------------- one image


def _match_image(
    zero: PanopticEvaluator,
    predicted: NDArray[np.int64],
    predicted_segments: Sequence[Segment],
    target: NDArray[np.int64],
    target_segments: Sequence[Segment],
) -> PanopticEvaluator:
    """Evaluator of this image only."""
    if predicted.shape != target.shape:
        raise ValueError(f"predicted is {predicted.shape}, target is {target.shape}")
    true = _by_id("target", target_segments, zero.categories)
    found = _by_id("predicted", predicted_segments, zero.categories)
    common, areas = _intersections(target, predicted)
    _check_listed(areas, found)

    matched: dict[int, tuple[float, ...]] = {}
    taken_true, taken_found = set(), set()
    for (t, p), shared in common.items():
        if t not in true or p not in found or true[t].crowd:
            continue
        if true[t].category != found[p].category:
            continue
        union = areas[p] + true[t].area - shared - common.get((VOID, p), 0)
        if union > 0 and shared / union > MATCH_OVERLAP:
            c = true[t].category
            matched[c] = (*matched.get(c, ()), shared / union)
            taken_true.add(t)
            taken_found.add(p)

    crowds: dict[int, int] = {}
    wrong: dict[int, int] = {}
    missed: dict[int, int] = {}
    for t, segment in true.items():
        if segment.crowd:
            crowds[segment.category] = t  # the last one listed, as in the benchmark's program
        elif t not in taken_true:
            missed[segment.category] = missed.get(segment.category, 0) + 1
    for p, segment in found.items():
        if p in taken_found:
            continue
        forgiven = common.get((VOID, p), 0)
        if segment.category in crowds:
            forgiven += common.get((crowds[segment.category], p), 0)
        if forgiven / areas[p] <= MATCH_OVERLAP:
            wrong[segment.category] = wrong.get(segment.category, 0) + 1
    counts = {c: (wrong.get(c, 0), missed.get(c, 0)) for c in {**wrong, **missed}}
    return PanopticEvaluator(zero.categories, matched, counts, 1)


def _by_id(
    side: str, segments: Sequence[Segment], categories: Sequence[Category]
) -> dict[int, Segment]:
    known = {c.id for c in categories}
    for segment in segments:
        if segment.category not in known:
            raise ValueError(f"{side} segment {segment.id} has unknown category {segment.category}")
    return {segment.id: segment for segment in segments}


def _intersections(
    target: NDArray[np.int64], predicted: NDArray[np.int64]
) -> tuple[dict[tuple[int, int], int], dict[int, int]]:
    """Common pixels by (target id, predicted id), and pixels by predicted id; ids below 2^24."""
    codes = ((target << 24) | predicted).ravel()
    starts = run_starts(codes)
    pairs, inverse = np.unique(codes[starts], return_inverse=True)
    counts = np.bincount(inverse, weights=run_lengths(starts, len(codes))).astype(np.int64)
    common: dict[tuple[int, int], int] = {}
    areas: dict[int, int] = {}
    for code, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        t, p = code >> 24, code & 0xFFFFFF
        common[t, p] = count
        areas[p] = areas.get(p, 0) + count
    return common, areas


def _check_listed(areas: Mapping[int, int], listed: Mapping[int, Segment]) -> None:
    for p in areas:
        if p != VOID and p not in listed:
            raise ValueError(f"predicted segment {p} is in the image but not in the JSON")
    for p in listed:
        if p not in areas:
            raise ValueError(f"predicted segment {p} is in the JSON but not in the image")


# ---------------------------------------------------------------------------- scores


def _quality(overlaps: Sequence[float], wrong: int, missed: int) -> Quality:
    hits = len(overlaps)
    if hits + wrong + missed == 0:
        return Quality(0.0, 0.0, 0.0)
    total = math.fsum(overlaps)
    half = hits + 0.5 * wrong + 0.5 * missed
    return Quality(total / half, total / hits if hits else 0.0, hits / half)


def _mean(qualities: Sequence[Quality]) -> Quality:
    if not qualities:
        return Quality(math.nan, math.nan, math.nan, 0)
    n = len(qualities)
    pq, sq, rq = (math.fsum(getattr(q, key) for q in qualities) / n for key in ("pq", "sq", "rq"))
    return Quality(pq, sq, rq, n)
