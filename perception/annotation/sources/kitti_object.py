"""KITTI object labels as rectangles; the line as it was stays with each, for the 3D columns."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from perception.annotation.attributes import describe
from perception.annotation.classes import default_table
from perception.annotation.images import benchmark_image, inside_of, refuse_outside
from perception.annotation.interfaces import Contents, Item, Sample, Settings, Source
from perception.annotation.walk import files_of
from perception.errors import UsageError
from perception.files import read_text
from perception.formats.kitti_object import LABEL_FIELDS, read_labels, read_results
from perception.structures import Boxes, Frame, Shape

# KITTI type → the canonical label that leads back to it
LABELS = {
    "Car": "car",
    "Van": "van",
    "Truck": "truck",
    "Pedestrian": "person",
    "Person_sitting": "person sitting",
    "Cyclist": "cyclist",
    "Tram": "train",
    "Misc": "misc",
    "DontCare": "dontcare",
}


def find(src: Path, settings: Settings) -> Contents:
    """The label files of `SRC/training/label_2` (or `SRC/label_2`), by name."""
    for folder in (src / "training" / "label_2", src / "label_2"):
        if folder.is_dir():
            return files_of(folder, src, settings, "*.txt", _stem)
    raise UsageError(
        src,
        "no training/label_2",
        "the unpacked data_object_*.zip of KITTI",
        "Give the folder that holds training/.",
    )


def _stem(name: str) -> str | None:
    return name[:-4] if name.lower().endswith(".txt") else None


def read(item: Item, settings: Settings) -> Sample:
    """The rectangles of one label file, with its image."""
    inside = inside_of(item.root, allow_outside=settings.allow_outside)
    refuse_outside(inside, item.path)
    image, problems = benchmark_image(item.path.parents[1] / "image_2", item.stem, inside)
    lines = [line for line in read_text(item.path).split("\n") if line.strip()]
    scored = bool(lines) and len(lines[0].split()) > LABEL_FIELDS
    boxes = read_results(item.path) if scored else read_labels(item.path)
    shapes = tuple(_rectangle(boxes, row, line) for row, line in enumerate(lines))
    return Sample(Frame(item.stem, image, boxes=boxes, shapes=shapes), tuple(problems))


def _rectangle(boxes: Boxes, row: int, line: str) -> Shape:
    kind = str(boxes.names[row])
    label = LABELS.get(kind, kind)
    if label == kind and (known := default_table().resolve(kind)):
        label = known.meaning.name
    cut = float(boxes.truncation[row])
    cut = -1.0 if math.isnan(cut) else cut  # unknown in the line: not to be computed later
    described = "" if boxes.ignore[row] else describe(cut, int(boxes.occlusion[row]))
    corners = np.array(boxes.xyxy[row], np.float64).reshape(2, 2)
    extra = {"kitti": " ".join(line.split())}
    return Shape(label, "rectangle", corners, description=described, extra=extra)


SOURCE = Source(find, read)
