"""Scores of several KITTI road categories, and of all urban roads together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.kitti_road.counts import RoadCounts, RoadScores
from perception.evaluation.kitti_road.protocol import PERSPECTIVE, URBAN, URBAN_CATEGORIES
from perception.evaluation.protocol import Protocol


@dataclass(frozen=True)
class RoadEvaluator:
    """Pooled counts per category; the space (image or bird's-eye view) is the protocol's."""

    protocol: Protocol = PERSPECTIVE
    counts: Mapping[str, RoadCounts] = field(default_factory=dict)  # by category

    def update(
        self,
        category: str,
        confidence: NDArray[np.uint8],
        road: NDArray[np.bool_],
        valid: NDArray[np.bool_],
    ) -> RoadEvaluator:
        """This evaluator plus one image of `category`; all arrays (H, W)."""
        old = self.counts.get(category, RoadCounts.zero())
        return replace(self, counts={**self.counts, category: old.update(confidence, road, valid)})

    def merge(self, other: RoadEvaluator) -> RoadEvaluator:
        """Both parts together, in any order and grouping.

        Raises:
            ValueError: the parts were measured by different protocols.
        """
        if self.protocol != other.protocol:
            raise ValueError(f"{self.protocol.name} cannot be merged with {other.protocol.name}")
        names = [*self.counts, *(name for name in other.counts if name not in self.counts)]
        zero = RoadCounts.zero()
        merged = {n: self.counts.get(n, zero).merge(other.counts.get(n, zero)) for n in names}
        return replace(self, counts=merged)

    def compute(self) -> dict[str, RoadScores]:
        """Scores by category, and `URBAN_ROAD` (pooled road categories) where there is one."""
        scores = {name: counts.compute() for name, counts in self.counts.items()}
        roads = [self.counts[name] for name in URBAN_CATEGORIES if name in self.counts]
        if roads:
            scores[URBAN] = reduce(RoadCounts.merge, roads).compute()
        return scores
