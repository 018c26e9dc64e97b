"""Reading and writing images: one reader, one rule for bits and orientation.

Pictures are upright: EXIF orientation is applied to whatever is read. PNG and JPEG are decoded by
OpenCV, everything else and what OpenCV reads otherwise by Pillow, to the values that Pillow shows.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files.atomic import atomic_open
from perception.files.containers import FORMATS, Container, inspect, not_an_image
from perception.files.reading import read_bytes

if TYPE_CHECKING:
    import PIL.Image

_DARK = 1 << 14  # below it, 16-bit pixels are data of fewer bits and nearly black


# ---------------------------------------------------------------------------- reading


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, upright; grey images are repeated, alpha is dropped.

    Raises:
        PerceptionError: the file is missing, no image, truncated, above `MAX_PIXELS`, or its
            pixels have no 8-bit meaning (floats, 12-bit data in 16 bits).
    """
    import cv2

    data = read_bytes(path)
    container = inspect(path, data)
    if not _for_opencv(container):
        return _as_rgb(path, _load(path, data))
    if container.bits == 16:
        pixels = eight_bits(path, _channels_in_rgb(_decode(path, data, cv2.IMREAD_UNCHANGED)))
        return _upright(pixels, container)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return _upright(_decode(path, data, flags), container)


def read_raster(path: Path, *, lossless: bool = False) -> NDArray[Any]:
    """Pixels as stored: (H, W) or RGB(A) (H, W, 3 | 4), uint8 or uint16; for maps and labels.

    `lossless`: a JPEG file, whose values are not those that were saved, is refused.
    """
    data = read_bytes(path)
    container = inspect(path, data)
    if lossless:
        refuse_lossy(path, container)
    return _channels_in_rgb(decode_bytes(path, data, container))


def read_label(path: Path) -> NDArray[Any]:
    """(H, W) ids of a single-channel (grey or palette) label image, uint8 or uint16.

    A palette image gives its indices, not its colours; an image of one bit gives 0 and 1.

    Raises:
        PerceptionError: a lossy file, several channels, or grey of 2 or 4 bits, which decoders
            spread over 0..255.
    """
    data = read_bytes(path)
    container = inspect(path, data)
    refuse_lossy(path, container)
    simple = container.kind == "PNG" and container.bits >= 8 and not container.palette
    if container.kind == "PNG" and container.bits in (2, 4) and not container.palette:
        raise PerceptionError(
            path, f"grey of {container.bits} bits", "8-bit class ids", "Save it with 8 bits."
        )
    label = decode_bytes(path, data, container) if simple else _ids(path, data)
    if label.ndim != 2:
        raise PerceptionError(
            path,
            f"{label.shape[2]} channels",
            "one channel of class ids",
            "Is this a colour picture of the labels? Give the file with the ids.",
        )
    return label


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright picture, without decoding the pixels."""
    return inspect(path, read_bytes(path)).size


def decode(path: Path, flags: int) -> NDArray[Any]:
    """Upright pixels of an image file decoded by OpenCV with `flags`; a cut file is an error."""
    data = read_bytes(path)
    return decode_bytes(path, data, inspect(path, data), flags)


def decode_bytes(
    path: Path, data: bytes, container: Container, flags: int | None = None
) -> NDArray[Any]:
    """Like `decode`, of bytes that were inspected; `flags` None: as stored."""
    import cv2

    flags = cv2.IMREAD_UNCHANGED if flags is None else flags
    if flags != cv2.IMREAD_UNCHANGED:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    return _upright(_decode(path, data, flags), container)


def refuse_lossy(path: Path, container: Container) -> None:
    """Raises a `PerceptionError` for labels in a format that changes their values."""
    if container.lossy:
        raise PerceptionError(
            path,
            f"a label in a lossy {container.kind} file: its values are not those that were saved",
            "PNG",
            "Export the labels again as PNG.",
        )


def eight_bits(path: Path, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: the high byte of 16-bit grey (H, W), RGB or RGBA pixels.

    Raises:
        PerceptionError: the pixels use the lower bits only, as 12-bit cameras do: all but black.
    """
    pixels = pixels[..., :3] if pixels.ndim == 3 else pixels
    brightest = int(pixels.max(initial=0))
    if 0 < brightest < _DARK:
        raise PerceptionError(
            path,
            f"16 bits per channel with values up to {brightest}: nearly black",
            "a picture that uses its 16 bits",
            f"Is this data of {max(brightest.bit_length(), 9)} bits? Convert it to 8 bits.",
        )
    shifted = (pixels >> 8).astype(np.uint8)
    return np.repeat(shifted[:, :, None], 3, axis=2) if shifted.ndim == 2 else shifted


