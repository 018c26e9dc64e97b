"""Cityscapes' instance images; ids and names are in `datasets/cityscapes/dataset.yaml`.

Pixels are 16-bit: id * 1000 + n for the n-th object of a class with instances, else the id.
Source: cityscapesscripts 2.3.0, README and json2instanceImg.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.files import read_label
from perception.formats.label_image import check_size


def read_instances(path: Path, size: tuple[int, int]) -> NDArray[np.int32]:
    """(H, W) instance ids; `size` (height, width) is that of its image.

    Raises:
        PerceptionError: another size, or several channels.
    """
    ids = read_label(path)
    check_size(path, ids.shape, size)
    return ids.astype(np.int32)
