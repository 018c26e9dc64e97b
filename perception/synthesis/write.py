"""Writes one synthetic frame as KITTI road, KITTI object, Cityscapes and labelme.

    OUT/kitti_road/training/{image_2,gt_image_2,calib}      um_000012.png, um_road_, um_lane_
    OUT/kitti_object/training/{image_2,label_2,calib}       000012.png, .txt
    OUT/cityscapes/{leftImg8bit,gtFine}/{train,val}/um/     um_000012_000000_leftImg8bit.png ...
    OUT/labelme/{train,val}/                                um_000012.png, .json

The number is the frame's, the same everywhere; the "city" of Cityscapes is KITTI's road category.
The picture is stored once and hard-linked into the other folders (copied where links do not work).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.formats import labelme
from perception.formats.kitti_calib import format_calibration
from perception.formats.kitti_object import format_labels
from perception.formats.kitti_road import colours
from perception.structures import Shape
from perception.synthesis.annotate import Labels
from perception.synthesis.world import Scene

FOLDERS = ("kitti_road", "kitti_object", "cityscapes", "labelme")
_FILTER = getattr(cv2, "IMWRITE_PNG_FILTER", None)  # OpenCV 4.13 and later
_LEVEL = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_PHOTO = [*_LEVEL, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
_FLAT = [*_LEVEL, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if _FILTER is not None:  # one filter for every row, as trying all five takes most of the time
    _PHOTO = [*_PHOTO, _FILTER, cv2.IMWRITE_PNG_FILTER_AVG]
    _FLAT = [*_FLAT, _FILTER, cv2.IMWRITE_PNG_FILTER_UP]


def frame_key(scene: Scene, index: int) -> str:
    """KITTI road's name of a frame, e.g. um_000012; also labelme's."""
    return f"{scene.road.category}_{index:06d}"


def frame_paths(part: str, key: str) -> dict[str, Path]:
    """Every file of a frame of `part` (train or val), below the data set; the first four are
    names of one picture.
    """
    city, number = key.split("_")
    road, boxes = Path("kitti_road", "training"), Path("kitti_object", "training")
    images, fine = Path("cityscapes", "leftImg8bit"), Path("cityscapes", "gtFine")
    stem = f"{part}/{city}/{city}_{number}_000000"
    return {
        "image": road / "image_2" / f"{key}.png",
        "boxes_image": boxes / "image_2" / f"{number}.png",
        "cityscapes_image": images / f"{stem}_leftImg8bit.png",
        "labelme_image": Path("labelme", part, f"{key}.png"),
        "calibration": road / "calib" / f"{key}.txt",
        "boxes_calibration": boxes / "calib" / f"{number}.txt",
        "road": road / "gt_image_2" / f"{city}_road_{number}.png",
        "lane": road / "gt_image_2" / f"{city}_lane_{number}.png",
        "boxes": boxes / "label_2" / f"{number}.txt",
        "ids": fine / f"{stem}_gtFine_labelIds.png",
        "instances": fine / f"{stem}_gtFine_instanceIds.png",
        "polygons": fine / f"{stem}_gtFine_polygons.json",
        "labelme": Path("labelme", part, f"{key}.json"),
    }


def split_paths(part: str) -> dict[str, Path]:
    """The lists of the frames of a split, for the formats that have no folder per split."""
    return {name: Path(name, "splits", f"{part}.txt") for name in ("kitti_road", "kitti_object")}


def write_frame(
    out: Path, part: str, index: int, scene: Scene, image: NDArray[np.uint8], labels: Labels
) -> str:
    """Writes every file of a frame of `part` (train or val) below `out`; returns its key."""
    key = frame_key(scene, index)
    paths = {name: out / path for name, path in frame_paths(part, key).items()}
    _write_png(paths["image"], image, _PHOTO)
    for copy in ("boxes_image", "cityscapes_image", "labelme_image"):
        _link(paths["image"], paths[copy])
    _write(paths["calibration"], format_calibration(scene.camera.calibration()).encode())
    _link(paths["calibration"], paths["boxes_calibration"])

    road = labels.road
    _write_png(paths["road"], colours(road.road, road.valid), _FLAT)
    if road.lane is not None:
        _write_png(paths["lane"], colours(road.lane, road.valid), _FLAT)
    _write(paths["boxes"], format_labels(labels.boxes).encode())
    _write_png(paths["ids"], labels.ids, _FLAT)
    _write_png(paths["instances"], labels.instances, _FLAT)
    size = scene.camera.size
    _write(paths["polygons"], _cityscapes_json(labels.shapes, size))
    _write(paths["labelme"], _labelme_json(labels.shapes, paths["labelme_image"].name, size))
    return key


def write_split(out: Path, part: str, keys: list[str]) -> None:
    """Writes the lists of the frames of a split."""
    paths = split_paths(part)
    _write(out / paths["kitti_road"], "".join(f"{key}\n" for key in keys).encode())
    numbers = "".join(f"{key.split('_')[1]}\n" for key in keys)
    _write(out / paths["kitti_object"], numbers.encode())


def _cityscapes_json(shapes: tuple[Shape, ...], size: tuple[int, int]) -> bytes:
    """Cityscapes' polygon file; its points are the indices of the pixels they lie in."""
    objects = [
        {"label": "car" if s.label == "van" else s.label, "polygon": list[float]()} for s in shapes
    ]
    content = {"imgHeight": size[0], "imgWidth": size[1], "objects": objects}
    return _compact(content, "polygon", [_points(shape, "[%d,%d]") for shape in shapes])


def _labelme_json(shapes: tuple[Shape, ...], picture: str, size: tuple[int, int]) -> bytes:
    """labelme's file; its points are the middles of those pixels."""
    bare = [replace(shape, points=np.empty((0, 2))) for shape in shapes]
    content = labelme.document(bare, picture, size).content
    return _compact(content, "points", [_points(shape, "[%d.5,%d.5]") for shape in shapes])


def _points(shape: Shape, pair: str) -> str:
    """JSON of the points of a shape, all of them middles of pixels."""
    indices = shape.points.astype(int)
    return "[" + ",".join([pair] * len(indices)) % tuple(indices.ravel().tolist()) + "]"


def _compact(content: object, key: str, lists: list[str]) -> bytes:
    """JSON on one line, whose empty lists at `key` become `lists`, one after the other.

    A frame has thousands of points, for which Python's encoder takes four times as long.
    """
    empty = f'"{key}":[]'
    first, *rest = json.dumps(content, separators=(",", ":")).split(empty)
    filled = (f'"{key}":{text}{part}' for text, part in zip(lists, rest, strict=True))
    return "".join((first, *filled, "\n")).encode()


def _write_png(path: Path, image: NDArray[Any], options: list[int]) -> None:
    """(H, W) or RGB (H, W, 3) pixels, compressed for speed."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _write(path, cv2.imencode(".png", image, options)[1].data)


def _write(path: Path, content: bytes | memoryview) -> None:
    """A file of the staging folder: not synced on its own, as the folder moves when it is whole."""
    try:
        path.write_bytes(content)
    except FileNotFoundError:  # the first file of its folder
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _link(source: Path, target: Path) -> None:
    """`target` becomes a second name of `source`, or a copy where links do not work."""
    try:
        os.link(source, target)
    except OSError:  # the first file of its folder, or no links here
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
