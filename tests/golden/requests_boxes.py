"""Requests about boxes: KITTI object, VOC, COCO-style."""

from pathlib import Path
from typing import Any

from perception.evaluation import score


def two_sides(request: dict[str, Any], folder: Path, out: Path) -> Any:
    """Labels, predictions, and options of the same names."""
    return score(
        request["protocol"], folder / request["gt"], folder / request["pred"], **request["params"]
    ).result.values


ANSWERS = {
    "kitti_object/kitti_2019": two_sides,
    "kitti_object/prclibo_2017": two_sides,
    "kitti_object/kittibox_2015": two_sides,
    "voc/2007": two_sides,
    "voc/area": two_sides,
    "coco_style": two_sides,
}
