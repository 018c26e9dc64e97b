"""CityPersons: the boxes of all frames of a split in one MATLAB file (`anno_train.mat`).

One cell per frame with `cityname`, `im_name` and `bbs`, whose rows are class, x1, y1, w, h, id and
the visible box, in pixels of 2048x1024. Classes: 0 ignore region, 1 pedestrian, 2 rider, 3 sitting
person, 4 other person with unusual posture, 5 group of people.
Source: cvgroup-njust/CityPersons, annotations/README; Zhang, Benenson and Schiele (CVPR 2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from perception.errors import PerceptionError
from perception.structures import Boxes

WIDTH, HEIGHT = 2048, 1024  # the pixels that its boxes are in
NAMES = ("ignore", "pedestrian", "rider", "sitting", "unusual", "group")
IGNORED = ("ignore", "group")  # regions, not objects
_SUFFIX = "_leftImg8bit.png"


@lru_cache(maxsize=4)
def read_boxes(path: Path) -> Mapping[str, Boxes]:
    """The boxes of every frame by its name (`aachen_000000_000019`), in pixels of 2048x1024.

    Raises:
        PerceptionError: no MATLAB file, one of another kind, or a row that is no box (names the
            frame).
    """
    from scipy.io import loadmat

    try:
        content = loadmat(path)
    except Exception as error:  # scipy raises whatever its readers stumble over
        found = " ".join(str(error).split()) or type(error).__name__
        raise PerceptionError(path, found, "CityPersons' anno_*.mat") from error
    tables = [v for k, v in content.items() if not k.startswith("__")]
    if len(tables) != 1 or not isinstance(tables[0], np.ndarray):
        raise PerceptionError(path, f"{len(tables)} variables", "CityPersons' one table of frames")
    return MappingProxyType(dict(_frame(path, cell) for cell in tables[0].ravel()))


def _frame(path: Path, cell: Any) -> tuple[str, Boxes]:
    """Name and boxes of one cell."""
    try:
        entry = cell.ravel()[0]
        name = str(entry["im_name"].ravel()[0]).removesuffix(_SUFFIX)
        rows = np.asarray(entry["bbs"], np.float64)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise PerceptionError(
            path, "a cell without im_name and bbs", "CityPersons' frames"
        ) from error
    rows = rows.reshape(-1, 10) if rows.size == 0 else rows
    if rows.ndim != 2 or rows.shape[1] != 10 or not np.isin(rows[:, 0], range(len(NAMES))).all():
        raise PerceptionError(
            f"{path}: {name}", "a row that is no box", "class 0 to 5, x, y, w, h, id, visible box"
        )
    if (rows[:, 3:5] < 0).any():
        raise PerceptionError(f"{path}: {name}", "a box of negative size", "x, y, width, height")
    names = np.array(NAMES)[rows[:, 0].astype(int)]
    corners = np.hstack([rows[:, 1:3], rows[:, 1:3] + rows[:, 3:5]])
    return name, Boxes.of(corners, names, ignore=np.isin(names, IGNORED))
