"""Frames as COCO instances: `annotations.json` and `images/`.

One annotation per object. COCO adds the parts of a segmentation up and knows no holes: polygons
stay polygons, every other shape and each crowd becomes run lengths of its pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perception.annotation.classes import is_thing
from perception.annotation.images import EncodedImage
from perception.annotation.interfaces import Settings, Target, Written
from perception.annotation.raster import shape_mask
from perception.annotation.scene import Drawn, Scene
from perception.annotation.targets.kitti_object import clip, has_area, shape_box
from perception.formats import rle
from perception.formats.problems import Problem
from perception.structures import Frame


def thing_objects(scene: Scene) -> tuple[list[list[Drawn]], list[Problem]]:
    """The shapes of each object that has a box, in file order, and what was left out."""
    objects: dict[tuple[str, str | int], list[Drawn]] = {}
    problems = []
    regions = 0
    for item in sorted(scene.drawn, key=lambda d: d.index):
        if not is_thing(item.meaning):
            regions += 1
        elif (box := shape_box(item.shape)) is None:
            problems.append(
                Problem("no_box", f"{item.meaning.name} drawn as {item.shape.type}", item.index)
            )
        elif not has_area(clip(box, scene.size, margin=0)):
            problems.append(Problem("degenerate", "box without width or height", item.index))
        else:
            objects.setdefault(item.identity, []).append(item)
    if regions:
        problems.append(
            Problem(
                "ignore_not_written", f"{regions} ignored regions: the format has no class for them"
            )
        )
    return list(objects.values()), problems


def object_box(shapes: Sequence[Drawn], size: tuple[int, int]) -> tuple[float, ...]:
    """(x1, y1, x2, y2) around the shapes of an object, inside the image."""
    boxes = [box for item in shapes if (box := shape_box(item.shape)) is not None]
    low, high = np.min(boxes, axis=0), np.max(boxes, axis=0)
    return clip((low[0], low[1], high[2], high[3]), size, margin=0)


def _annotation(shapes: list[Drawn], size: tuple[int, int], settings: Settings) -> dict[str, Any]:
    x1, y1, x2, y2 = object_box(shapes, size)
    crowd = any(item.crowd or item.ignore for item in shapes)
    kinds = {item.shape.type for item in shapes}
    area = (x2 - x1) * (y2 - y1)
    segmentation: Any
    if kinds == {"rectangle"} and len(shapes) == 1 and not crowd:
        segmentation = [_corners(shapes, size)]
    else:
        pixels = np.zeros(size, bool)
        for item in shapes:
            pixels |= shape_mask(item.shape, size)
        area = int(np.count_nonzero(pixels))
        if crowd or not kinds <= {"polygon", "oriented_rectangle", "rectangle"}:
            segmentation = {"size": list(size), "counts": rle.encode(pixels)}
        else:
            segmentation = [_outline(item, size) for item in shapes]
    category = settings.table.things.index(shapes[0].meaning.name) + 1
    return {
        "category_id": category,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": area,
        "iscrowd": int(crowd),
        "segmentation": segmentation,
    }


def _outline(item: Drawn, size: tuple[int, int]) -> list[float]:
    if item.shape.type == "rectangle":
        return _corners([item], size)
    outline: list[float] = item.shape.points.ravel().tolist()
    return outline


def _corners(shapes: Sequence[Drawn], size: tuple[int, int]) -> list[float]:
    """A box as a polygon: tools that read masks take no other form."""
    x1, y1, x2, y2 = object_box(shapes, size)
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def _write(frame: Frame, scene: Scene, name: str, _: str, settings: Settings) -> Written:
    objects, problems = thing_objects(scene)
    assert isinstance(frame.image, EncodedImage)
    picture, suffix = frame.image.unchanged()
    annotations = [_annotation(shapes, scene.size, settings) for shapes in objects]
    part = (settings.part, f"{name}{suffix}", scene.size, annotations)
    return Written({f"images/{name}{suffix}": picture}, tuple(problems), part)


def _finish(parts: Sequence[tuple[str, Any]], settings: Settings) -> Mapping[str, bytes]:
    """One file for all frames of a split; ids count from 1 in the order of the frames."""
    splits = ("train", "val") if settings.val_share is not None else ("",)
    files = {}
    for split in splits:
        frames = [part[1:] for _, part in parts if part[0] == split]
        name = f"annotations_{split}.json" if split else "annotations.json"
        files[name] = _annotations_file(frames, settings)
    return files


def _annotations_file(frames: Sequence[tuple[Any, ...]], settings: Settings) -> bytes:
    images = []
    annotations: list[dict[str, Any]] = []
    for number, (name, size, found) in enumerate(frames, 1):
        images.append({"id": number, "file_name": name, "width": size[1], "height": size[0]})
        for one in found:
            annotations.append({"id": len(annotations) + 1, "image_id": number} | one)
    categories = [
        {"id": number, "name": name} for number, name in enumerate(settings.table.things, 1)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(content).encode("ascii") + b"\n"


TARGET = Target(
    folders=("images", "annotations.json", "annotations_train.json", "annotations_val.json"),
    kept=lambda stem: stem,
    numbered=lambda number, _: f"{number:06d}",
    write=_write,
    matters=lambda meaning: is_thing(meaning) or meaning.kitti == "DontCare",
    finish=_finish,
    options=frozenset({"classes", "scheme"}),
)
