"""Frames as Cityscapes ground truth: polygons, labelIds, labelTrainIds, instanceIds, color.

Redrawing the polygons file by the official rules gives the rasters pixel for pixel, because what is
not a polygon is written as polygons of its raster (`chains`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.annotation.chains import Polygon, polygons_of
from perception.annotation.classes import city_scheme
from perception.annotation.images import EncodedImage
from perception.annotation.interfaces import Settings, Target, Written
from perception.annotation.raster import paint, pixel_box, shape_mask
from perception.annotation.scene import Drawn, Scene
from perception.formats.problems import Problem, RefusedError
from perception.labels import LabelClass
from perception.structures import Frame, Shape

MAX_INSTANCES = 1000  # of one class; more would run into the ids of the next class
_NAME = re.compile(r"([A-Za-z0-9-]+_[0-9]{6}_[0-9]{6})(_leftImg8bit)?")


@dataclass(frozen=True)
class CityObject:
    """One shape as Cityscapes sees it."""

    item: Drawn
    label: LabelClass
    crowd: bool  # of a class with instances: bare id, "cargroup"
    instance: int | None  # number within its class, None: no instance

    @property
    def name(self) -> str:
        """Label in the polygons file."""
        return f"{self.label.name}group" if self.crowd else self.label.name

    @property
    def instance_id(self) -> int:
        """Value in instanceIds."""
        if self.instance is None:
            return self.label.id
        return self.label.id * 1000 + self.instance


def city_objects(scene: Scene) -> list[CityObject]:
    """The shapes in painting order, with instances numbered per class.

    Raises:
        RefusedError: too_many_instances.
    """
    numbers: dict[tuple[str, tuple[str, str | int]], int] = {}
    counts: dict[str, int] = {}
    objects = []
    for item in scene.drawn:
        label = city_scheme().by_name[item.painted.cityscapes]
        crowd = item.crowd and label.has_instances
        instance = None
        if label.has_instances and not crowd:
            key = (label.name, item.identity)
            if key not in numbers:
                numbers[key] = counts.get(label.name, 0)
                counts[label.name] = numbers[key] + 1
            instance = numbers[key]
        objects.append(CityObject(item, label, crowd, instance))
    for name, count in counts.items():
        if count > MAX_INSTANCES:
            raise RefusedError(
                "too_many_instances", f"found {count} of {name}, expected at most {MAX_INSTANCES}"
            )
    return objects


def polygons(shape: Shape, size: tuple[int, int]) -> list[Polygon]:
    """Polygons of integer points that Pillow draws as it draws the shape."""
    if shape.type in ("polygon", "oriented_rectangle"):
        return [np.trunc(shape.points).astype(np.int64).tolist()]
    if shape.type == "rectangle":
        (x1, y1), (x2, y2) = shape.points.min(0), shape.points.max(0)
        corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        return [np.trunc(corners).astype(np.int64).tolist()]
    height, width = size
    x1, y1, x2, y2 = pixel_box(shape)
    left, top = min(max(x1, 0), width), min(max(y1, 0), height)
    right, bottom = min(max(x2 + 1, left), width), min(max(y2 + 1, top), height)
    return polygons_of(shape_mask(shape, size)[top:bottom, left:right], x=left, y=top)


def rasters(objects: list[CityObject], size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """labelIds, labelTrainIds (uint8), instanceIds (uint16), color (BGRA, as OpenCV encodes)."""
    painted = [o for o in objects if o.label.id >= 0]
    canvas = paint([o.item.shape for o in painted], size)
    classes = [city_scheme().by_name["unlabeled"], *(o.label for o in painted)]
    ids = np.array([c.id for c in classes], np.uint8)
    train_ids = np.array([c.train_id for c in classes], np.uint8)
    instance_ids = np.array([0, *(o.instance_id for o in painted)], np.uint16)
    colors = np.array([(*c.color[::-1], 255) for c in classes], np.uint8)
    bgra = np.take(np.ascontiguousarray(colors).view(np.uint32)[:, 0], canvas)
    return {
        "labelIds": np.take(ids, canvas),
        "labelTrainIds": np.take(train_ids, canvas),
        "instanceIds": np.take(instance_ids, canvas),
        "color": bgra.view(np.uint8).reshape(*size, 4),
    }


def polygons_file(objects: list[CityObject], size: tuple[int, int]) -> tuple[bytes, list[Problem]]:
    """The polygons JSON, and a warning where redrawing it would split an instance."""
    records = []
    split = 0
    for item in objects:
        parts = polygons(item.item.shape, size)
        for part in parts:
            record: dict[str, Any] = {"label": item.name, "polygon": part}
            if item.instance is not None:
                record["instance"] = item.instance
            records.append(record | {"shape": item.item.index})
    owners = [(r["label"], r["instance"]) for r in records if "instance" in r]
    split = len(owners) - len(set(owners))
    problems = []
    if split:
        problems.append(
            Problem(
                "group_instances",
                "an instance is made of several polygons: instanceIds.png has its "
                "one id, redrawing the polygons file would give each its own",
            )
        )
    content = {"imgHeight": size[0], "imgWidth": size[1], "objects": records}
    return json.dumps(content).encode("ascii") + b"\n", problems


def _write(frame: Frame, scene: Scene, name: str, _: str, settings: Settings) -> Written:
    objects = city_objects(scene)
    city = name.split("_")[0]
    split = settings.part or settings.split
    base = f"gtFine/{split}/{city}/{name}_gtFine_"
    assert isinstance(frame.image, EncodedImage)
    content, problems = polygons_file(objects, scene.size)
    outputs = {
        f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png": frame.image.png(),
        f"{base}polygons.json": content,
    }
    for kind, pixels in rasters(objects, scene.size).items():
        outputs[f"{base}{kind}.png"] = cv2.imencode(".png", pixels)[1].tobytes()
    return Written(outputs, tuple(problems))


def _kept(stem: str) -> str | None:
    match = _NAME.fullmatch(stem)
    return match[1] if match else None


TARGET = Target(
    folders=("gtFine", "leftImg8bit"),
    kept=_kept,
    numbered=lambda number, settings: f"{settings.city}_000000_{number:06d}",
    write=_write,
    options=frozenset({"city", "split"}),
)
