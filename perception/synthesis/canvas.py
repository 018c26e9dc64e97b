"""A picture that is painted from far to near, and the outline of every thing painted.

The labels are these outlines painted in the same order (as Cityscapes' annotators do it), so that
polygons and rasters say the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.structures import Float
from perception.synthesis.textures import Texture, level_for

SHIFT = 4  # fractional bits of polygon corners
_LIMIT = 480_000.0  # corners this far out, in 1/16 pixels, are moved in
_SPECK = 4  # outlines of no more pixels, width and height together, are left out
_SMOOTH = 0.8  # pixels that a polygon may leave its contour
Color = tuple[float, float, float]


@dataclass(frozen=True)
class Element:
    """One drawn thing, and its outline as if nothing stood before it."""

    label: str  # Cityscapes class
    polygons: tuple[NDArray[np.int32], ...]  # each (K, 2) pixel indices
    extent: tuple[float, float, float, float]  # x1, y1, x2, y2 beyond the image too, continuous
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

    # ------------------------------------------------------------------ painting

    def polygon(self, points: Float, color: Color) -> None:
        """Paints a convex polygon (K, 2), pixels; part of the current element."""
        self.polygon_fixed(fixed(points), color)
        xs, ys = points.T.tolist()
        self.cover(min(xs), min(ys), max(xs), max(ys))

    def polygon_fixed(self, corners: NDArray[np.int32], color: Color) -> None:
        """As `polygon`, corners in 1/16 pixels; the caller reports the extent with `cover`."""
        cv2.fillConvexPoly(self.image, corners, color, cv2.LINE_AA, SHIFT)
        cv2.fillConvexPoly(self._scratch, corners, 255, cv2.LINE_8, SHIFT)

    def highlight(self, corners: NDArray[np.int32], color: Color) -> None:
        """Paints a convex polygon in 1/16 pixels on what is part of the element already."""
        cv2.fillConvexPoly(self.image, corners, color, cv2.LINE_AA, SHIFT)

    def silhouette(self, points: Float) -> None:
        """Makes a convex polygon part of the current element without painting it."""
        cv2.fillConvexPoly(self._scratch, fixed(points), 255, cv2.LINE_8, SHIFT)
        xs, ys = points.T.tolist()
        self.cover(min(xs), min(ys), max(xs), max(ys))

    def stroke(self, points: Float, width: float, color: Color, *, closed: bool) -> None:
        """Paints a line through points (K, 2); `width` in pixels, at least one."""
        corners = fixed(points)
        thick = max(1, round(width))
        cv2.polylines(self.image, [corners], closed, color, thick, cv2.LINE_AA, SHIFT)
        cv2.polylines(self._scratch, [corners], closed, 255, thick, cv2.LINE_8, SHIFT)
        low, high = points.min(0) - width / 2, points.max(0) + width / 2
        self.cover(float(low[0]), float(low[1]), float(high[0]), float(high[1]))

    def textured(
        self,
        corners: Float,
        texture: Texture,
        matrix: Float,
        window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    ) -> None:
        """Paints a texture onto a quad (4, 2): bottom left, bottom right, top right, top left.

        matrix: (3, 4) from texture channels to RGB; window: left, top, right, bottom of what is
        shown, as shares of the texture. Perspective-correct.
        """
        x1, y1, x2, y2 = self._inside(corners)
        if x1 >= x2 or y1 >= y2:
            return
        tall = max(abs(corners[3, 1] - corners[0, 1]), abs(corners[2, 1] - corners[1, 1]), 1.0)
        wide = max(abs(corners[1, 0] - corners[0, 0]), 1.0)
        left, top, right, bottom = window
        rows, columns = texture[0].shape[:2]
        shrink = (bottom - top) * rows / tall * (right - left) * columns / wide
        picture = level_for(texture, float(np.sqrt(shrink)))
        rows, columns = picture.shape[:2]
        u, w, v, b = left * columns, right * columns, top * rows, bottom * rows
        source = np.array([[u, b], [w, b], [w, v], [u, v]], np.float32) - np.float32(0.5)
        target = (corners - [x1, y1]).astype(np.float32)
        warp = cv2.getPerspectiveTransform(source, target)
        warped = cv2.warpPerspective(
            picture,
            warp,
            (x2 - x1, y2 - y1),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        area = np.zeros((y2 - y1, x2 - x1), np.uint8)
        cv2.fillConvexPoly(area, fixed(corners - [x1, y1]), 255, cv2.LINE_8, SHIFT)
        shown = self.image[y1:y2, x1:x2]
        cv2.copyTo(cv2.transform(warped, matrix), area, shown)
        part = self._scratch[y1:y2, x1:x2]
        cv2.max(part, area, dst=part)
        xs, ys = corners.T.tolist()
        self.cover(min(xs), min(ys), max(xs), max(ys))

    def sprite(self, box: Float, shade: Texture, opacity: Texture, matrix: Float) -> None:
        """Paints a picture that faces the camera into the box (2, 2): top left, bottom right.

        matrix: (3, 2) from shade to RGB.
        """
        a, b, c, d = self._inside(box)
        left, top, right, bottom = box.ravel().tolist()
        if a >= c or b >= d or right - left < 0.5 or bottom - top < 0.5:
            return
        rows, columns = shade[0].shape[:2]
        shrink = max(columns / (right - left), rows / (bottom - top))
        pictures = level_for(shade, shrink), level_for(opacity, shrink)
        rows, columns = pictures[0].shape[:2]
        sx, sy = columns / (right - left), rows / (bottom - top)
        warp = np.array([[sx, 0, (a - left) * sx - 0.5], [0, sy, (b - top) * sy - 0.5]])
        tone, alpha = (
            cv2.warpAffine(p, warp, (c - a, d - b), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
            for p in pictures
        )
        shown = self.image[b:d, a:c]
        alpha3 = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)
        color = cv2.transform(tone[:, :, None], matrix)
        color = cv2.multiply(color, alpha3, scale=1 / 255)
        cv2.multiply(shown, 255 - alpha3, dst=shown, scale=1 / 255)
        cv2.add(shown, color, dst=shown)
        part = self._scratch[b:d, a:c]
        cv2.max(part, cv2.threshold(alpha, 110, 255, cv2.THRESH_BINARY)[1], dst=part)
        self.cover(left, top, right, bottom)

    def _inside(self, points: Float) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 of the image area around points."""
        height, width = self.image.shape[:2]
        xs, ys = points.T.tolist()
        x1, y1 = max(math.floor(min(xs)) - 1, 0), max(math.floor(min(ys)) - 1, 0)
        return x1, y1, min(int(max(xs)) + 2, width), min(int(max(ys)) + 2, height)

    # ------------------------------------------------------------------ elements

    def cover(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Widens the extent of the current element; pixel centres are integers."""
        if self._extent is None:
            self._extent = (x1, y1, x2, y2)
        else:
            a, b, c, d = self._extent
            self._extent = (min(x1, a), min(y1, b), max(x2, c), max(y2, d))

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
        polygons = outlines(area, (x1, y1))
        if instance and len(polygons) > 1:
            polygons = (max(polygons, key=cv2.contourArea),)
        area[:] = 0
        if polygons:
            continuous = (extent[0] + 0.5, extent[1] + 0.5, extent[2] + 0.5, extent[3] + 0.5)
            self.elements.append(Element(label, polygons, continuous, actor, instance))

    def region(self, label: str, mask: NDArray[np.uint8]) -> None:
        """An element without paint, given by its mask (H, W) of 0 and 255."""
        height, width = mask.shape
        polygons = outlines(mask, (0, 0), exact=True)
        if polygons:
            self.elements.append(Element(label, polygons, (0, 0, width, height)))


def fixed(points: Float) -> NDArray[np.int32]:
    """Pixel coordinates in 1/16 pixels, as OpenCV draws them."""
    scaled = np.floor(points * (1 << SHIFT) + 0.5)
    result: NDArray[np.int32] = np.minimum(
        np.maximum(scaled, -_LIMIT, out=scaled), _LIMIT, out=scaled
    ).astype(np.int32)
    return result


def wide(colors: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """(R, 1, C) one colour a row as (R, width, C); numpy's broadcasting takes six times as long."""
    size = (width, len(colors))
    return cv2.resize(colors, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)


def outlines(
    mask: NDArray[np.uint8], origin: tuple[int, int], *, exact: bool = False
) -> tuple[NDArray[np.int32], ...]:
    """Outer contours of a mask as polygons (K >= 3, 2) of pixel indices; holes are filled.

    Unless `exact`, specks are left out where there is something larger, and a polygon may leave
    its contour by less than a pixel, as one drawn by hand.
    """
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=origin)
    contours = [c.astype(np.int32, copy=False) for c in found]
    if not exact and len(contours) > 1:
        contours = [c for c in contours if sum(cv2.boundingRect(c)[2:]) > _SPECK]
    kept = []
    for contour in contours:
        if not exact and len(contour) > 12:
            contour = cv2.approxPolyDP(contour, _SMOOTH, True).astype(np.int32, copy=False)
        line = contour[:, 0]
        kept.append(line if len(line) > 2 else line[[0, -1, -1]])
    return tuple(kept)
