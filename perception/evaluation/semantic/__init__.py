"""Semantic segmentation under any label scheme: pooled confusion and IoU (README.md)."""

from perception.evaluation.semantic.confusion import (
    Confusion,
    SegmentationScores,
    class_iou,
    nan_mean,
)
from perception.evaluation.semantic.protocol import PIXEL

__all__ = ["PIXEL", "Confusion", "SegmentationScores", "class_iou", "nan_mean"]
