"""What a rendering shows, as labels: who is seen where, how much of it, and where the road is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.structures import Boxes, RoadLabel, Shape
from perception.synthesis.canvas import Element
from perception.synthesis.movers import dimensions_of
from perception.synthesis.render import Rendering
from perception.synthesis.scene import Scene

# Cityscapes ids of the classes that occur
IDS = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17,
    "traffic light": 19, "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23,
    "person": 24, "rider": 25, "car": 26, "truck": 27, "bicycle": 33,
}  # fmt: skip
_KITTI = {"car": "Car", "van": "Van", "truck": "Truck", "person": "Pedestrian",
          "cyclist": "Cyclist"}  # fmt: skip
_SEEN = 0.1  # less of it visible: DontCare
_SEEN_PIXELS = 16
_LOWEST = 6.0  # pixels of height; below: DontCare


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
    road = ids == IDS["road"]
    lane = road & rendering.ground.lane if scene.road.category == "um" else None
    label = RoadLabel(road, valid=~(rendering.ground.unsure & _is_ground(ids)), lane=lane)
    boxes, notes = _boxes(scene, rendering.elements, count)
    return Labels(label, boxes, ids, instances, _shapes(scene, rendering.elements, kept, notes))


def _is_ground(ids: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (ids == IDS["road"]) | (ids == IDS["sidewalk"]) | (ids == IDS["terrain"])


def _rasterised(elements: tuple[Element, ...], size: tuple[int, ...]) -> NDArray[np.int32]:
    """(H, W) the number of the element seen; painted by Pillow as cityscapesScripts does."""
    from PIL import Image, ImageDraw

    picture = Image.new("I", (size[1], size[0]), 0)
    draw = ImageDraw.Draw(picture)
    for number, element in enumerate(elements):
        for polygon in element.polygons:
            if len(polygon) > 1:
                draw.polygon(polygon.ravel().tolist(), fill=number)
    return np.array(picture, np.int32)


def _cityscapes(elements: tuple[Element, ...], kept: list[int], seen: NDArray[np.int32]
                ) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:  # fmt: skip
    """Label ids and instance ids; instances are counted per class in painting order."""
    ids = np.zeros(len(elements), np.uint8)
    instances = np.zeros(len(elements), np.uint16)
    counts: dict[str, int] = {}
    for number in kept:
        element = elements[number]
        ids[number] = instances[number] = IDS[element.label]
        if element.instance:
            index = counts.get(element.label, 0)
            counts[element.label] = index + 1
            instances[number] = IDS[element.label] * 1000 + index
    return ids[seen], instances[seen]


# ---------------------------------------------------------------------------------- boxes


def _boxes(scene: Scene, elements: tuple[Element, ...], count: NDArray[np.int64]
           ) -> tuple[Boxes, dict[int, str]]:  # fmt: skip
    """KITTI's columns for every actor in the picture, nearest first, and a note for labelme."""
    height, width = scene.camera.size
    rows: list[dict[str, object]] = []
    notes: dict[int, str] = {}
    for index, numbers in sorted(_by_actor(elements).items(),
                                 key=lambda item: scene.actors[item[0]].z):  # fmt: skip
        actor = scene.actors[index]
        parts = [elements[n] for n in numbers]
        extent = np.array([p.extent for p in parts])
        box = np.array([*extent[:, :2].min(0), *extent[:, 2:].max(0)])
        inside = np.clip(box, 0, [width, height, width, height])
        if inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
            continue
        truncation = 1 - _area(inside) / _area(box)
        visible = int(count[numbers].sum())
        share = visible / max(sum(p.pixels for p in parts), 1)
        occlusion = 0 if share >= 0.85 else 1 if share >= 0.5 else 2
        ignore = share < _SEEN or visible < _SEEN_PIXELS or inside[3] - inside[1] < _LOWEST
        location = (actor.x, scene.camera.height_m, actor.z)
        alpha = actor.rotation_y - np.arctan2(actor.x, actor.z)
        rows.append({
            "xyxy": np.clip(inside, 0, [width - 1, height - 1, width - 1, height - 1]),
            "name": "DontCare" if ignore else _KITTI[actor.kind], "truncation": truncation,
            "occlusion": occlusion, "alpha": (alpha + np.pi) % (2 * np.pi) - np.pi,
            "dimensions": dimensions_of(actor), "location": location,
            "rotation_y": actor.rotation_y, "ignore": ignore,
        })  # fmt: skip
        notes[index] = f"occluded={occlusion} truncated={truncation:.2f}"
    rows.sort(key=lambda row: bool(row["ignore"]))
    columns = {name: [row[name] for row in rows] for name in _COLUMNS}
    return Boxes.of([r["xyxy"] for r in rows], [str(r["name"]) for r in rows], **columns), notes


_COLUMNS = ("truncation", "occlusion", "alpha", "dimensions", "location", "rotation_y", "ignore")


def _by_actor(elements: tuple[Element, ...]) -> dict[int, list[int]]:
    """Element numbers of every actor."""
    found: dict[int, list[int]] = {}
    for number, element in enumerate(elements):
        if element.actor >= 0:
            found.setdefault(element.actor, []).append(number)
    return found


def _area(box: NDArray[np.float64]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


# --------------------------------------------------------------------------------- shapes


def _shapes(scene: Scene, elements: tuple[Element, ...], kept: list[int], notes: dict[int, str]
            ) -> tuple[Shape, ...]:  # fmt: skip
    """One polygon per outline, in painting order; points are pixel indices."""
    shapes = []
    for number in kept:
        element = elements[number]
        van = element.actor >= 0 and scene.actors[element.actor].kind == "van"
        for polygon in element.polygons:
            shapes.append(Shape(
                "van" if van else element.label, "polygon", polygon.astype(np.float64),
                group_id=element.actor if element.instance else None,
                description=notes.get(element.actor, ""),
            ))  # fmt: skip
    return tuple(shapes)
