"""Semantic segmentation under any label scheme: pooled confusion and IoU (README.md)."""

from perception.evaluation.semantic.confusion import (
    Confusion,
    SegmentationScores,
    class_iou,
    nan_mean,
)

__all__ = ["Confusion", "SegmentationScores", "class_iou", "nan_mean"]
