"""Cityscapes: pixel IoU and iIoU, instance AP, panoptic quality (README.md)."""

from perception.evaluation.cityscapes.instance import InstanceEvaluator, InstanceScores, Mask
from perception.evaluation.cityscapes.panoptic import (
    Category,
    PanopticEvaluator,
    PanopticScores,
    Segment,
)
from perception.evaluation.cityscapes.pixel import PixelEvaluator, PixelScores
from perception.evaluation.cityscapes.protocol import INSTANCE, PANOPTIC, PIXEL

__all__ = [
    "INSTANCE",
    "PANOPTIC",
    "PIXEL",
    "Category",
    "InstanceEvaluator",
    "InstanceScores",
    "Mask",
    "PanopticEvaluator",
    "PanopticScores",
    "PixelEvaluator",
    "PixelScores",
    "Segment",
]
