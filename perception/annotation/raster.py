"""Rasters of drawn shapes, bit for bit those of labelme and of cityscapesScripts.

Both references draw with Pillow's ImageDraw, which truncates vertices toward zero and has rules of
its own for borders; so we draw with it too (>= 11.2; the polygon filler changed there for the last
time). Many shapes go into one canvas of shape numbers; class rasters are look-ups in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
from numpy.typing import NDArray

from perception.formats.problems import RefusedError
from perception.structures import Shape

LINE_WIDTH = 10  # labelme's defaults
POINT_RADIUS = 5
MAX_RADIUS = 25_000  # Pillow's ellipse overflows 64 bits above
MAX_WORK = 5e8  # of one shape, about 2 seconds of drawing
_BATCH = 255  # shape numbers that fit the 8-bit canvas


def paint(shapes: Sequence[Shape], size: tuple[int, int]) -> NDArray[np.unsignedinteger[Any]]:
    """(H, W) number 1..N of the last shape over each pixel, 0 where there is none.

    uint8 up to 255 shapes, uint16 up to 65,535, else uint32. A later shape covers an earlier one.
    """
    if len(shapes) <= _BATCH:
        return _canvas(shapes, size)
    canvas = np.zeros(size, np.min_scalar_type(len(shapes)))
    for start in range(0, len(shapes), _BATCH):
        part = _canvas(shapes[start : start + _BATCH], size)
        np.copyto(canvas, part.astype(canvas.dtype) + start, where=part != 0)
    return canvas


def shape_mask(shape: Shape, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) pixels of one shape."""
    result: NDArray[np.bool_] = _canvas([shape], size) != 0
    return result


def covers(shape: Shape, size: tuple[int, int]) -> bool:
    """True where the shape has a pixel in the image; draws only when corners do not tell."""
    height, width = size
    x1, y1, x2, y2 = pixel_box(shape)
    if x2 < 0 or y2 < 0 or x1 >= width or y1 >= height:
        return False
    if shape.type == "rectangle":
        return True
    if shape.type in ("polygon", "oriented_rectangle"):
        pixels = np.trunc(shape.points)  # the border, and so each vertex, belongs to the raster
        if ((pixels >= 0) & (pixels < (width, height))).all(1).any():
            return True
    return bool(shape_mask(shape, size).any())


def pixel_box(shape: Shape) -> tuple[int, int, int, int]:
    """First and last column and row (x1, y1, x2, y2), inclusive, that a shape can touch."""
    low, high = shape.points.min(0), shape.points.max(0)
    if shape.type == "mask":
        assert shape.mask is not None
        x, y = mask_corner(shape)
        return x, y, x + shape.mask.shape[1] - 1, y + shape.mask.shape[0] - 1
    reach = {"line": LINE_WIDTH, "linestrip": LINE_WIDTH, "point": POINT_RADIUS + 1}.get(
        shape.type, 0
    )
    if shape.type == "circle":
        low = high = shape.points[0]
        reach = int(radius(shape)) + 2
    return (int(low[0]) - reach, int(low[1]) - reach, int(high[0]) + reach, int(high[1]) + reach)


def radius(shape: Shape) -> float:
    """Of a circle: from its centre to the point on it."""
    dx, dy = shape.points[0] - shape.points[1]
    return float(np.sqrt(dx**2 + dy**2))


def mask_corner(shape: Shape) -> tuple[int, int]:
    """Column and row of the first pixel of a mask."""
    return round(float(shape.points[0, 0])), round(float(shape.points[0, 1]))


def check_work(shapes: Iterable[tuple[int, Shape]], size: tuple[int, int]) -> list[RefusedError]:
    """`bad_points` for each (index, shape) whose drawing would take too long or overflow.

    Pillow looks at every edge of a row for every edge that ends there: nothing for a contour of a
    million points, hours for a million random ones.
    """
    refused = []
    total = 0.0
    for index, shape in shapes:
        work = _work(shape, size[0])
        total += work
        if shape.type == "circle" and radius(shape) > MAX_RADIUS:
            refused.append(
                RefusedError(
                    "bad_points",
                    f"found radius {radius(shape):.0f}, expected at most {MAX_RADIUS}",
                    index,
                )
            )
        elif work > MAX_WORK or total > 4 * MAX_WORK:
            refused.append(
                RefusedError(
                    "bad_points",
                    f"found {len(shape.points):,} points whose edges cross too often, expected an "
                    "outline; simplify it",
                    index,
                )
            )
    return refused


# ---------------------------------------------------------------------------- drawing


def _canvas(shapes: Sequence[Shape], size: tuple[int, int]) -> NDArray[np.uint8]:
    canvas = np.zeros(size, np.uint8)
    image = PIL.Image.frombuffer("L", (size[1], size[0]), canvas, "raw", "L", 0, 1)
    image.readonly = 0  # draw into the array itself: copying it out takes longer than drawing
    pen = PIL.ImageDraw.Draw(image)
    for number, shape in enumerate(shapes, 1):
        _draw(image, pen, shape, number)
    return canvas


def _draw(image: PIL.Image.Image, pen: PIL.ImageDraw.ImageDraw, shape: Shape, number: int) -> None:
    """One shape as labelme's `shape_to_mask` draws it; points are not moved, clipped or closed."""
    points: list[float] = shape.points.ravel().tolist()
    match shape.type:
        case "polygon" | "oriented_rectangle":
            pen.polygon(points, fill=number)
        case "rectangle":
            (x1, y1), (x2, y2) = shape.points.min(0).tolist(), shape.points.max(0).tolist()
            pen.rectangle((x1, y1, x2, y2), fill=number)
        case "circle" | "point":
            r = radius(shape) if shape.type == "circle" else POINT_RADIUS
            x, y = points[:2]
            pen.ellipse((x - r, y - r, x + r, y + r), fill=number)
        case "line" | "linestrip":
            pen.line(points, fill=number, width=LINE_WIDTH)
        case "mask":
            assert shape.mask is not None
            image.paste(number, mask_corner(shape), PIL.Image.fromarray(shape.mask))
        case other:
            raise ValueError(f"unknown shape type {other}")


def _work(shape: Shape, height: int) -> float:
    """Steps that Pillow takes, roughly; 0 for what is never slow."""
    if len(shape.points) < 2000 or shape.type not in ("polygon", "linestrip"):
        return 0.0
    y = np.trunc(np.clip(shape.points[:, 1], -1, height)).astype(np.int64) + 1
    if shape.type == "linestrip":
        return 50.0 * float((np.abs(np.diff(y)) + LINE_WIDTH).sum())
    following = np.roll(y, -1)
    low, high = np.minimum(y, following), np.maximum(y, following)
    low, high = low[low < high], high[low < high]
    starts = np.bincount(low, minlength=height + 3)
    ends = np.bincount(high, minlength=height + 3)
    active = np.cumsum(starts) - np.cumsum(ends) + ends
    return float((active * (1.0 + ends + starts)).sum())