# ---------------------------------------------------------------------------- writing


def write_image(path: Path, image: NDArray[Any], *, compression: int = 1) -> None:
    """Writes (H, W) or RGB(A) (H, W, 3 | 4) pixels, 8 or 16 bit, in the format of the suffix.

    `compression`: PNG level 0 (fast) to 9 (small).
    """
    encoded = encode_image(image, path.suffix, compression=compression)
    with atomic_open(path) as file:
        file.write(encoded)


def encode_image(image: NDArray[Any], suffix: str = ".png", *, compression: int = 1) -> memoryview:
    """The bytes that `write_image` writes."""
    import cv2

    if image.ndim == 3:
        code = cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        image = cv2.cvtColor(np.ascontiguousarray(image), code)
    png = suffix.lower() == ".png"
    options = [cv2.IMWRITE_PNG_COMPRESSION, compression] if png else []
    done, encoded = cv2.imencode(suffix, image, options)
    if not done:
        raise ValueError(f"cannot encode {image.dtype} {image.shape} as {suffix}")
    return encoded.data


# ---------------------------------------------------------------------------- helpers


def _for_opencv(container: Container) -> bool:
    """Whether OpenCV's pixels are what Pillow shows (CMYK differs)."""
    return container.kind == "PNG" or (container.kind == "JPEG" and container.channels != 4)


def _decode(path: Path, data: bytes, flags: int) -> NDArray[Any]:
    import cv2

    cv2.setLogLevel(0) if hasattr(cv2, "setLogLevel") else None
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise not_an_image(path, "bytes that do not decode")
    return image


def _load(path: Path, data: bytes) -> PIL.Image.Image:
    """A decoded image of Pillow, upright."""
    import PIL.ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
            image.load()  # turns a TIFF
            PIL.ImageOps.exif_transpose(image, in_place=True)
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise not_an_image(path, "a truncated image") from error
    return image


def _as_rgb(path: Path, image: PIL.Image.Image) -> NDArray[np.uint8]:
    if image.mode == "F" or image.mode == "I":
        raise PerceptionError(
            path, "32 bits per pixel", "8 or 16 bits per channel", "Convert it to 8 bits."
        )
    if image.mode.startswith("I;16"):
        return eight_bits(path, np.asarray(image).astype(np.uint16))
    return np.array(image.convert("RGB"))


def _ids(path: Path, data: bytes) -> NDArray[Any]:
    """Ids as Pillow gives them: palette indices, 0 and 1 of one bit, 8 or 16 bits."""
    image = _load(path, data)
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
        return np.array(image)
    ids = np.array(image)
    if image.mode == "I" and (ids.min() < 0 or ids.max() > 65_535):
        raise PerceptionError(
            path, f"ids {ids.min()} to {ids.max()}", "8 or 16 bits", "Save it as PNG."
        )
    wide = image.mode.startswith("I")
    return ids.astype(np.uint16 if wide else np.uint8)


def _channels_in_rgb(image: NDArray[Any]) -> NDArray[Any]:
    import cv2

    if image.ndim == 3:
        code = cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        image = cv2.cvtColor(image, code)
    return image


def _upright(pixels: NDArray[Any], container: Container) -> NDArray[Any]:
    """Pixels as the orientation of the file says they are to be seen."""
    turn = container.orientation
    if turn == 1:
        return pixels
    if turn >= 5:
        pixels = pixels.swapaxes(0, 1)  # 5: mirrored at the main diagonal
    rows = slice(None, None, -1 if turn in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if turn in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(pixels[rows, columns])
