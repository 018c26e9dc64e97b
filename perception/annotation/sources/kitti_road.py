"""KITTI road ground truth as mask shapes: road, lane, ignore, each on its own box."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from perception.annotation.images import benchmark_image, inside_of, refuse_outside
from perception.annotation.interfaces import Contents, Item, Sample, Settings, Source
from perception.annotation.walk import files_of
from perception.errors import UsageError
from perception.formats.kitti_road import read_label
from perception.formats.labelme import mask_shape
from perception.formats.problems import Problem
from perception.structures import Frame, RoadLabel

_LABEL = re.compile(r"(um|umm|uu)_road_([0-9]{6})\.(?i:png)")


def find(src: Path, settings: Settings) -> Contents:
    """The road images of `SRC/training/gt_image_2` (or `SRC/gt_image_2`), by name."""
    for folder in (src / "training" / "gt_image_2", src / "gt_image_2"):
        if folder.is_dir():
            return files_of(folder, src, settings, "um_road_*.png", _stem)
    raise UsageError(
        src,
        "no training/gt_image_2",
        "the unpacked data_road.zip of KITTI",
        "Give the folder that holds training/.",
    )


def _stem(name: str) -> str | None:
    match = _LABEL.fullmatch(name)
    return f"{match[1]}_{match[2]}" if match else None


def read(item: Item, settings: Settings) -> Sample:
    """The masks of one road image and, where there is one, its lane image."""
    inside = inside_of(item.root, allow_outside=settings.allow_outside)
    lane_path = item.path.with_name(item.path.name.replace("_road_", "_lane_"))
    lane = lane_path if lane_path.is_file() else None
    refuse_outside(inside, item.path, lane)
    image, problems = benchmark_image(item.path.parents[1] / "image_2", item.stem, inside)
    label = read_label(item.path, image.size, lane=lane)
    if lane is not None:
        problems = problems + _differences(label, read_label(lane, image.size))
    masks = {"road": label.road, "lane": label.lane, "ignore": ~label.valid}
    shapes = [mask_shape(name, mask) for name, mask in masks.items() if mask is not None]
    kept = tuple(shape for shape in shapes if shape is not None)
    return Sample(Frame(item.stem, image, road=label, shapes=kept), tuple(problems))


def _differences(label: RoadLabel, lane: RoadLabel) -> list[Problem]:
    """What painted shapes cannot say: a lane that is not road, other ignored pixels in the lane."""
    assert label.lane is not None
    beside = int(np.count_nonzero(lane.road & ~label.road))
    ignored = int(np.count_nonzero(lane.valid != label.valid))
    if not beside and not ignored:
        return []
    return [
        Problem(
            "lane_differs",
            f"{beside} lane pixels are not road, {ignored} pixels are ignored in one "
            "image only; shapes hold one answer for both",
        )
    ]


SOURCE = Source(find, read)
