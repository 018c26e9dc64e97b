"""Reading the image of an annotation: found safely, checked, upright, 8-bit RGB.

Only Pillow decodes here: labelme shows what Pillow reads. Sizes are checked on the header, since
the bomb guard of the library warns first and can be switched off by any other import.
"""

from __future__ import annotations

import base64
import io
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files.containers import MAX_PIXELS, inspect
from perception.files.finding import IMAGE_SUFFIXES, find_named
from perception.files.images import eight_bits
from perception.formats.labelme import IMAGE_FORMATS
from perception.formats.problems import Problem, RefusedError
from perception.structures import Image

MAX_FILE_BYTES = 640 << 20  # 100 million pixels of three 16-bit channels, not compressed
_ORIENTATION = 0x0112  # EXIF tag
_RGB_PNG = b"\x08\x02"  # bit depth and colour type in the header of a PNG


@dataclass(frozen=True)
class EncodedImage(Image):
    """An image with the bytes of its file."""

    encoded: bytes = b""
    suffix: str = ".png"  # of `encoded`
    plain: bool = False  # `encoded` is an 8-bit RGB PNG without rotation: it may be copied
    common: bool = False  # `encoded` is an 8-bit PNG or JPEG without rotation: all tools read it

    def read(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        if self.pixels is not None:
            return self.pixels
        with PIL.Image.open(io.BytesIO(self.encoded), formats=IMAGE_FORMATS) as image:
            return np.asarray(image.convert("RGB"))

    def png(self) -> bytes:
        """The bytes of an 8-bit RGB PNG file without EXIF."""
        return self.encoded if self.plain else encode_png(self.read())

    def unchanged(self) -> tuple[bytes, str]:
        """The bytes as they are where all tools read them so, else those of `png`; the suffix."""
        if not self.common:
            return self.png(), ".png"
        if self.encoded[:2] != b"\xff\xd8":
            return self.encoded, ".png"
        return self.encoded, ".jpeg" if self.suffix.lower() == ".jpeg" else ".jpg"


def find_image(
    content: Mapping[str, Any], path: Path, inside: Callable[[Path], bool]
) -> tuple[EncodedImage, list[Problem]]:
    """The image of the annotation `content` in the file `path`.

    Args:
        inside: whether a path may be opened.

    Raises:
        RefusedError: image_missing, path_outside, image_unreadable, image_too_large,
            size_mismatch.
    """
    declared = (content.get("imageHeight"), content.get("imageWidth"))
    problems: list[Problem] = []
    if content.get("imageData") is not None:
        try:
            return decode_image(_embedded(content["imageData"]), declared)
        except RefusedError as error:
            if error.problem.reason != "image_unreadable":
                raise
            problems.append(Problem("image_data_invalid", error.problem.detail))
    place, found = locate_image(content, path, inside)
    image, more = decode_image(read_file(place), declared, place.suffix)
    return replace(image, path=place), problems + found + more


def locate_image(
    content: Mapping[str, Any], path: Path, inside: Callable[[Path], bool]
) -> tuple[Path, list[Problem]]:
    """The image file that `imagePath` names, not opened; raises image_missing, path_outside."""
    name = content.get("imagePath")
    name = name.replace("\\", "/") if isinstance(name, str) else ""
    outside = False
    for candidate, other_name in _candidates(name, path.parent):
        if not inside(candidate):
            outside = outside or not other_name
        elif _is_file(candidate):
            detail = f"imagePath is {name[:200]!r}, used {candidate.name!r}"
            return candidate, [Problem("image_path_fallback", detail)] if other_name else []
    if outside:
        raise RefusedError(
            "path_outside",
            f"imagePath {name[:200]!r} leads out of the folder; give --allow-outside to follow it",
        )
    raise RefusedError(
        "image_missing", f"imagePath {name[:200]!r}: no such file, nor one of its name beside it"
    )


def read_file(path: Path) -> bytes:
    """The bytes of an image file; raises `RefusedError` image_unreadable, image_too_large."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RefusedError("image_unreadable", f"{path.name}: {reason}") from None
    if len(data) > MAX_FILE_BYTES:
        raise _too_large(f"more than {MAX_FILE_BYTES >> 20} MiB")
    return data


def benchmark_image(
    folder: Path,
    stem: str,
    inside: Callable[[Path], bool],
    declared: tuple[Any, Any] = (None, None),
) -> tuple[EncodedImage, list[Problem]]:
    """The image `folder/stem` with the suffix of an image; raises as `find_image` does."""
    if not inside(folder):
        raise RefusedError("path_outside", f"{folder.name} leads out; give --allow-outside")
    path = find_named(folder, stem, IMAGE_SUFFIXES)
    if path is None:
        raise RefusedError("image_missing", f"no image {stem}.png or .jpg in {folder.name}")
    refuse_outside(inside, path)
    return decode_image(read_file(path), declared, path.suffix)


def decode_image(
    data: bytes, declared: tuple[Any, Any] = (None, None), suffix: str = ".png"
) -> tuple[EncodedImage, list[Problem]]:
    """A decoded and checked image.

    Args:
        data: bytes of an image file.
        declared: imageHeight and imageWidth of the annotation, None: not said.
        suffix: of the file.

    Raises:
        RefusedError: image_unreadable, image_too_large, size_mismatch.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise _too_large(f"{image.width}x{image.height} pixels")
                inspect(Path(f"image{suffix}"), data)  # cut files, which decoders fill with grey
                image.load()
                return _checked(image, data, declared, suffix)
    except RefusedError:
        raise
    except PerceptionError as error:
        expected = f", expected {error.expected}" if error.expected else ""
        raise RefusedError("image_unreadable", f"found {error.found}{expected}") from None
    except PIL.Image.DecompressionBombError as error:
        raise _too_large(str(error)) from None
    except Exception:  # Pillow raises many kinds on damaged images
        raise RefusedError(
            "image_unreadable",
            f"no whole image of the formats {', '.join(IMAGE_FORMATS)}; copy it again",
        ) from None


def encode_png(pixels: NDArray[Any]) -> bytes:
    """PNG of grey (H, W) uint8 or uint16, RGB (H, W, 3) or RGBA (H, W, 4) uint8 pixels."""
    import cv2

    if pixels.ndim == 3:
        code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), code)
    _, encoded = cv2.imencode(".png", pixels)
    return encoded.tobytes()


