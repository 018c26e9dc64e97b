"""BDD100K as the multi-task driving papers score it: drivable area and lane lines (README.md)."""

from perception.evaluation.bdd.masks import (
    DRIVABLE,
    LANE,
    MaskEvaluator,
    MaskScores,
    MaskSetScores,
    foreground,
)

__all__ = ["DRIVABLE", "LANE", "MaskEvaluator", "MaskScores", "MaskSetScores", "foreground"]
