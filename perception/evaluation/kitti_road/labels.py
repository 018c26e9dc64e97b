"""KITTI road labels as the benchmark reads them, and what is unusual about them.

The definition is lax: red above 0 is evaluated, blue above 0 is road. The number keeps it; labels
that were damaged on their way still give a number, and so they are warned of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import read_bytes
from perception.files.containers import inspect
from perception.files.images import decode_bytes

Bools = NDArray[np.bool_]
Oddity = tuple[str, str]  # kind, name of the label

_KINDS = {
    "lossy": "saved as JPEG, which changes colours",
    "colours": "with colours other than magenta, red and black; resized with interpolation?",
    "blue": "with blue pixels that are not red and so not evaluated; are red and blue swapped?",
    "unmatched": "with pixels of a third colour, which do not count",
}


@dataclass(frozen=True)
class RoadLabel:
    """A label and what is unusual about it."""

    road: Bools  # (H, W)
    valid: Bools  # (H, W)
    odd: tuple[Oddity, ...] = ()


def read_road_label(path: Path) -> RoadLabel:
    """A KITTI road label: red above 0 is evaluated, blue above 0 is road."""
    import cv2

    data = read_bytes(path)
    container = inspect(path, data)
    label = decode_bytes(path, data, container)
    if label.ndim != 3:
        raise PerceptionError(
            path,
            "one channel",
            "a KITTI road label in RGB",
            "Red above 0 marks what is evaluated, blue above 0 what is road.",
        )
    blue, red = (cv2.extractChannel(label, i) for i in (0, 2))
    road, valid = blue != 0, red != 0
    kinds = ["lossy"] if container.lossy else []
    on_road, evaluated = (int(np.count_nonzero(mask)) for mask in (road, valid))
    full = 65_535 if label.dtype == np.uint16 else 255
    sums = cv2.sumElems(label)[:3]
    if sums != (full * on_road, 0, full * evaluated):
        kinds.append("colours")
    elif np.count_nonzero(road & valid) != on_road:
        kinds.append("blue")
    return RoadLabel(road, valid, tuple((kind, path.name) for kind in kinds))


def remarks(odd: Iterable[Oddity]) -> list[str]:
    """One line per kind, with the number of labels and one of them."""
    names: dict[str, list[str]] = {}
    for kind, name in odd:
        names.setdefault(kind, []).append(name)
    return [
        f"{len(names[kind]):,} label{'s' * (len(names[kind]) > 1)} {text} (e.g. {names[kind][0]})"
        for kind, text in _KINDS.items()
        if kind in names
    ]
