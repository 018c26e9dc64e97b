"""Label images of class ids (CamVid, IDD Lite, Cityscapes): one channel, checked by their table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from perception.errors import PerceptionError
from perception.files import read_label
from perception.labels import IGNORE_INDEX, LabelScheme
from perception.structures import RoadLabel, SemanticLabel


def read_semantic(path: Path, scheme: LabelScheme, size: tuple[int, int]) -> SemanticLabel:
    """The ids of a label image; `size` (height, width) is that of its image.

    Raises:
        PerceptionError: another size, more than one channel, or an id the table does not know
            (255 is always allowed: ignore).
    """
    ids = read_label(path)
    check_size(path, ids.shape, size)
    if ids.dtype != np.uint8:
        raise PerceptionError(
            path, f"{ids.dtype} values", "8-bit class ids", "Is this an image of instance ids?"
        )
    known = scheme.known_ids.copy()
    known[IGNORE_INDEX] = True
    if not known[ids].all():
        unknown, counts = np.unique(ids[~known[ids]], return_counts=True)
        raise PerceptionError(
            path,
            f"class id {unknown[0]} in {counts[0]} pixels",
            f"the ids of the label table of {scheme.name}",
            "Are these train ids, or the labels of another data set?",
        )
    return SemanticLabel(ids, scheme)


def check_size(path: Path, shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    """Raises a `PerceptionError` where a label is not as large as its image, (height, width)."""
    if tuple(shape[:2]) != tuple(size):
        lies = (shape[1], shape[0]) == tuple(size)
        raise PerceptionError(
            path,
            f"{shape[1]}x{shape[0]} pixels",
            f"the size of its image, {size[1]}x{size[0]}",
            "Is the image turned by its EXIF orientation? Labels are for the upright image."
            if lies
            else "Do not resize either file; use the label that belongs to this image.",
        )


def road_from_classes(label: SemanticLabel, names: tuple[str, ...]) -> RoadLabel:
    """Road = the union of the named classes; pixels that are not trained are not valid."""
    for name in names:
        if name not in label.scheme.by_name:
            raise PerceptionError(
                f"{label.scheme.name}: road",
                f"no class {name}",
                f"some of {', '.join(label.scheme.names)}",
            )
    is_road = np.zeros(256, bool)
    is_road[[label.scheme.by_name[name].id for name in names]] = True
    road = is_road[label.ids]
    return RoadLabel(road=road, valid=road | (label.train_ids != IGNORE_INDEX))
