"""Frames as KITTI road ground truth: red is valid, blue is road, black is ignored.

Everything that is not labelled is valid non-road. The image is RGB, 8 bit, without palette: readers
of the benchmark take red ≠ 0 as "valid" and blue ≠ 0 as "road".
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from perception.annotation.calibration import calibration_output
from perception.annotation.images import EncodedImage, encode_png
from perception.annotation.interfaces import Settings, Target, Written
from perception.annotation.raster import paint
from perception.annotation.scene import Scene
from perception.formats.kitti_road import colours
from perception.formats.problems import Problem
from perception.structures import Frame, RoadLabel

_NAME = re.compile(r"(um|umm|uu)_[0-9]{6}")


def paint_road(scene: Scene) -> RoadLabel:
    """Road, validity and (where a lane is drawn) the ego lane, from the shapes of a frame."""
    canvas = paint([item.shape for item in scene.drawn], scene.size)
    meanings = ["nonroad", *(item.painted.road for item in scene.drawn)]

    def where(*names: str) -> NDArray[np.bool_]:
        return np.take(np.array([name in names for name in meanings]), canvas)

    lane = where("lane") if "lane" in meanings else None
    return RoadLabel(road=where("road", "lane"), valid=~where("ignore"), lane=lane)


def _write(frame: Frame, scene: Scene, name: str, stem: str, settings: Settings) -> Written:
    label = paint_road(scene)
    category, number = name.split("_")
    folder = "training/gt_image_2"
    assert isinstance(frame.image, EncodedImage)
    outputs = {
        f"training/image_2/{name}.png": frame.image.png(),
        f"{folder}/{category}_road_{number}.png": encode_png(colours(label.road, label.valid)),
    }
    problems = []
    if label.lane is not None and category == "um":
        outputs[f"{folder}/um_lane_{number}.png"] = encode_png(colours(label.lane, label.valid))
    elif label.lane is not None:
        problems.append(
            Problem(
                "lane_not_written",
                f"lane shapes in a frame of category {category}; only um has lanes",
            )
        )
    if scene.shapes_in_file and not {item.painted.road for item in scene.drawn} & {"road", "lane"}:
        problems.append(Problem("no_road", "no shape is road or lane: the frame is all non-road"))
    more, missing = calibration_output(name, stem, settings)
    return Written(outputs | more, (*problems, *missing))


TARGET = Target(
    folders=("training",),
    kept=lambda stem: stem if _NAME.fullmatch(stem) else None,
    numbered=lambda number, settings: f"{settings.category}_{number:06d}",
    write=_write,
    rasters=True,
    options=frozenset({"category", "calibration"}),
    lists=True,
)
