"""A corrected copy of a labelled folder: only what is safe, into a new folder.

Points outside the image are clipped, repeated points and exact duplicate shapes removed, image
paths corrected; nothing else. Every other value, unknown keys included, stays as it is. A polygon
is clipped only where its pixels in the image stay the same up to its border.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from perception.annotation.audit import Audit
from perception.annotation.checks import FileFacts, shape_key
from perception.annotation.convert import write_if_changed
from perception.annotation.images import inside_of, read_file
from perception.annotation.interfaces import Item, Settings
from perception.annotation.raster import check_work, shape_mask
from perception.annotation.walk import walk
from perception.files.finding import IMAGE_SUFFIXES
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
    image_paths: int = 0  # corrected, or broken imageData removed
    missing: tuple[str, ...] = ()  # files that could not be copied

    def __add__(self, other: FixSummary) -> FixSummary:
        """The sum of all counts."""
        return FixSummary(
            self.files + other.files,
            self.changed + other.changed,
            self.clipped + other.clipped,
            self.points + other.points,
            self.shapes + other.shapes,
            self.image_paths + other.image_paths,
            self.missing + other.missing,
        )


def fix_folder(audit: Audit, src: Path, out: Path, settings: Settings) -> FixSummary:
    """Writes the annotations of an audit of `src` and all images below `out`, corrected.

    What cannot be corrected is copied as it is; an image from elsewhere is put beside its
    annotation. An `imagePath` that names another file than the one that was used is corrected.
    """
    root = src if src.is_dir() else src.parent
    inside = inside_of(root, allow_outside=settings.allow_outside)
    missing = []
    places: dict[Path, Path] = {}  # picture → where its copy is
    if src.is_dir():
        for picture in walk(src, allow_outside=settings.allow_outside).having(IMAGE_SUFFIXES):
            if inside(picture):
                places[picture] = out / picture.relative_to(root)
    by_file = {one.file: one for one in audit.files}
    for item in audit.items:
        used = by_file[item.file].image
        if used is not None and used not in places:
            places[used] = _place_beside(used, item, out, set(places.values()))
    for picture, place in places.items():
        if not _copied(picture, place):
            missing.append(str(picture))
    total = FixSummary()
    for item in audit.items:
        if not inside(item.path):
            missing.append(item.file)
            continue
        facts = by_file[item.file]
        copied = places[facts.image] if facts.image is not None else None
        done = _fix_file(item, facts, copied, out / item.file)
        if done is None:
            missing.append(item.file)
        else:
            total = total + done
    return replace(total, missing=tuple(missing))


def _place_beside(picture: Path, item: Item, out: Path, taken: set[Path]) -> Path:
    """A free name in the folder of the annotation's copy, for a picture from elsewhere."""
    if picture.is_relative_to(item.root) and out / picture.relative_to(item.root) not in taken:
        return out / picture.relative_to(item.root)
    folder = (out / item.file).parent
    names = (f"{mark}{picture.name}" for mark in ("", f"{item.stem}_", f"{item.stem}_image_"))
    return next((folder / name for name in names if folder / name not in taken), folder / "image")


def _copied(source: Path, place: Path) -> bool:
    try:
        data = read_file(source)
    except RefusedError:
        return False
    write_if_changed(place, data)
    return True


def _fix_file(item: Item, facts: FileFacts, picture: Path | None, place: Path) -> FixSummary | None:
    """Writes the corrected annotation; None: it could not be read at all."""
    try:
        document = labelme.read(item.path)
    except RefusedError:
        try:
            write_if_changed(place, item.path.read_bytes())
        except OSError:  # a dangling link, a folder without permission: nothing to copy
            return None
        return FixSummary(files=1)
    content, done = document.content, FixSummary()
    if facts.size is not None:
        content, done = fix_content(content, facts.size)
    content, image_paths = _with_image(content, picture, place.parent)
    if content == document.content:
        write_if_changed(place, item.path.read_bytes())
        return FixSummary(files=1)
    write_if_changed(place, labelme.encode(Document(content)))
    return replace(done, files=1, changed=1, image_paths=image_paths)


def _with_image(
    content: dict[str, Any], picture: Path | None, folder: Path
) -> tuple[dict[str, Any], int]:
    """The annotation with the path of the picture that was used, and without broken imageData."""
    if picture is None:  # embedded, or there is none
        return content, 0
    written = content.get("imagePath")
    there = os.path.relpath(picture, folder).replace(os.sep, "/")
    changes: dict[str, Any] = {}
    same = isinstance(written, str) and os.path.normpath(written.replace("\\", "/")) == there
    if not same:
        changes["imagePath"] = there
    if content.get("imageData") is not None:  # broken: the file was used
        changes["imageData"] = None
    return {**content, **changes}, len(changes)


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
