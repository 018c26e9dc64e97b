"""Numbers per pixel (depth, height, ...): PNGs of scaled whole numbers, or NumPy arrays.

A PNG, 8 or 16 bit, holds value / scale, with one number for "unknown" (KITTI depth: scale 1/256 m,
0 unknown). A `.npy` file holds the values themselves, NaN where unknown.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import atomic_open, read_label, write_image
from perception.formats.label_image import check_size
from perception.structures import ValuesLabel

PNG_SCALE = 1 / 256  # of the PNGs that are written
STEPS = 65535  # the most that they hold


def read_values(
    path: Path,
    size: tuple[int, int],
    *,
    scale: float = PNG_SCALE,
    invalid: float | None = 0,
    unit: str = "",
) -> ValuesLabel:
    """The values of one frame.

    Args:
        path: a PNG of one channel, or a `.npy` of (H, W) numbers.
        size: (height, width) of its image.
        scale: what 1 in a PNG stands for.
        invalid: the number of unknown pixels in a PNG; None: all are known.
        unit: of the values.

    Raises:
        PerceptionError: the file is damaged, of another size, or no array of numbers.
    """
    if path.suffix.lower() == ".npy":
        return ValuesLabel(_array(path, size), unit)
    stored = read_label(path)
    check_size(path, stored.shape, size)
    values = stored.astype(np.float32) * np.float32(scale)
    if invalid is not None:
        values[stored == invalid] = np.nan
    return ValuesLabel(values, unit)


def write_values(path: Path, values: NDArray[np.float32]) -> int:
    """Writes (H, W) values as a 16-bit PNG of 1/256 steps; unknown pixels are 0.

    Returns how many pixels did not fit: below 1/256 or above 255.99.
    """
    known = np.isfinite(values)
    steps = np.rint(np.where(known, values, 0) / PNG_SCALE)
    fitting = np.clip(steps, 1, STEPS)
    write_image(path, np.where(known, fitting, 0).astype(np.uint16))
    return int((known & (steps != fitting)).sum())


def write_array(path: Path, values: NDArray[np.float32]) -> None:
    """Writes (H, W) values as a `.npy` file."""
    with atomic_open(path) as file:
        np.save(file, values)


def _array(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PerceptionError(path, str(error), "a whole .npy file of numbers") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise PerceptionError(path, "no array of numbers", "an (H, W) array of numbers")
    check_size(path, values.shape, size)
    return np.where(np.isfinite(values), values, np.nan).astype(np.float32)
