"""What an image file is before its pixels are decoded: container, size, orientation, whole or cut.

PNG and JPEG are parsed here, as decoders fill what is cut off with grey and say so to nobody. Bytes
behind the end of a picture (padding, the video of a motion photo) are not part of it.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perception.errors import PerceptionError

if TYPE_CHECKING:
    import PIL.Image

MAX_PIXELS = 100_000_000  # refuses image bombs; the largest benchmark image has 2.1 million
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")  # Pillow's names
_ORIENTATION = 0x0112  # EXIF tag
_PROFILES = (b"eXIf", b"Raw profile type ", b"XML:com.adobe.xmp")  # PNG: chunk or key of a text
_NO_LENGTH = {0x00, 0x01, *range(0xD0, 0xD9)}  # JPEG markers without a segment
_SIZES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG markers of frame headers


@dataclass(frozen=True)
class Container:
    """What the bytes of an image file say about it."""

    kind: str  # one of `FORMATS`
    stored: tuple[int, int]  # (height, width) in the file
    orientation: int = 1  # EXIF's 1..8
    bits: int = 8  # of a channel
    palette: bool = False
    channels: int = 0  # 0: not looked at
    lossy: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright picture."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored


def inspect(path: Path, data: bytes) -> Container:
    """The container of the bytes of an image file.

    Raises:
        PerceptionError: no image of a known format, a cut one, several in one file, or one above
            `MAX_PIXELS`.
    """
    if not data:
        raise not_an_image(path, "an empty file")
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        found = _png(path, data)
    elif data[:2] == b"\xff\xd8":
        found = _jpeg(path, data)
    else:
        found = _by_pillow(path, data)
    height, width = found.stored
    if height * width > MAX_PIXELS:
        raise not_an_image(path, f"{width}x{height} pixels, above {MAX_PIXELS:,}")
    return found


def not_an_image(path: Path, found: str) -> PerceptionError:
    """The error of a file that is no whole image."""
    return PerceptionError(
        path, found, "a whole PNG or JPEG image", "Copy or download the file again, or remove it."
    )


def _png(path: Path, data: bytes) -> Container:
    position, profile, end = 8, False, len(data)
    while True:
        if position + 12 > end:
            raise not_an_image(path, "a truncated image")
        kind = data[position + 4 : position + 8]
        if kind == b"IEND":
            break
        key = data[position + 8 : position + 28] if kind[1:] in (b"EXt", b"TXt") else kind
        profile = profile or key.startswith(_PROFILES)
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    if data[12:16] != b"IHDR":
        raise not_an_image(path, "an unreadable header")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    turned = orientation(path, data) if profile else 1
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(data[25], 0)
    return Container("PNG", (height, width), turned, data[24], data[25] == 3, channels)


def _jpeg(path: Path, data: bytes) -> Container:
    position, profile, size, channels = 2, False, (0, 0), 0
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 4 > len(data):
            raise not_an_image(path, "a truncated image")
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        position += 2
        if marker in _NO_LENGTH:
            continue
        if marker in _SIZES:
            height = int.from_bytes(data[position + 3 : position + 5], "big")
            size = (height, int.from_bytes(data[position + 5 : position + 7], "big"))
            channels = data[position + 7] if position + 7 < len(data) else 0
        profile = profile or marker == 0xE1
        position += int.from_bytes(data[position : position + 2], "big")
        if marker == 0xDA:  # pixels: 0xFF is followed by 0 there
            break
    if data.find(b"\xff\xd9", position) < 0:
        raise not_an_image(path, "a truncated image")
    turned = orientation(path, data) if profile else 1
    return Container("JPEG", size, turned, channels=channels, lossy=True)


def _by_pillow(path: Path, data: bytes) -> Container:
    with _pillow(path, data) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise PerceptionError(path, f"{frames} pictures in one file", "one", "Take it apart.")
        lossy = image.format == "WEBP" and b"VP8 " in data[:64]
        turned = 1 if image.format == "TIFF" else _orientation(image)  # Pillow turns a TIFF
        bits = 16 if image.mode.startswith("I") else 32 if image.mode == "F" else 8
        kind = image.format or ""
        return Container(
            kind, (image.height, image.width), turned, bits, image.mode == "P", 0, lossy
        )


def orientation(path: Path, data: bytes) -> int:
    """EXIF orientation 1..8; 1 where there is none that can be read."""
    with _pillow(path, data) as image:
        return _orientation(image)


def _pillow(path: Path, data: bytes) -> PIL.Image.Image:
    import PIL.Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return PIL.Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # Pillow raises many kinds on damaged headers
        raise not_an_image(path, "an unreadable header") from error


def _orientation(image: PIL.Image.Image) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF: Pillow raises many kinds
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
