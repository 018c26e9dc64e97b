"""What `perception audit` looks at in one annotation, beyond what converting it would say."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perception.annotation.classes import city_scheme
from perception.annotation.images import EncodedImage
from perception.annotation.interfaces import Item, Settings
from perception.annotation.raster import paint, shape_mask
from perception.annotation.scene import MAX_CROSSING_POINTS, Drawn, Scene, compose
from perception.annotation.sources import labelme as labelme_source
from perception.annotation.targets.cityscapes import city_objects, polygons_file
from perception.annotation.targets.kitti_object import Box, box_objects, shape_box
from perception.formats import labelme
from perception.formats.problems import Problem, RefusedError
from perception.structures import Frame, Shape

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
    readable: bool = False
    version: str = ""
    image: Path | None = None  # the file used, None: embedded
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
        sample = labelme_source.read(item, settings)
        problems = list(sample.problems)
        if sample.frame is None:
            found = _findings(item.file, problems, ())
            return FileFacts(item.file, found, labels=_written_labels(item.path))
        return _inspect_frame(item, sample.frame, problems, settings)
    except RefusedError as error:
        return FileFacts(item.file, _findings(item.file, [error.problem], ()))
    except Exception as error:  # one file never stops the others
        problem = Problem("internal_error", f"{type(error).__name__}: {error}"[:300], error=True)
        return FileFacts(item.file, _findings(item.file, [problem], ()))


def _inspect_frame(
    item: Item, frame: Frame, problems: list[Problem], settings: Settings
) -> FileFacts:
    shapes = frame.shapes or ()
    scene, found = compose(shapes, frame.image.size, settings.table, unknown=settings.unknown)
    problems += found
    warnings: list[Problem] = []
    if not any(problem.error for problem in problems):
        problems += _target_problems(item.stem, scene)
        warnings = [*_shape_warnings(scene), *_frame_warnings(scene), *_group_warnings(scene)]
    assert isinstance(frame.image, EncodedImage)
    image = frame.image
    if image.path is not None and image.path.parent.resolve() != item.path.parent.resolve():
        warnings.append(Problem("image_elsewhere", f"its image stands in {image.path.parent}"))
    content = frame.extra["labelme"]
    return FileFacts(
        item.file,
        _findings(item.file, problems, warnings) + _unchecked(item.file, shapes),
        True,
        version=str(content.get("version") or "none")[:20],
        image=image.path,
        pixels=hashlib.sha256(image.read().tobytes()).hexdigest(),
        size=image.size,
        labels=Counter(shape.label for shape in shapes),
        types=Counter(shape.type for shape in shapes),
        shapes=len(shapes),
        flagged=sum(any(shape.flags.values()) for shape in shapes),
        box_heights=tuple(_heights(scene)),
    )


def _findings(file: str, problems: list[Problem], warnings: Any) -> tuple[Finding, ...]:
    rows = [
        Finding("error" if p.error else "warn", p.reason, p.detail, file, p.shape)
        for p in (*problems, *warnings)
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


def _unchecked(file: str, shapes: tuple[Shape, ...]) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            "info",
            "unchecked",
            f"{len(shape.points):,} points: not tested for self-intersection",
            file,
            index,
        )
        for index, shape in enumerate(shapes)
        if shape.type == "polygon" and len(shape.points) > MAX_CROSSING_POINTS
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


def _written_labels(path: Path) -> Counter[str]:
    """Labels of a file with errors, so that misspelt ones are counted too."""
    try:
        shapes = labelme.read(path).shapes
    except RefusedError:
        return Counter()
    labels = (raw.get("label") for raw in shapes if isinstance(raw, dict))
    return Counter(label for label in labels if isinstance(label, str))
