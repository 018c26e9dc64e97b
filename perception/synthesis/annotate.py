"""What a rendering shows, as labels: who is seen where, how much of it, and where the road is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from perception.formats.kitti_object import DONT_CARE
from perception.labels import load_scheme
from perception.structures import Boxes, Float, RoadLabel, Shape
from perception.synthesis.canvas import Element
from perception.synthesis.movers import dimensions_of
from perception.synthesis.render import Rendering
from perception.synthesis.world import Scene

_KITTI = {
    "car": "Car",
    "van": "Van",
    "truck": "Truck",
    "person": "Pedestrian",
    "cyclist": "Cyclist",
}
_SEEN = 0.1  # less of it visible: DontCare
_SEEN_PIXELS = 16
_LOWEST = 6.0  # pixels of height; below: DontCare


@lru_cache(maxsize=1)
def class_ids() -> dict[str, int]:
    """Cityscapes' ids by class name."""
    return {c.name: c.id for c in load_scheme("cityscapes").classes}


@dataclass(frozen=True)
class Labels:
    """All labels of one picture."""

    road: RoadLabel
    boxes: Boxes
    ids: NDArray[np.uint8]  # (H, W) Cityscapes ids
    instances: NDArray[np.uint16]  # (H, W) Cityscapes: id * 1000 + n, or id
    shapes: tuple[Shape, ...]  # polygons in painting order, as labelme names them


def annotate(scene: Scene, rendering: Rendering) -> Labels:
    """The labels of a rendering."""
    seen = _rasterised(rendering.elements, rendering.image.shape[:2])
    count = np.bincount(seen.ravel(), minlength=len(rendering.elements))
    kept = [i for i in range(len(rendering.elements)) if count[i]]
    ids, instances = _cityscapes(rendering.elements, kept, seen)
    road = ids == class_ids()["road"]
    lane = road & rendering.ground.lane if scene.road.category == "um" else None
    label = RoadLabel(road, valid=~(rendering.ground.unsure & _is_ground(ids)), lane=lane)
    boxes, notes = _boxes(scene, rendering.elements, count)
    return Labels(label, boxes, ids, instances, _shapes(scene, rendering.elements, kept, notes))


def _is_ground(ids: NDArray[np.uint8]) -> NDArray[np.bool_]:
    table = np.zeros(256, np.uint8)
    table[[class_ids()[name] for name in ("road", "sidewalk", "terrain")]] = 1
    return cv2.LUT(ids, table).view(np.bool_)


def _rasterised(elements: tuple[Element, ...], size: tuple[int, ...]) -> NDArray[np.intp]:
    """(H, W) the number of the element seen; painted by Pillow as cityscapesScripts does."""
    picture = Image.new("I", (size[1], size[0]), 0)
    draw = ImageDraw.Draw(picture)
    for number, element in enumerate(elements):
        for polygon in element.polygons:
            draw.polygon(polygon.ravel().tolist(), fill=number)
    return np.array(picture, np.int32).astype(np.intp)


