"""KITTI object: average precision of boxes in the image, on the ground, in 3D (README.md)."""

from perception.evaluation.kitti_object.curves import Curve
from perception.evaluation.kitti_object.evaluator import (
    FrameRecord,
    FrameRow,
    FrameTable,
    KittiObjectEvaluator,
    ObjectScores,
    evaluate,
)
from perception.evaluation.kitti_object.protocol import (
    KITTI_2019,
    KITTIBOX_2015,
    METRICS,
    PRCLIBO_2017,
    PROTOCOLS,
    ObjectClass,
    ObjectRules,
    find_rules,
)
from perception.evaluation.kitti_object.scene import Scene

__all__ = [
    "KITTIBOX_2015",
    "KITTI_2019",
    "METRICS",
    "PRCLIBO_2017",
    "PROTOCOLS",
    "Curve",
    "FrameRecord",
    "FrameRow",
    "FrameTable",
    "KittiObjectEvaluator",
    "ObjectClass",
    "ObjectRules",
    "ObjectScores",
    "Scene",
    "evaluate",
    "find_rules",
]
