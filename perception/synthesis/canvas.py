"""A picture that is painted from far to near, and the outline of every thing painted.

The labels are these outlines painted in the same order (as Cityscapes' annotators do it), so that
polygons and rasters say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.structures import Float

SHIFT = 4  # fractional bits of polygon corners


@dataclass(frozen=True)
class Element:
    """One drawn thing, and its outline as if nothing stood before it."""

    label: str  # Cityscapes class
    polygons: tuple[NDArray[np.int32], ...]  # each (K, 2) pixel indices
    extent: tuple[float, float, float, float]  # x1, y1, x2, y2 beyond the image too, continuous
    pixels: int  # of the outline inside the image
    actor: int = -1  # index in Scene.actors
    instance: bool = False


@dataclass
class Canvas:
    """The picture and the elements painted so far, in order."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._scratch = np.zeros(self.image.shape[:2], np.uint8)
        self._extent: tuple[float, float, float, float] | None = None

    def polygon(self, points: Float, color: tuple[float, float, float]) -> None:
        """Paints a convex polygon (K, 2), pixels; part of the current element."""
        corners = np.rint(np.clip(points, -30000, 30000) * (1 << SHIFT)).astype(np.int32)
        self.polygon_fixed(corners, color)
        low, high = points.min(0), points.max(0)
        self.cover(low[0], low[1], high[0], high[1])

    def polygon_fixed(self, corners: NDArray[np.int32], color: tuple[float, float, float]) -> None:
        """As `polygon`, corners in 1/16 pixels; the caller reports the extent with `cover`."""
        cv2.fillConvexPoly(self.image, corners, color, cv2.LINE_AA, SHIFT)
        cv2.fillConvexPoly(self._scratch, corners, 255, cv2.LINE_8, SHIFT)

    def stroke(
        self, points: Float, width: float, color: tuple[float, float, float], *, closed: bool
    ) -> None:
        """Paints a line through points (K, 2); `width` in pixels, at least one."""
        corners = np.rint(np.clip(points, -30000, 30000) * (1 << SHIFT)).astype(np.int32)
        thick = max(1, round(width))
        cv2.polylines(self.image, [corners], closed, color, thick, cv2.LINE_AA, SHIFT)
        cv2.polylines(self._scratch, [corners], closed, 255, thick, cv2.LINE_8, SHIFT)
        low, high = points.min(0) - width / 2, points.max(0) + width / 2
        self.cover(low[0], low[1], high[0], high[1])

    def cover(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Widens the extent of the current element; pixel centres are integers."""
        if self._extent is None:
            self._extent = (float(x1), float(y1), float(x2), float(y2))
        else:
            a, b, c, d = self._extent
            self._extent = (min(x1, a), min(y1, b), max(x2, c), max(y2, d))

    def stamp(self, x: int, y: int, mask: NDArray[np.uint8]) -> None:
        """Marks the pixels of a mask (0 or 255) at (x, y) as part of the current element."""
        height, width = mask.shape
        area = self._scratch[y : y + height, x : x + width]
        np.maximum(area, mask, out=area)
        self.cover(x, y, x + width - 1, y + height - 1)

    def finish(self, label: str, *, actor: int = -1, instance: bool = False) -> None:
        """Ends the current element: its outline becomes polygons; of an instance exactly one."""
        extent, self._extent = self._extent, None
        height, width = self.image.shape[:2]
        if extent is None:
            return
        x1, y1 = max(int(extent[0]) - 2, 0), max(int(extent[1]) - 2, 0)
        x2, y2 = min(int(extent[2]) + 3, width), min(int(extent[3]) + 3, height)
        if x1 >= x2 or y1 >= y2:
            return
        area = self._scratch[y1:y2, x1:x2]
        polygons, pixels = outlines(area, (x1, y1), largest=instance)
        area[:] = 0
        if polygons:
            continuous = (extent[0] + 0.5, extent[1] + 0.5, extent[2] + 0.5, extent[3] + 0.5)
            self.elements.append(Element(label, polygons, continuous, pixels, actor, instance))

    def region(self, label: str, mask: NDArray[np.uint8]) -> None:
        """A thing without actor given by its mask (H, W) of 0 and 255."""
        height, width = mask.shape
        polygons, pixels = outlines(mask, (0, 0), largest=False)
        if polygons:
            self.elements.append(Element(label, polygons, (0, 0, width, height), pixels))


def outlines(
    mask: NDArray[np.uint8], origin: tuple[int, int], *, largest: bool, smallest: int = 4
) -> tuple[tuple[NDArray[np.int32], ...], int]:
    """Outer contours of a mask as polygons of pixel indices, and the pixels they enclose.

    Holes are filled, as annotators do; specks below `smallest` pixels are left out.
    """
    found, _ = cv2.findContours(
        np.ascontiguousarray(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=origin
    )
    sized = [(_enclosed(c), c[:, 0]) for c in (f.astype(np.int32, copy=False) for f in found)]
    sized.sort(key=lambda row: -row[0])
    kept = [row for row in sized[: 1 if largest else None] if row[0] >= smallest]
    return tuple(c for _, c in kept), int(sum(n for n, _ in kept))


def _enclosed(contour: NDArray[np.int32]) -> float:
    """Pixels inside and on a contour (Pick's theorem; the border is walked in single steps)."""
    steps = np.abs(np.diff(contour[:, 0], axis=0, append=contour[:1, 0])).max(axis=1).sum()
    return cv2.contourArea(contour) + steps / 2 + 1
