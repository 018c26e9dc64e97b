"""Reads the labels of a frame by the names of its layout; every packaged data set is read by this.

| name in the layout | what it holds |
|---|---|
| semantic | label image of class ids (`labels` of the dataset.yaml) |
| instances | 16-bit label image of Cityscapes: id * 1000 + n, or id |
| road, lane | RGB label image of KITTI road |
| boxes | KITTI object text, or Pascal VOC's XML |
| calibration | KITTI calibration text |
| a name of `targets` | by its kind: masks like road or as 0, 1, 255; class ids; numbers per pixel |

A data set in another encoding names its own module (`reader:`) with a function like `read`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from perception.errors import PerceptionError
from perception.files import read_raster
from perception.formats import cityscapes, kitti_calib, kitti_object, kitti_road, voc
from perception.formats.frames import FrameFiles
from perception.formats.label_image import check_size, read_semantic, road_from_classes
from perception.formats.manifest import Manifest, TargetInfo
from perception.formats.values import read_values
from perception.labels import IGNORE_INDEX
from perception.structures import (
    Boxes,
    Frame,
    Image,
    Label,
    MaskLabel,
    RoadLabel,
    SemanticLabel,
    ValuesLabel,
    by_task,
)
from perception.tasks import Kind

FARTHEST = 1_000_000  # pixels: of the corner of a label
NAMES = ("semantic", "instances", "road", "lane", "boxes", "calibration")  # what `read` reads


def read(files: FrameFiles, manifest: Manifest) -> Frame:
    """The frame with every label whose file is there (image lazily).

    Raises:
        PerceptionError: a label file that is damaged or does not fit its image.
    """
    image, paths = Image.of(files.image), files.labels
    semantic = None
    if "semantic" in paths:
        semantic = read_semantic(paths["semantic"], manifest.scheme, image.size)
    named: dict[str, Label | None] = {
        "road": _road(files, manifest, image, semantic),
        "semantic": semantic,
        "boxes": _boxes(paths["boxes"], image.size) if "boxes" in paths else None,
    }
    if "lane" in paths:
        lane = kitti_road.read_label(paths["lane"], image.size)
        named["lane"] = MaskLabel(lane.road, lane.valid)
    for name, info in manifest.targets.items():
        if info.classes and semantic is not None:
            union = road_from_classes(semantic, info.classes)
            named[name] = MaskLabel(union.road, union.valid)
        elif name in paths:
            named[name] = _OF_KIND[info.task.kind](paths[name], image.size, info)
    return Frame(
        files.key,
        image,
        labels=by_task(None, named),
        calibration=kitti_calib.read_calibration(paths["calibration"])
        if "calibration" in paths
        else None,
        instances=cityscapes.read_instances(paths["instances"], image.size)
        if "instances" in paths
        else None,
    )


def _boxes(path: Path, size: tuple[int, int]) -> Boxes:
    if path.suffix.lower() == ".xml":
        objects = voc.read_annotation(path)
        if objects.size is not None:
            check_size(path, objects.size, size)
        boxes = objects.boxes
    else:
        boxes = kitti_object.read_labels(path)
    check_corners(path, boxes)
    return boxes


def check_corners(path: Path, boxes: Boxes) -> None:
    """Raises a `PerceptionError` for a corner that no picture reaches, as projections give them."""
    far = np.abs(boxes.xyxy).max(axis=1, initial=0) > FARTHEST
    if far.any():
        first = int(np.flatnonzero(far)[0])
        corners = " ".join(f"{v:g}" for v in boxes.xyxy[first])
        raise PerceptionError(
            f"{path}, box {first + 1}",
            f"corners {corners}",
            f"pixels of an image, at most {FARTHEST:,}",
            "Clip the box to its image, or remove it.",
        )


def _mask(path: Path, size: tuple[int, int], _: TargetInfo) -> MaskLabel:
    """KITTI road's colours, or ids: 1 inside, 0 outside, 255 unsure."""
    stored = read_raster(path)
    if stored.ndim == 3:
        label = kitti_road.read_label(path, size)
        return MaskLabel(label.road, label.valid)
    check_size(path, stored.shape, size)
    if odd := sorted(set(np.unique(stored).tolist()) - {0, 1, IGNORE_INDEX}):
        raise PerceptionError(path, f"value {odd[0]}", "0 outside, 1 inside, 255 unsure")
    return MaskLabel(stored == 1, stored != IGNORE_INDEX)


def _classes(path: Path, size: tuple[int, int], info: TargetInfo) -> SemanticLabel:
    return read_semantic(path, info.scheme, size)


def _values(path: Path, size: tuple[int, int], info: TargetInfo) -> ValuesLabel:
    return read_values(path, size, scale=info.scale, invalid=info.invalid, unit=info.task.unit)


_OF_KIND: dict[Kind, Callable[[Path, tuple[int, int], TargetInfo], Label]] = {
    Kind.MASK: _mask,
    Kind.CLASSES: _classes,
    Kind.VALUES: _values,
}


def _road(
    files: FrameFiles, manifest: Manifest, image: Image, semantic: SemanticLabel | None
) -> RoadLabel | None:
    """From its own file, else from the classes that are road."""
    if "road" in files.labels:
        lane = files.labels.get("lane")
        return kitti_road.read_label(files.labels["road"], image.size, lane=lane)
    if semantic is not None and manifest.road:
        return road_from_classes(semantic, manifest.road)
    return None
