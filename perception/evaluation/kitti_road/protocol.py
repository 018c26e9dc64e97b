"""The KITTI road benchmark's definitions as data."""

from __future__ import annotations

import numpy as np

from perception.evaluation.protocol import Protocol

CATEGORIES = ("um_lane", "um_road", "umm_road", "uu_road")
URBAN = "URBAN_ROAD"  # counts pooled over the road categories; never holds um_lane
URBAN_CATEGORIES = ("um_road", "umm_road", "uu_road")

THRESHOLDS = np.arange(256) / 255.0  # pixel value v reaches threshold k / 255 when v >= k
RECALL_STEPS = np.arange(0, 1.1, 0.1)  # 11; as doubles 0.30000000000000004 and so on
EPSILON = 1e-10  # in precision of the curve and in F1, not in PRE and REC

# Frames and lane frames of a submission (testing part).
SUBMISSION_FRAMES = {"um_road": 96, "um_lane": 96, "umm_road": 94, "uu_road": 100}

_COMMON = {"thresholds": 256, "recall_points": 11, "pooling": "counts per category"}
PERSPECTIVE = Protocol("kitti_road/perspective", 1, {**_COMMON, "space": "perspective"})
BEV = Protocol(
    "kitti_road/bev",
    1,
    {**_COMMON, "space": "bird's-eye view", "x": [-10, 10], "z": [6, 46], "cell": 0.05},
)
KITTISEG_RAW = Protocol(
    "kitti_road/kittiseg_raw",
    1,
    {**_COMMON, "space": "perspective", "pooling": "counts of all frames"},
)
