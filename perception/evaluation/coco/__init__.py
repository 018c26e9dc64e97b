"""COCO's average precision of boxes (README.md)."""

from perception.evaluation.coco.evaluator import COCO_BBOX, CocoEvaluator, CocoScores

__all__ = ["COCO_BBOX", "CocoEvaluator", "CocoScores"]
