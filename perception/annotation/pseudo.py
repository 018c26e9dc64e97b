"""A teacher's boxes as labels: sure ones count, doubtful ones are ignored, others are background.

What is known of the frame corrects the teacher. With true masks a box must lie on pixels of its
class, and things in the mask that no box covers are ignored rather than taught as background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.structures import Boxes

IGNORE = "ignore"  # a class of the teacher that is neither right nor wrong
DONT_CARE = "DontCare"  # the name of such a region in KITTI's files
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PseudoSettings:
    """When a teacher is believed."""

    confident: float = 0.5  # scores from here on are labels
    low: float = 0.1  # scores from here to `confident` are ignored regions
    on_mask: float = 0.35  # least share of a box on pixels of its class, where these are known
    covered: float = 0.5  # share of a thing in the mask that boxes must cover
    smallest: int = 12  # pixels of a thing in the mask; smaller ones are left as they are
    shared: float = 0.3  # share of a box under an ignored class from which it is ignored itself
    same: float = 0.6  # overlap (IoU) from which both are one object: the higher score decides


@dataclass(frozen=True)
class PseudoCounts:
    """What became of a teacher's boxes."""

    labels: int = 0
    ignored: int = 0  # doubtful, or of an ignored class
    off_mask: int = 0  # not on pixels of their class
    uncovered: int = 0  # things in the true masks that no box covers: ignored regions

    def __add__(self, other: PseudoCounts) -> PseudoCounts:
        return PseudoCounts(*(a + b for a, b in zip(self.values, other.values, strict=True)))

    @property
    def values(self) -> tuple[int, int, int, int]:
        """The four numbers, in order."""
        return self.labels, self.ignored, self.off_mask, self.uncovered


@dataclass(frozen=True)
class PseudoLabels:
    """The labels of one frame."""

    boxes: Boxes  # without scores; ignored regions are named DontCare
    counts: PseudoCounts = field(default_factory=PseudoCounts)


def pseudo_labels(
    found: Boxes, settings: PseudoSettings, masks: Mapping[str, Mask] | None = None
) -> PseudoLabels:
    """Labels from a teacher's boxes of one frame.

    Args:
        found: boxes with scores; the name `ignore` marks a class that is neither right nor wrong.
        settings: the limits.
        masks: true pixels by class name, (H, W), of the classes for which they are known.
    """
    masks = masks or {}
    found = found[found.score >= settings.low]
    on = np.array(
        [
            _on_mask(b, masks.get(str(n)), settings)
            for b, n in zip(found.xyxy, found.names, strict=True)
        ],
        bool,
    )
    off_mask = int((~on).sum())
    found = found[on]
    vague = found.names == IGNORE
    doubtful = vague | (found.score < settings.confident)
    doubtful |= _unsure(found, vague, settings)
    labels = found[~doubtful]
    missed = [
        box
        for name, mask in masks.items()
        for box in _uncovered(mask, labels.xyxy[labels.names == name], settings)
    ]
    regions = np.concatenate([found.xyxy[doubtful].round(2), np.array(missed).reshape(-1, 4)])
    counts = PseudoCounts(len(labels), int(doubtful.sum()), off_mask, len(missed))
    ignored = Boxes.of(regions, [DONT_CARE] * len(regions), ignore=np.ones(len(regions), bool))
    labels = labels.replace(xyxy=labels.xyxy.round(2))  # the decimals of the files they go to
    taught = labels.replace(score=np.full(len(labels), np.nan))
    return PseudoLabels(Boxes.concatenate([taught, ignored]), counts)


def _on_mask(box: NDArray[np.float64], mask: Mask | None, settings: PseudoSettings) -> bool:
    """Whether enough of the box lies on pixels of its class; True where they are not known."""
    if mask is None:
        return True
    inside = _pixels(box, mask)
    return bool(inside.size and inside.mean() >= settings.on_mask)


def _uncovered(
    mask: Mask, boxes: NDArray[np.float64], settings: PseudoSettings
) -> list[list[float]]:
    """Boxes around the connected things of `mask` that `boxes` leave mostly open."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    free = labels.copy()
    for box in boxes:
        _pixels(box, free)[...] = 0
    left = np.bincount(free.ravel(), minlength=count)
    found = []
    for thing in range(1, count):
        x, y, width, height, area = (int(v) for v in stats[thing])
        if area >= settings.smallest and left[thing] > (1 - settings.covered) * area:
            rows, columns = np.nonzero(free[y : y + height, x : x + width] == thing)
            x1, y1, x2, y2 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            found.append([float(v) for v in (x + x1, y + y1, x + x2, y + y2)])
    return found


def _pixels(box: NDArray[np.float64], pixels: NDArray[Any]) -> NDArray[Any]:
    """The view of the pixels whose centres are in the box."""
    x1, y1, x2, y2 = (max(0, int(v)) for v in np.ceil(box - 0.5))
    return pixels[y1:y2, x1:x2]


def _unsure(found: Boxes, vague: Mask, settings: PseudoSettings) -> Mask:
    """(N,) whether a box lies under one of an ignored class (`vague`): a rider on a bicycle.

    Two boxes of one object, a car that might be a truck, are decided by their scores.
    """
    if not vague.any():
        return np.zeros(len(found), bool)
    boxes, others = found.xyxy[:, None], found.xyxy[None, vague]
    common = _area(
        np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    )
    area, other = (_area(b[..., :2], b[..., 2:]) for b in (boxes, others))
    overlap = common / np.maximum(area + other - common, 1e-9)
    weaker = found.score[:, None] <= found.score[None, vague]
    under = common >= settings.shared * np.maximum(area, 1e-9)
    either: Mask = np.where(overlap >= settings.same, weaker, under)
    result: Mask = np.logical_or.reduce(either, axis=1)
    return result


def _area(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = np.prod(np.clip(high - low, 0, None), axis=-1)
    return area
