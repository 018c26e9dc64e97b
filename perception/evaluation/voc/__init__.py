"""Pascal VOC AP, and its mean over ten overlap thresholds (README.md)."""

from perception.evaluation.voc.curves import Curve, ap_2007, ap_area
from perception.evaluation.voc.evaluator import Matched, VocEvaluator, VocRecord, VocScores
from perception.evaluation.voc.protocol import (
    COCO_STYLE,
    RULES,
    VOC_2007,
    VOC_AREA,
    VocRules,
    as_text,
)

__all__ = [
    "COCO_STYLE",
    "RULES",
    "VOC_2007",
    "VOC_AREA",
    "Curve",
    "Matched",
    "VocEvaluator",
    "VocRecord",
    "VocRules",
    "VocScores",
    "ap_2007",
    "ap_area",
    "as_text",
]
