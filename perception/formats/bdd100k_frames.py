"""BDD100K in its official layout: what can be driven on, the own lane, lane markings, boxes.

| file | what it holds |
|---|---|
| labels/drivable/masks/{part}/*.png | 0 own lane ("direct"), 1 other, 2 not drivable, 255 unsure |
| labels/lane/masks/{part}/*.png | bits; bit 3 is set where there is no marking |
| labels/det_20/det_{part}.json | a list of all frames: name, labels with category and box2d |

Boxes of the toolkit end in inclusive pixels: x2 is read as x2 + 1. Crowds are ignored regions.
Source: BDD100K toolkit, bdd100k/eval/lane.py and doc/format.rst, 2020 to 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from perception.errors import PerceptionError
from perception.files import read_json, read_label
from perception.formats.frames import FrameFiles
from perception.formats.label_image import check_size
from perception.formats.manifest import Manifest
from perception.structures import Boxes, Frame, Image, Label, MaskLabel, RoadLabel, by_task

NO_MARKING = 1 << 3  # the bit of a lane mask that background has
DIRECT, ALTERNATIVE, UNSURE = 0, 1, 255


def read(files: FrameFiles, manifest: Manifest) -> Frame:  # noqa: ARG001 - as every reader
    """The frame with every label whose file is there (image lazily).

    Raises:
        PerceptionError: a label that is damaged or does not fit its image.
    """
    image, paths = Image.of(files.image), files.labels
    named: dict[str, Label | None] = {}
    if "road" in paths:
        named["road"], named["lane"] = _drivable(paths["road"], image.size)
    if "markings" in paths:
        stored = read_label(paths["markings"])
        check_size(paths["markings"], stored.shape, image.size)
        named["markings"] = MaskLabel(stored & NO_MARKING == 0, np.ones(image.size, bool))
    if "boxes" in paths:
        named["boxes"] = read_boxes(paths["boxes"]).get(files.image.stem, Boxes.empty())
    return Frame(files.key, image, labels=by_task(None, named))


def _drivable(path: Path, size: tuple[int, int]) -> tuple[RoadLabel, MaskLabel]:
    """What can be driven on, and the own lane in it."""
    stored = read_label(path)
    check_size(path, stored.shape, size)
    if odd := sorted(set(np.unique(stored).tolist()) - {DIRECT, ALTERNATIVE, 2, UNSURE}):
        raise PerceptionError(
            path,
            f"value {odd[0]}",
            "0 direct, 1 alternative, 2 not drivable, 255 unsure",
            "Take the folder labels/drivable/masks, not the coloured maps.",
        )
    lane, valid = stored == DIRECT, stored != UNSURE
    return RoadLabel(lane | (stored == ALTERNATIVE), valid, lane), MaskLabel(lane, valid)


@lru_cache(maxsize=2)
def read_boxes(path: Path) -> Mapping[str, Boxes]:
    """The boxes of every frame of a det_20 file by the stem of its name; frames without are absent.

    Raises:
        PerceptionError: no list of frames, or a box that is none (names frame and label).
    """
    content = read_json(path)
    frames = content.get("frames") if isinstance(content, Mapping) else content
    if not isinstance(frames, list):
        raise PerceptionError(path, type(frames).__name__, "a list of frames")
    return MappingProxyType(dict(_frame(path, n, frame) for n, frame in enumerate(frames)))


def _frame(path: Path, number: int, frame: Any) -> tuple[str, Boxes]:
    """Name and boxes of one entry."""
    if not isinstance(frame, Mapping) or not isinstance(frame.get("name"), str):
        raise PerceptionError(f"{path}, frame {number}", str(frame)[:80], "name and labels")
    where = f"{path}: {frame['name']}"
    rows, names, ignore = [], [], []
    for place, label in enumerate(frame.get("labels") or []):
        try:
            box = [float(label["box2d"][key]) for key in ("x1", "y1", "x2", "y2")]
            name = str(label["category"])
        except (KeyError, TypeError, ValueError):
            raise PerceptionError(
                f"{where}, label {place}", str(label)[:80], "category and box2d {x1, y1, x2, y2}"
            ) from None
        if not np.isfinite(box).all() or box[2] < box[0] or box[3] < box[1]:
            raise PerceptionError(f"{where}, label {place}", f"box {box}", "x1 <= x2, y1 <= y2")
        attributes = label.get("attributes") or {}
        rows.append([box[0], box[1], box[2] + 1, box[3] + 1])
        names.append(name.replace(" ", "_"))
        ignore.append(bool(attributes.get("crowd") or attributes.get("Crowd")))
    return Path(frame["name"]).stem, Boxes.of(rows, names, ignore=np.array(ignore, bool))
