"""Reading label and mask images as the benchmarks mean them; what does not fit names its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import decode, read_bytes, read_label, read_raster


def read_ids(path: Path) -> NDArray[np.uint8]:
    """(H, W) 8-bit class ids; a palette image gives its indices."""
    ids = read_label(path)
    if ids.dtype != np.uint8:
        raise PerceptionError(
            path,
            f"{ids.dtype} values",
            "8-bit class ids",
            "Is this an image of instance ids, or of scores?",
        )
    return ids


def read_instances(path: Path) -> NDArray[np.uint16]:
    """(H, W) instance ids, 16 bit (8 bit where there is none)."""
    ids = read_label(path)
    if ids.dtype not in (np.uint8, np.uint16):
        raise PerceptionError(
            path,
            f"{ids.dtype} values",
            "16-bit instance ids",
            "Store id * 1000 + n as 16-bit grey.",
        )
    return ids.astype(np.uint16, copy=False)


def read_grey(path: Path, *, lossless: bool = False) -> NDArray[Any]:
    """(H, W) grey values, 8 or 16 bit; a palette or RGB image of greys counts, colours do not.

    `lossless`: a JPEG file is refused.
    """
    stored = read_raster(path, lossless=lossless)
    if stored.ndim == 3:
        if stored.shape[2] == 3 and _equal_channels(stored):
            stored = np.ascontiguousarray(stored[..., 0])
        else:
            raise PerceptionError(
                path,
                "an alpha channel" if stored.shape[2] == 4 else "three channels that differ",
                "one channel",
                "Store grey values, not a picture in colours.",
            )
    if stored.dtype not in (np.uint8, np.uint16):
        raise PerceptionError(path, f"{stored.dtype} values", "8 or 16 bit", "Store it as PNG.")
    return stored


def read_confidence(path: Path) -> NDArray[np.uint8]:
    """(H, W) confidence: 8-bit grey, the high byte of 16-bit grey, or three equal channels; a
    palette image is looked up and turned to grey.
    """
    import cv2

    stored = decode(path, cv2.IMREAD_GRAYSCALE) if is_palette(path) else read_grey(path)
    return (stored >> 8).astype(np.uint8) if stored.dtype == np.uint16 else stored


def read_map(path: Path) -> NDArray[np.floating]:
    """(H, W) float32 or float64 of a .npy file."""
    if not path.is_file():
        read_bytes(path)  # says why
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError, SyntaxError) as error:
        raise PerceptionError(
            path, f"no readable array ({error})", "a .npy file", "Store it again by numpy.save."
        ) from error
    if (
        not isinstance(stored, np.ndarray)
        or stored.ndim != 2
        or stored.dtype.str[1:] not in ("f4", "f8")
    ):
        found = f"{stored.dtype} {stored.shape}" if isinstance(stored, np.ndarray) else "an archive"
        raise PerceptionError(
            path, found, "(H, W) float32 or float64", "Store only the road probability."
        )
    return np.array(stored)


def check_size(path: Path, shape: tuple[int, ...], expected: tuple[int, ...], of: str) -> None:
    """Raises a `PerceptionError` that says both sizes when the shapes differ."""
    if tuple(shape) != tuple(expected):
        raise PerceptionError(
            path,
            f"{shape[1]}x{shape[0]} pixels",
            f"{expected[1]}x{expected[0]}, the size of {of}",
            "Resize before it is stored.",
        )


@contextmanager
def naming(path: Path, expected: str, do: str) -> Iterator[None]:
    """Turns a ValueError of an evaluator into a `PerceptionError` that names the file."""
    try:
        yield
    except ValueError as error:
        raise PerceptionError(path, str(error), expected, do) from error


def is_palette(path: Path) -> bool:
    """Whether a file is a PNG with a palette."""
    try:
        with Path(path).open("rb") as file:
            header = file.read(26)
    except OSError:
        read_bytes(path)  # says why
        raise
    return header[:8] == b"\x89PNG\r\n\x1a\n" and header[25:26] == b"\x03"


def _equal_channels(image: NDArray[Any]) -> bool:
    return bool((image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all())
