"""The one table of formats: a name, and the module that reads or writes it."""

from __future__ import annotations

import importlib

from perception.annotation.interfaces import Source, Target

SOURCES = (
    "labelme",
    "kitti_road",
    "kitti_object",
    "cityscapes",
    "camvid",
    "bdd100k",
    "open_images",
)
TARGETS = ("labelme", "kitti_road", "kitti_object", "cityscapes", "coco", "yolo", "semantic")


def source(name: str) -> Source:
    """The reader of a format in `SOURCES`."""
    result: Source = importlib.import_module(f"perception.annotation.sources.{name}").SOURCE
    return result


def target(name: str) -> Target:
    """The writer of a format in `TARGETS`."""
    result: Target = importlib.import_module(f"perception.annotation.targets.{name}").TARGET
    return result
