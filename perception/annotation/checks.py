"""What `perception audit` looks at in one annotation, beyond what converting it would say."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perception.annotation.classes import LabelTable, city_scheme
from perception.annotation.images import EncodedImage
from perception.annotation.interfaces import Item, Settings
from perception.annotation.raster import paint, shape_mask
from perception.annotation.scene import MAX_CROSSING_POINTS, Drawn, Scene, compose
from perception.annotation.sources import labelme as labelme_source
from perception.annotation.sources.labelme import Examined
from perception.annotation.targets.cityscapes import city_objects, polygons_file
from perception.annotation.targets.kitti_object import Box, box_objects, shape_box
from perception.files.containers import MAX_PIXELS
from perception.formats.problems import Problem, RefusedError
from perception.structures import Shape

TINY_PIXELS = 9
LOW_BOX = 25.0  # pixels; KITTI's easiest limit is 40, its smallest 25
SAME_IOU = 0.9


@dataclass(frozen=True)
class Finding:
    """One line of the audit."""

    severity: str  # error, warn or info
    reason: str
    detail: str
    file: str = ""  # empty: the whole folder
    shape: int | None = None


@dataclass(frozen=True)
class FileFacts:
    """What the folder-wide checks need to know about one annotation."""

    file: str
    findings: tuple[Finding, ...]
    readable: bool = False  # without error
    version: str = ""
    image: Path | None = None  # the file used, None: embedded, or not found
    pixels: str = ""  # hash of the decoded image
    size: tuple[int, int] | None = None
    labels: Mapping[str, int] = field(default_factory=dict)  # as written
    types: Mapping[str, int] = field(default_factory=dict)
    shapes: int = 0
    flagged: int = 0  # shapes with a flag set
    box_heights: tuple[tuple[str, float], ...] = ()  # class, pixels


def inspect(settings: Settings, item: Item) -> FileFacts:
    """Reads and checks one annotation; what is wrong with it is in the findings."""
    try:
        seen = labelme_source.examine(item, settings)
        if seen.content is None:
            return FileFacts(item.file, _findings(item.file, seen.problems))
        return _facts(item, seen, seen.content, settings)
    except RefusedError as error:
        return FileFacts(item.file, _findings(item.file, [error.problem]))
    except Exception as error:  # one file never stops the others
        problem = Problem("internal_error", f"{type(error).__name__}: {error}"[:300], error=True)
        return FileFacts(item.file, _findings(item.file, [problem]))


def _facts(item: Item, seen: Examined, content: Mapping[str, Any], settings: Settings) -> FileFacts:
    """All that can be seen: also of the other shapes where one is refused, or without its image."""
    shapes = [shape for shape in seen.shapes if shape is not None]
    size = seen.image.size if seen.image is not None else _declared_size(content)
    problems = list(seen.problems)
    heights: tuple[tuple[str, float], ...] = ()
    if size is not None:
        scene, found = _scene(seen.shapes, size, settings.table)
        heights = tuple(_heights(scene))
        problems += found
        problems += _outside_points(seen.shapes, size, {p.shape for p in found})
        problems += [*_target_problems(item.stem, scene), *_shape_warnings(scene)]
        problems += [*_frame_warnings(scene), *_group_warnings(scene)]
        if any(p.reason == "unknown_label" or (p.error and p.shape is not None) for p in problems):
            blind = ("no_road", "cars_without_road")  # a shape that is refused may be the road
            problems = [problem for problem in problems if problem.reason not in blind]
    if seen.picture is not None and not _same_folder(seen.picture, item.path):
        problems.append(Problem("image_elsewhere", f"its image is in {seen.picture.parent}"))
    return FileFacts(
        item.file,
        _findings(item.file, problems) + _unchecked(item.file, seen.shapes),
        not any(problem.error for problem in problems),
        version=str(content.get("version") or "none")[:20],
        image=seen.picture,
        pixels=_hash(seen.image),
        size=size,
        labels=Counter(shape.label for shape in shapes),
        types=Counter(shape.type for shape in shapes),
        shapes=len(shapes),
        flagged=sum(any(shape.flags.values()) for shape in shapes),
        box_heights=heights,
    )


def _scene(
    shapes: Sequence[Shape | None], size: tuple[int, int], table: LabelTable
) -> tuple[Scene, list[Problem]]:
    """The scene of what can be drawn; unknown labels were reported when they were read."""
    scene, found = compose(shapes, size, table, unknown="ignore")
    refused = {problem.shape for problem in found if problem.error}
    if refused:  # too much work to draw
        kept = [None if index in refused else shape for index, shape in enumerate(shapes)]
        scene, more = compose(kept, size, table, unknown="ignore")
        found = [problem for problem in found if problem.error] + more
    return scene, [problem for problem in found if problem.reason != "unknown_label"]


def _declared_size(content: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) as the annotation says, where the image cannot tell."""
    sizes = [content.get("imageHeight"), content.get("imageWidth")]
    height, width = (size if type(size) is int else 0 for size in sizes)
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        return None
    return height, width


