"""Pascal VOC's definitions as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perception.evaluation.protocol import Protocol
from perception.structures import Float


@dataclass(frozen=True)
class VocRules:
    """How boxes are scored; README.md explains every field."""

    name: str  # "voc/2007"
    version: int
    rule: Literal["2007", "area"]  # 11 recall steps, or the area under the curve
    thresholds: tuple[float, ...]  # a match overlaps by more than this
    rounded: bool  # detections as text with one decimal, scores with three

    def protocol(self, classes: Sequence[str]) -> Protocol:
        """The definition that is written beside scores."""
        values = {
            "rule": self.rule,
            "thresholds": list(self.thresholds),
            "rounded": self.rounded,
            "classes": list(classes),
        }
        return Protocol(self.name, self.version, values)


VOC_2007 = VocRules("voc/2007", 1, "2007", (0.5,), rounded=False)
VOC_AREA = VocRules("voc/area", 1, "area", (0.5,), rounded=False)
COCO_STYLE = VocRules(
    "coco_style", 1, "2007", tuple(k / 100.0 for k in range(50, 100, 5)), rounded=True
)
RULES = {rules.name: rules for rules in (VOC_2007, VOC_AREA, COCO_STYLE)}


def as_text(corners: Float, score: Float) -> tuple[Float, Float]:
    """1-based corners and scores as the coco_style protocol writes and reads them.

    `corners`: (N, 4) 0-based. Both are float32 first; then x1 and y1 are moved by 1.
    """
    moved = corners.astype(np.float32)
    moved[:, :2] += np.float32(1)
    texts = [float(f"{value:.1f}") for value in moved.ravel().tolist()]
    scores = [float(f"{value:.3f}") for value in score.astype(np.float32).tolist()]
    return np.array(texts).reshape(-1, 4), np.array(scores)