# ---------------------------------------------------------------------------- finding


def _embedded(text: object) -> bytes:
    if not isinstance(text, str):
        raise RefusedError("image_unreadable", f"imageData is a {type(text).__name__}")
    try:
        return base64.b64decode(text)
    except ValueError as error:
        raise RefusedError("image_unreadable", f"imageData is not base64: {error}") from None


def _candidates(name: str, folder: Path) -> list[tuple[Path, bool]]:
    """Paths to try, and whether each is another name than the one written."""
    found: list[tuple[Path, bool]] = []
    if name and not re.match(r"[A-Za-z]:", name):
        found += [(folder / text, text != name) for text in _spellings(name)]
    base = re.sub(r"^[A-Za-z]:", "", name).rsplit("/", 1)[-1]
    if base not in ("", ".", ".."):
        found += [(folder / text, True) for text in _spellings(base)]
    return found


def _spellings(name: str) -> list[str]:
    return list(
        dict.fromkeys(
            [name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]
        )
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # names too long, with a null or a lone surrogate
        return False


def inside_of(root: Path, *, allow_outside: bool) -> Callable[[Path], bool]:
    """A test whether a path, all links resolved, lies under the folder `root`."""
    base = os.path.realpath(root)
    prefix = base.rstrip("/") + "/"

    def inside(path: Path) -> bool:
        if allow_outside:
            return True
        try:
            real = os.path.realpath(path)
        except (OSError, ValueError):
            return True  # no such path: it is missing, not outside
        return real == base or real.startswith(prefix)

    return inside


def refuse_outside(inside: Callable[[Path], bool], *paths: Path | None) -> None:
    """Raises `RefusedError` path_outside for the first path that must not be opened."""
    for path in paths:
        if path is not None and not inside(path):
            raise RefusedError(
                "path_outside",
                f"{path.name} is a link that leads out of the folder; give --allow-outside to "
                "follow it",
            )


# ---------------------------------------------------------------------------- pixels


def _checked(
    image: PIL.Image.Image, data: bytes, declared: tuple[Any, Any], suffix: str
) -> tuple[EncodedImage, list[Problem]]:
    problems = []
    kind = image.format
    orientation = _orientation(image)
    stored = (image.height, image.width)
    upright = stored[::-1] if orientation >= 5 else stored
    rotated = orientation > 1
    if not _fits(declared, upright):
        if text := next((said for said in declared if isinstance(said, str)), None):
            raise RefusedError(
                "size_mismatch",
                f"imageHeight or imageWidth is the text {text[:30]!r}, expected numbers: the image "
                f"has height {upright[0]} and width {upright[1]}",
            )
        if not _fits(declared, stored):
            raise RefusedError(
                "size_mismatch",
                f"the annotation says {_text(declared[1])}x{_text(declared[0])}, the image has "
                f"{upright[1]}x{upright[0]}; label it again or restore the image",
            )
        problems.append(
            Problem(
                "exif_ignored",
                f"labelled as stored ({stored[1]}x{stored[0]}), EXIF turns the image",
            )
        )
        size = stored
    else:
        size = upright
        if rotated:
            image = PIL.ImageOps.exif_transpose(image)
    if unusual := _unusual_mode(image, data):
        problems.append(Problem("image_mode", f"found {unusual}, written as 8-bit RGB"))
    is_png = data[:8] == b"\x89PNG\r\n\x1a\n"
    plain = is_png and data[24:26] == _RGB_PNG and not rotated and "transparency" not in image.info
    common = plain or (
        kind in ("PNG", "JPEG")
        and not rotated
        and image.mode in ("L", "RGB")
        and "transparency" not in image.info
        and not (is_png and data[24] != 8)
    )
    pixels = None if plain else _rgb(image)
    return EncodedImage(
        size, pixels=pixels, encoded=data, suffix=suffix, plain=plain, common=common
    ), problems


def _orientation(image: PIL.Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none that can be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF: Pillow raises many kinds
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _fits(declared: tuple[Any, Any], size: tuple[int, int]) -> bool:
    return all(
        said is None
        or (not isinstance(said, bool) and isinstance(said, (int, float)) and said == real)
        for said, real in zip(declared, size, strict=True)
    )


def _unusual_mode(image: PIL.Image.Image, data: bytes) -> str | None:
    """The mode when it is not 8-bit grey, 8-bit RGB or 1-bit."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] not in (1, 8):
        return f"{data[24]} bits per channel"
    return None if image.mode in ("L", "RGB", "1") else f"mode {image.mode}"


def _rgb(image: PIL.Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3): grey repeated, palettes resolved, alpha dropped, 16 bits shifted."""
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image), 0, 65_535).astype(np.uint16)
        return eight_bits(Path("image"), grey)
    if image.mode == "LA":
        image = image.getchannel("L")
    elif image.mode == "RGBA":
        image = PIL.Image.merge("RGB", image.split()[:3])
    return np.asarray(image.convert("RGB"))


def _too_large(found: str) -> RefusedError:
    return RefusedError("image_too_large", f"found {found}, expected at most {MAX_PIXELS:,} pixels")


def _text(value: object) -> str:
    return "?" if value is None else repr(value)[:30]