def _same_folder(one: Path, two: Path) -> bool:
    return os.path.realpath(one.parent) == os.path.realpath(two.parent)


def _hash(image: EncodedImage | None) -> str:
    return "" if image is None else hashlib.sha256(image.read().tobytes()).hexdigest()


def _findings(file: str, problems: Sequence[Problem]) -> tuple[Finding, ...]:
    rows = [
        Finding("error" if p.error else "warn", p.reason, p.detail, file, p.shape) for p in problems
    ]
    return tuple(dict.fromkeys(rows))


# ---------------------------------------------------------------------------- what targets say


def _target_problems(stem: str, scene: Scene) -> Iterator[Problem]:
    """The warnings and errors that converting to each of the three targets would give."""
    try:
        yield from polygons_file(city_objects(scene), scene.size)[1]
    except RefusedError as error:
        yield error.problem
    boxed = tuple(d for d in scene.drawn if d.meaning.kitti is not None or d.ignore)
    yield from box_objects(Scene(scene.size, boxed, scene.shapes_in_file))[1]
    roads = {item.painted.road for item in scene.drawn}
    if scene.shapes_in_file and not roads & {"road", "lane"}:
        yield Problem("no_road", "no shape is road or lane")
    if "lane" in roads and stem.startswith(("umm_", "uu_")):
        yield Problem("lane_not_written", "lane shapes in a frame of category umm or uu")


# ---------------------------------------------------------------------------- shapes


def _shape_warnings(scene: Scene) -> Iterator[Problem]:
    drawn = sorted(scene.drawn, key=lambda item: item.index)
    yield from _duplicates(drawn)
    yield from _near_duplicates(drawn)
    for item in drawn:
        if item.shape.type == "polygon" and _area(item.shape) < 2 * TINY_PIXELS:
            pixels = int(np.count_nonzero(shape_mask(item.shape, scene.size)))
            if pixels < TINY_PIXELS:
                yield Problem("tiny_shape", f"{pixels} pixels of {item.shape.label}", item.index)
    canvas = paint([item.shape for item in scene.drawn], scene.size)
    seen = np.bincount(canvas.ravel(), minlength=len(scene.drawn) + 1)
    for number, item in enumerate(scene.drawn, 1):
        if not seen[number]:
            yield Problem(
                "hidden_shape", f"{item.shape.label} is fully covered by later shapes", item.index
            )


def _duplicates(drawn: list[Drawn]) -> Iterator[Problem]:
    first: dict[tuple[Any, ...], int] = {}
    for item in drawn:
        same = first.setdefault(shape_key(item.shape), item.index)
        if same != item.index:
            yield Problem("duplicate_shape", f"equal to shape {same}", item.index)


def shape_key(shape: Shape) -> tuple[Any, ...]:
    """Equal for shapes that are drawn the same and mean the same."""
    mask = b"" if shape.mask is None else shape.mask.tobytes()
    flags = tuple(sorted(shape.flags.items()))
    return (
        shape.label,
        shape.type,
        shape.points.tobytes(),
        shape.group_id,
        flags,
        shape.description,
        mask,
    )