def _cityscapes(
    elements: tuple[Element, ...], kept: list[int], seen: NDArray[np.intp]
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Label ids and instance ids; instances are counted per class in painting order."""
    ids = np.zeros(len(elements), np.uint8)
    instances = np.zeros(len(elements), np.uint16)
    counts: dict[str, int] = {}
    for number in kept:
        element = elements[number]
        ids[number] = instances[number] = class_ids()[element.label]
        if element.instance:
            index = counts.get(element.label, 0)
            counts[element.label] = index + 1
            instances[number] = class_ids()[element.label] * 1000 + index
    return ids.take(seen), instances.take(seen)


# ---------------------------------------------------------------------------------- boxes


@dataclass(frozen=True)
class _Row:
    """One line of a label file."""

    name: str
    occlusion: int
    box: Float  # (4,)
    numbers: tuple[float, ...]  # truncation, alpha, h, w, l, x, y, z, rotation_y


def _boxes(
    scene: Scene, elements: tuple[Element, ...], count: NDArray[np.int64]
) -> tuple[Boxes, dict[int, str]]:
    """KITTI's columns for every actor in the picture, nearest first, and a note for labelme."""
    height, width = scene.camera.size
    rows: list[_Row] = []
    notes: dict[int, str] = {}
    for index, numbers in sorted(
        _by_actor(elements).items(), key=lambda item: scene.actors[item[0]].z
    ):
        actor = scene.actors[index]
        parts = [elements[n] for n in numbers]
        extent = np.array([p.extent for p in parts])
        box = np.array([*extent[:, :2].min(0), *extent[:, 2:].max(0)])
        inside = np.clip(box, 0, [width, height, width, height])
        if inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
            continue
        truncation = 1 - _area(inside) / _area(box)
        visible = int(count[numbers].sum())
        share = visible / max(_pixels(parts), 1)
        occlusion = 0 if share >= 0.85 else 1 if share >= 0.5 else 2
        ignore = share < _SEEN or visible < _SEEN_PIXELS or inside[3] - inside[1] < _LOWEST
        alpha = actor.rotation_y - np.arctan2(actor.x, actor.z)
        rows.append(
            _Row(
                DONT_CARE if ignore else _KITTI[actor.kind],
                occlusion,
                np.clip(inside, 0, [width - 1, height - 1, width - 1, height - 1]),
                (
                    truncation,
                    (alpha + np.pi) % (2 * np.pi) - np.pi,
                    *dimensions_of(actor),
                    actor.x,
                    scene.camera.height_m,
                    actor.z,
                    actor.rotation_y,
                ),
            )
        )
        notes[index] = f"occluded={occlusion} truncated={truncation:.2f}"
    rows.sort(key=lambda row: row.name == DONT_CARE)
    return _table(rows), notes


def _table(rows: list[_Row]) -> Boxes:
    """Rows as columns with KITTI's two decimals; DontCare keeps its box alone."""
    unknown = np.array([[row.name == DONT_CARE] for row in rows], bool).reshape(-1, 1)
    numbers = np.array([row.numbers for row in rows]).reshape(-1, 9)
    numbers = np.where(unknown, np.nan, np.round(numbers, 2) + 0.0)
    return Boxes.of(
        np.round(np.array([row.box for row in rows]).reshape(-1, 4), 2),
        [row.name for row in rows],
        truncation=numbers[:, 0], occlusion=[-1 if row.name == DONT_CARE else row.occlusion
                                             for row in rows],
        alpha=numbers[:, 1], dimensions=numbers[:, 2:5], location=numbers[:, 5:8],
        rotation_y=numbers[:, 8], ignore=unknown[:, 0],
    )  # fmt: skip


def _by_actor(elements: tuple[Element, ...]) -> dict[int, list[int]]:
    """Element numbers of every actor."""
    found: dict[int, list[int]] = {}
    for number, element in enumerate(elements):
        if element.actor >= 0:
            found.setdefault(element.actor, []).append(number)
    return found


def _pixels(parts: list[Element]) -> int:
    """Pixels inside the image of the outlines of an actor, as if nothing stood before it."""
    polygons = [polygon for part in parts for polygon in part.polygons]
    x, y, width, height = cv2.boundingRect(np.concatenate(polygons))
    mask = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [polygon - np.array([x, y], np.int32)], 1)
    return cv2.countNonZero(mask)


def _area(box: NDArray[np.float64]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


# --------------------------------------------------------------------------------- shapes


def _shapes(
    scene: Scene, elements: tuple[Element, ...], kept: list[int], notes: dict[int, str]
) -> tuple[Shape, ...]:
    """One polygon per outline, in painting order, through the middles of the outermost pixels."""
    shapes = []
    for number in kept:
        element = elements[number]
        kind = scene.actors[element.actor].kind if element.actor >= 0 else ""
        for polygon in element.polygons:
            shapes.append(
                Shape(
                    "van" if kind == "van" else element.label,
                    "polygon",
                    polygon.astype(np.float64) + 0.5,
                    group_id=element.actor if kind == "cyclist" else None,
                    description=notes.get(element.actor, ""),
                )
            )
    return tuple(shapes)
