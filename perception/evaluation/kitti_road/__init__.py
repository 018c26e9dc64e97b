"""KITTI road: MaxF1, AP and their company, in the image or in bird's-eye view (README.md)."""

from perception.evaluation.kitti_road.counts import RoadCounts, RoadCurve, RoadScores, quantize
from perception.evaluation.kitti_road.evaluator import RoadEvaluator
from perception.evaluation.kitti_road.protocol import BEV, KITTISEG_RAW, PERSPECTIVE

__all__ = [
    "BEV",
    "KITTISEG_RAW",
    "PERSPECTIVE",
    "RoadCounts",
    "RoadCurve",
    "RoadEvaluator",
    "RoadScores",
    "quantize",
]
