"""KittiSeg's variant of the road score: float maps, labels by exact colours, one pool.

The numbers that KittiSeg and MultiNet print during training are of this kind (README.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.kitti_road.protocol import THRESHOLDS

ROAD_COLOR = (255, 0, 255)
BACKGROUND_COLOR = (255, 0, 0)
RESIZED = (384, 1248)  # (height, width) of its option `reseize_image`
_NEXT = np.append(THRESHOLDS[1:], np.inf)


def threshold_bins(probability: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The largest k with `probability` >= k/255, compared in double; same shape.

    `RoadCounts.update` takes the result in place of 8-bit confidence.

    Raises:
        ValueError: a value is NaN or outside [0, 1].
    """
    values = probability.astype(np.float64)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"probability ranges {values.min()}..{values.max()}, expected [0, 1]")
    bins = (values * 255).astype(np.int64)
    bins += values >= _NEXT[bins]
    bins -= values < THRESHOLDS[bins]
    return bins.astype(np.uint8)


def match_colors(
    label: NDArray[np.uint8],
    road_color: tuple[int, int, int] = ROAD_COLOR,
    background_color: tuple[int, int, int] = BACKGROUND_COLOR,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(H, W) road and valid of an (H, W, 3) RGB label; any third colour is not evaluated."""
    road = (label == np.array(road_color)).all(-1)
    return road, road | (label == np.array(background_color)).all(-1)


def resize_nearest(label: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w, ...) of `size` (height, width): the pixel under each new pixel's centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip(size, label.shape[:2], strict=True)
    )
    result: NDArray[np.uint8] = label[rows[:, None], columns]
    return result
