"""Frames as YOLO text: `class x y width height` as shares of the image, `data.yaml`, `images/`.

The format knows neither crowds nor ignored regions; they are left out and reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from perception.annotation.classes import is_thing
from perception.annotation.images import EncodedImage
from perception.annotation.interfaces import Settings, Target, Written
from perception.annotation.scene import Drawn, Scene
from perception.annotation.targets.coco import object_box, thing_objects
from perception.formats.problems import Problem
from perception.structures import Frame


def _line(shapes: list[Drawn], size: tuple[int, int], settings: Settings) -> str:
    x1, y1, x2, y2 = object_box(shapes, size)
    height, width = size
    number = settings.table.things.index(shapes[0].meaning.name)
    values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return " ".join([str(number), *(f"{value:.6f}" for value in values)]) + "\n"


def _write(frame: Frame, scene: Scene, name: str, _: str, settings: Settings) -> Written:
    objects, problems = thing_objects(scene)
    lines = []
    for shapes in objects:
        if any(item.crowd or item.ignore for item in shapes):
            problems.append(
                Problem(
                    "ignore_not_written",
                    f"a crowd or ignored {shapes[0].meaning.name} is left out",
                    shapes[0].index,
                )
            )
        else:
            lines.append(_line(shapes, scene.size, settings))
    assert isinstance(frame.image, EncodedImage)
    picture, suffix = frame.image.unchanged()
    place = f"{settings.part}/{name}" if settings.part else name
    outputs = {
        f"images/{place}{suffix}": picture,
        f"labels/{place}.txt": "".join(lines).encode("ascii"),
    }
    return Written(outputs, tuple(problems))


def _finish(_: Sequence[tuple[str, Any]], settings: Settings) -> Mapping[str, bytes]:
    """The class names, in the form that training programs read; paths are relative to the file."""
    names = "".join(
        f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(settings.table.things)
    )
    places = "train: images/train\nval: images/val\n"
    if settings.val_share is None:
        places = "train: images\nval: images  # the same frames: convert with --val-share\n"
    return {"data.yaml": f"{places}names:\n{names}".encode()}


TARGET = Target(
    folders=("images", "labels"),
    kept=lambda stem: stem,
    numbered=lambda number, _: f"{number:06d}",
    write=_write,
    matters=lambda meaning: is_thing(meaning) or meaning.kitti == "DontCare",
    finish=_finish,
    options=frozenset({"classes", "scheme"}),
)
