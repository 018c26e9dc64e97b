"""Cityscapes' instance images; ids and names stand in `datasets/cityscapes/dataset.yaml`.

Pixels are 16-bit: id * 1000 + n for the n-th object of a class with instances, else the id.
Source: cityscapesscripts 2.3.0, README and json2instanceImg.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import read_label


def read_instances(path: Path, size: tuple[int, int]) -> NDArray[np.int32]:
    """(H, W) instance ids; `size` (height, width) is that of its image.

    Raises:
        PerceptionError: another size, or several channels.
    """
    ids = read_label(path)
    if ids.shape != size:
        raise PerceptionError(
            path, found=f"{ids.shape[1]}x{ids.shape[0]} pixels",
            expected=f"the size of its image, {size[1]}x{size[0]}",
            do="Scale neither of the two: find the label of this very image.",
        )  # fmt: skip
    return ids.astype(np.int32)
