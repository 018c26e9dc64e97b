"""Detections as one JSON list: `{"image_id", "category", "bbox": [x1, y1, x2, y2], "score"}`.

The format that detectron2's Pascal VOC evaluator takes; corners are 0-based and continuous.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perception.errors import PerceptionError
from perception.files import read_json
from perception.structures import Float


@dataclass(frozen=True)
class BoxList:
    """N detections, in the order of the file."""

    images: tuple[str, ...]
    names: tuple[str, ...]
    score: Float  # (N,)
    xyxy: Float  # (N, 4)


def read_box_list(path: Path, images_known: Container[str]) -> BoxList:
    """The detections of one file.

    Raises:
        PerceptionError: no JSON list, an entry that is no detection, or one of an image that is
            not in `images_known` (names the entry).
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise PerceptionError(
            path, type(entries).__name__, "a list of detections", "Write one list of all images."
        )
    rows = [_numbers(path, number, entry) for number, entry in enumerate(entries)]
    images = tuple(str(entry["image_id"]) for entry in entries)
    for number, image in enumerate(images):
        if image not in images_known:
            raise PerceptionError(
                f"{path}, entry {number}",
                f"image {image}",
                "an image of the image set",
                "Remove the entry, or choose another set.",
            )
    table = np.array(rows, np.float64).reshape(-1, 5)
    names = tuple(entry["category"] for entry in entries)
    return BoxList(images, names, table[:, 4], table[:, :4])


def _numbers(path: Path, number: int, entry: Any) -> list[float]:
    """Corners and score of one entry."""
    try:
        row = [*entry["bbox"], entry["score"]]
        entry["image_id"]
        good = isinstance(entry["category"], str) and len(row) == 5
    except (KeyError, TypeError, IndexError):
        row, good = [], False
    numbers = [v for v in row if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if not good or len(numbers) != 5 or not all(map(math.isfinite, numbers)):
        raise PerceptionError(
            f"{path}, entry {number}",
            str(entry)[:120],
            "image_id, category, bbox [x1, y1, x2, y2], score",
        )
    return numbers
