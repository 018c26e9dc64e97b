"""Reads the labels of a frame by the names of its layout; every packaged data set is read by this.

| name in the layout | what it holds |
|---|---|
| semantic | label image of class ids (`labels` of the dataset.yaml) |
| instances | 16-bit label image of Cityscapes: id * 1000 + n, or id |
| road, lane | RGB label image of KITTI road |
| boxes | KITTI object text, or Pascal VOC's XML |
| calibration | KITTI calibration text |

A data set in another encoding names its own module (`reader:`) with a function like `read`.
"""

from __future__ import annotations

from pathlib import Path

from perception.formats import cityscapes, kitti_calib, kitti_object, kitti_road, voc
from perception.formats.frames import FrameFiles
from perception.formats.label_image import read_semantic, road_from_classes
from perception.formats.manifest import Manifest
from perception.structures import Boxes, Frame, Image, RoadLabel, SemanticLabel

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
    return Frame(
        files.key,
        image,
        semantic=semantic,
        road=_road(files, manifest, image, semantic),
        boxes=_boxes(paths["boxes"]) if "boxes" in paths else None,
        calibration=kitti_calib.read_calibration(paths["calibration"])
        if "calibration" in paths
        else None,
        instances=cityscapes.read_instances(paths["instances"], image.size)
        if "instances" in paths
        else None,
    )


def _boxes(path: Path) -> Boxes:
    if path.suffix == ".xml":
        return voc.read_annotation(path).boxes
    return kitti_object.read_labels(path)


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
