"""Which object every detection lies on, by Pascal VOC's overlap of inclusive boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perception.structures import Float

Rows = NDArray[np.int64]


def best_objects(
    corners: Float, group: Rows, target_corners: Float, target_group: Rows
) -> tuple[Rows, Float]:
    """For each of D detections the object of its group with the largest overlap.

    Args:
        corners: (D, 4) xmin, ymin, xmax, ymax, inclusive.
        group: (D,) image and class as one number.
        target_corners: (G, 4).
        target_group: (G,).

    Returns:
        (D,) row of the object, the first one of equals, -1 where the group has none; (D,) overlap.
    """
    order = np.argsort(target_group, kind="stable")
    sorted_group = target_group[order]
    start = np.searchsorted(sorted_group, group, side="left")
    count = np.searchsorted(sorted_group, group, side="right") - start
    seen = count > 0
    best, largest = np.full(len(group), -1, np.int64), np.zeros(len(group))
    if not seen.any():
        return best, largest
    detection = np.repeat(np.flatnonzero(seen), count[seen])
    begin = np.cumsum(count[seen]) - count[seen]
    place = np.arange(len(detection)) - np.repeat(begin - start[seen], count[seen])
    target = order[place]
    overlap = inclusive_overlap(corners[detection], target_corners[target])
    largest[seen] = np.maximum.reduceat(overlap, begin)
    winners = np.flatnonzero(overlap == np.repeat(largest[seen], count[seen]))
    first = winners[np.searchsorted(winners, begin)]
    best[seen] = target[first]
    return best, largest


def inclusive_overlap(first: Float, second: Float) -> Float:
    """(P,) intersection over union of (P, 4) boxes whose last pixel belongs to them."""
    width = np.minimum(first[:, 2], second[:, 2]) - np.maximum(first[:, 0], second[:, 0]) + 1
    height = np.minimum(first[:, 3], second[:, 3]) - np.maximum(first[:, 1], second[:, 1]) + 1
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = _area(first) + _area(second) - shared
    result: Float = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return result


def _area(corners: Float) -> Float:
    return (corners[:, 2] - corners[:, 0] + 1) * (corners[:, 3] - corners[:, 1] + 1)