def _near_duplicates(drawn: list[Drawn]) -> Iterator[Problem]:
    """Two boxes of one class that are nearly the same, but not the same shape."""
    classes: dict[str, list[tuple[Drawn, Box]]] = {}
    for item in drawn:
        box = shape_box(item.shape)
        counted = item.meaning.kitti or city_scheme().by_name[item.meaning.cityscapes].has_instances
        if counted and box is not None:
            classes.setdefault(item.meaning.name, []).append((item, box))
    for name, members in classes.items():
        boxes = np.array([box for _, box in members])
        iou = _iou(boxes)
        for i, j in np.argwhere(np.triu(iou > SAME_IOU, 1)).tolist():
            one, two = members[i][0], members[j][0]
            grouped = one.group is not None and one.group == two.group
            if not grouped and shape_key(one.shape) != shape_key(two.shape):
                yield Problem(
                    "near_duplicate",
                    f"{name}: its box overlaps that of shape {one.index} by {iou[i, j]:.0%}",
                    two.index,
                )


def _iou(boxes: Any) -> Any:
    """(N, N) intersection over union."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return both / np.maximum(area[:, None] + area[None, :] - both, 1e-9)


def _area(shape: Shape) -> float:
    x, y = shape.points.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _outside_points(
    shapes: Sequence[Shape | None], size: tuple[int, int], said: set[int | None]
) -> Iterator[Problem]:
    """Shapes that reach beyond the image; those wholly outside were reported already."""
    height, width = size
    for index, shape in enumerate(shapes):
        if shape is None or index in said or not len(shape.points):
            continue
        beyond = np.maximum(-shape.points, shape.points - (width, height)).max(1)
        count = int(np.count_nonzero(beyond > 0))
        if count:
            yield Problem(
                "points_outside",
                f"{count} of {len(shape.points)} points of {shape.label[:80]} are outside the "
                f"image, by up to {beyond.max():.4g} pixels",
                index,
            )


def _unchecked(file: str, shapes: Sequence[Shape | None]) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            "info",
            "unchecked",
            f"{len(shape.points):,} points: not tested for self-intersection",
            file,
            index,
        )
        for index, shape in enumerate(shapes)
        if shape is not None and shape.type == "polygon" and len(shape.points) > MAX_CROSSING_POINTS
    )


# ---------------------------------------------------------------------------- frames, groups


def _frame_warnings(scene: Scene) -> Iterator[Problem]:
    roads = [item for item in scene.drawn if item.painted.road in ("road", "lane")]
    cars = sum(item.meaning.cityscapes == "car" for item in scene.drawn)
    if cars and not roads:
        yield Problem("cars_without_road", f"{cars} cars and no road")
    limit = scene.size[0] / 3
    for item in roads:
        rows = np.flatnonzero(shape_mask(item.shape, scene.size).any(1))
        if len(rows) and rows[0] < limit:
            yield Problem(
                "road_in_sky",
                f"{item.shape.label} reaches row {rows[0]}, above the upper third",
                item.index,
            )


def _group_warnings(scene: Scene) -> Iterator[Problem]:
    groups: dict[str, list[Drawn]] = {}
    for item in scene.drawn:
        if item.shape.group_id is not None:
            groups.setdefault(str(item.shape.group_id), []).append(item)
    for group, members in groups.items():
        names = sorted({item.meaning.name for item in members})
        if len(members) == 1:
            yield Problem("group_of_one", f"group_id {group} is used once", members[0].index)
        elif len(names) > 1:
            yield Problem(
                "group_of_labels",
                f"group_id {group} joins {', '.join(names)}; they stay two objects",
                members[0].index,
            )


def _heights(scene: Scene) -> Iterator[tuple[str, float]]:
    for item in scene.drawn:
        box = shape_box(item.shape)
        if item.meaning.kitti not in (None, "DontCare") and not item.ignore and box is not None:
            yield item.meaning.name, box[3] - box[1]
