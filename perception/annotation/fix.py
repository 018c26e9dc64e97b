"""A corrected copy of a labelled folder: only what is safe, into a new folder.

Points outside the image are clipped, repeated points and exact duplicate shapes removed; nothing
else. Every other value, unknown keys included, stays as it is. A polygon is clipped only where its
pixels in the image stay the same up to its border.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from perception.annotation.audit import Audit
from perception.annotation.checks import shape_key
from perception.annotation.convert import write_if_changed
from perception.annotation.images import read_file
from perception.annotation.raster import check_work, shape_mask
from perception.formats import labelme
from perception.formats.labelme import Document
from perception.formats.problems import RefusedError
from perception.structures import Float, Shape

SAME_PIXELS = 0.99  # intersection over union of a polygon before and after clipping


@dataclass(frozen=True)
class FixSummary:
    """What was done."""

    files: int = 0  # annotations copied
    changed: int = 0  # of them, corrected
    clipped: int = 0  # shapes
    points: int = 0  # repeated points removed
    shapes: int = 0  # duplicate shapes removed


def fix_folder(audit: Audit, out: Path) -> FixSummary:
    """Writes the annotations of an audit and their images below `out`, corrected.

    Annotations with errors are copied as they are; images outside the folder are not copied.
    """
    total = FixSummary()
    by_file = {one.file: one for one in audit.files}
    for item in audit.items:
        facts = by_file[item.file]
        if facts.image is not None and facts.image.is_relative_to(item.root):
            write_if_changed(out / facts.image.relative_to(item.root), read_file(facts.image))
        if not facts.readable or facts.size is None:
            try:
                write_if_changed(out / item.file, item.path.read_bytes())
            except OSError:  # a dangling link, a folder without permission: nothing to copy
                continue
            total = replace(total, files=total.files + 1)
            continue
        document = labelme.read(item.path)
        content, done = fix_content(document.content, facts.size)
        same = content == document.content
        data = item.path.read_bytes() if same else labelme.encode(Document(content))
        write_if_changed(out / item.file, data)
        total = FixSummary(
            total.files + 1,
            total.changed + (not same),
            total.clipped + done.clipped,
            total.points + done.points,
            total.shapes + done.shapes,
        )
    return total


def fix_content(
    content: dict[str, Any], size: tuple[int, int]
) -> tuple[dict[str, Any], FixSummary]:
    """The corrected JSON object of an annotation of an image of `size` (height, width)."""
    fixed = copy.deepcopy(content)
    kept = []
    seen = set()
    clipped = points = removed = 0
    for raw in fixed["shapes"]:
        try:
            shape, _ = labelme.read_shape(raw)
        except RefusedError:
            kept.append(raw)
            continue
        # the undecoded mask and unknown keys belong to what makes two shapes equal
        key = (shape_key(shape), repr(raw.get("mask")), repr(shape.extra))
        if key in seen:
            removed += 1
            continue
        seen.add(key)
        raw["points"], repeated = _without_repeats(raw["points"], shape.type)
        points += repeated
        if len(shape.points):
            inside = _clipped(replace(shape, points=np.array(raw["points"], np.float64)), size)
            if inside is not None:
                raw["points"] = inside.tolist()
                clipped += 1
        kept.append(raw)
    fixed["shapes"] = kept
    return fixed, FixSummary(clipped=clipped, points=points, shapes=removed)


def _without_repeats(points: list[Any], kind: str) -> tuple[list[Any], int]:
    """Points without those equal to the one before; a polygon keeps at least 3."""
    if kind not in ("polygon", "linestrip"):
        return points, 0
    kept = [p for i, p in enumerate(points) if i == 0 or p != points[i - 1]]
    if kind == "polygon" and len(kept) > 1 and kept[0] == kept[-1]:
        kept.pop()
    fewest = 3 if kind == "polygon" else 2
    return (kept, len(points) - len(kept)) if len(kept) >= fewest else (points, 0)


def _clipped(shape: Shape, size: tuple[int, int]) -> Float | None:
    """The points inside the image, or None where nothing is to be done or it is not safe."""
    height, width = size
    low, high = shape.points.min(0), shape.points.max(0)
    if (low >= 0).all() and (high <= (width, height)).all():
        return None
    if (high <= 0).any() or (low >= (width, height)).any():
        return None  # wholly outside: reported, not moved
    if shape.type == "rectangle":
        return np.clip(shape.points, 0, (width, height))
    if shape.type != "polygon" or check_work([(0, shape)], size):
        return None
    points = shape.points
    for axis, limit, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        points = _half_plane(points, axis, limit, sign)
        if len(points) < 3:
            return None
    before = shape_mask(shape, size)
    after = shape_mask(replace(shape, points=points), size)
    both, either = np.count_nonzero(before & after), np.count_nonzero(before | after)
    return points if either and both / either >= SAME_PIXELS else None


def _half_plane(points: Float, axis: int, limit: float, sign: int) -> Float:
    """Sutherland and Hodgman: the part of a polygon with sign · x[axis] >= sign · limit."""
    kept: list[Float] = []
    for previous, point in zip(np.roll(points, 1, axis=0), points, strict=True):
        was, is_in = (sign * (p[axis] - limit) >= 0 for p in (previous, point))
        if was != is_in:
            share = (limit - previous[axis]) / (point[axis] - previous[axis])
            cut = previous + share * (point - previous)
            cut[axis] = limit
            kept.append(cut)
        if is_in:
            kept.append(point)
    return np.array(kept).reshape(-1, 2)
