"""Reading and writing images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files.atomic import atomic_open
from perception.files.reading import read_bytes

MAX_PIXELS = 200_000_000  # refuses image bombs; the largest benchmark image has 2.1 million


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB; grey images are repeated, alpha is dropped, no EXIF rotation.

    Raises:
        PerceptionError: the file is missing, no image, truncated, or above `MAX_PIXELS`.
    """
    import cv2

    return decode(path, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def read_raster(path: Path) -> NDArray[Any]:
    """Pixels as stored: (H, W) or RGB(A) (H, W, 3 | 4), uint8 or uint16; for label images."""
    import cv2

    image = decode(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3:
        code = cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        image = cv2.cvtColor(image, code)
    return image


def read_label(path: Path) -> NDArray[Any]:
    """(H, W) ids of a single-channel (grey or palette) label image, uint8 or uint16.

    A palette image gives its indices, not its colours.
    """
    data = read_bytes(path)
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[25:26] == b"\x03":
        return _palette_indices(path)
    label = read_raster(path)
    if label.ndim != 2:
        raise PerceptionError(
            path,
            f"{label.shape[2]} channels",
            "one channel of class ids",
            "Is this a colour picture of the labels? Give the file with the ids.",
        )
    return label


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header, without decoding the pixels."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
    except Exception as error:  # Pillow raises many kinds on damaged headers
        if not Path(path).exists():
            read_bytes(path)
        raise _not_an_image(path, "an unreadable header") from error
    return height, width


def decode(path: Path, flags: int) -> NDArray[Any]:
    """Pixels of an image file decoded by OpenCV with `flags`; truncated files are an error."""
    import cv2

    data = read_bytes(path)
    if not data:
        raise _not_an_image(path, "an empty file")
    height, width = _png_size(data) or image_size(path)
    if height * width > MAX_PIXELS:
        raise _not_an_image(path, f"{width}x{height} pixels, above {MAX_PIXELS:,}")
    if not _ends_whole(data):
        raise _not_an_image(path, "a truncated image")
    cv2.setLogLevel(0) if hasattr(cv2, "setLogLevel") else None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise _not_an_image(path, "bytes that do not decode")
    return image


def write_image(path: Path, image: NDArray[Any], *, compression: int = 1) -> None:
    """Writes (H, W) or RGB(A) (H, W, 3 | 4) pixels, 8 or 16 bit, in the format of the suffix.

    `compression`: PNG level 0 (fast) to 9 (small).
    """
    import cv2

    if image.ndim == 3:
        code = cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        image = cv2.cvtColor(np.ascontiguousarray(image), code)
    options = [cv2.IMWRITE_PNG_COMPRESSION, compression] if path.suffix == ".png" else []
    done, encoded = cv2.imencode(path.suffix, image, options)
    if not done:
        raise ValueError(f"cannot encode {image.dtype} {image.shape} as {path.suffix}")
    with atomic_open(path) as file:
        file.write(encoded.data)


def _png_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) from the bytes of a PNG; None for anything else."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:
        return None
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")


def _ends_whole(data: bytes) -> bool:
    """False where a PNG lacks its IEND chunk or a JPEG its end marker; decoders fill with grey."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return b"IEND\xaeB`\x82" in data[-64:]
    if data[:2] == b"\xff\xd8":
        return b"\xff\xd9" in data[-4096:]
    return True


def _palette_indices(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    image_size(path)
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _not_an_image(path, f"{image.width}x{image.height} pixels")
            return np.array(image, np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise _not_an_image(path, "a truncated image") from error


def _not_an_image(path: Path, found: str) -> PerceptionError:
    return PerceptionError(
        path, found, "a whole PNG or JPEG image", "Copy or download the file again, or remove it."
    )
