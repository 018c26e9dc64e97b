"""Requests about boxes: KITTI object, VOC, COCO-style."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

ANSWERS: dict[str, Callable[[dict[str, Any], Path, Path], Any]] = {}
