"""Reading and writing files: images, text, YAML, JSON; whole or not at all.

Everything written goes to a temporary name in the same folder, is synced and renamed, so that a
reader never sees half a file and a full disk never costs what was there before.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError

MAX_PIXELS = 200_000_000  # refuses image bombs; the largest benchmark image has 2.1 million
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


# ---------------------------------------------------------------------------- packaged data


def packaged(*parts: str) -> Path:
    """Path of a packaged data file or folder, e.g. `packaged("datasets", "camvid")`.

    In a checkout (editable install) the folders `conf`, `datasets` and `annotation` stand at the
    top; in a wheel below `perception/_data`.
    """
    here = Path(__file__).resolve().parent
    for base in (here / "_data", here.parent):
        if (base / parts[0]).is_dir():
            return base.joinpath(*parts)
    raise PerceptionError(
        here / "_data" / parts[0],
        "no such folder",
        "packaged data",
        "Install road-perception again.",
    )


# ---------------------------------------------------------------------------- writing


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well, removed when not.

    Raises:
        PerceptionError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name[:80]}.", suffix=path.suffix, dir=path.parent
        )
        os.fchmod(handle, 0o666 & ~_UMASK)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise PerceptionError(
            path,
            f"cannot write: {error.strerror or error}",
            "a writable file",
            "Free space or choose another folder; what stood there before is unchanged.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_open(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Like `open(path, mode)` for writing, but `path` appears whole or not at all."""
    encoding = None if "b" in mode else "utf-8"
    with atomic_path(path) as temporary, temporary.open(mode, encoding=encoding) as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_open(path, "w") as file:
        file.write(text)


def write_json(path: Path, value: object) -> None:
    """Writes JSON atomically; NaN becomes null, numpy values plain numbers and lists."""
    write_text(path, json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")


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


# ---------------------------------------------------------------------------- reading


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, or a `PerceptionError` that names it."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PerceptionError(path, reason.lower(), "a readable file", "Check the path.") from error


def read_text(path: Path) -> str:
    """The text of a UTF-8 file (a byte order mark is dropped)."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PerceptionError(
            path,
            f"byte {error.object[error.start]:#04x} at offset {error.start}",
            "UTF-8 text",
            "Save the file as UTF-8.",
        ) from error


def read_yaml(path: Path) -> Any:
    """The value of a YAML file."""
    import yaml

    try:
        return yaml.load(read_text(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise PerceptionError(path, problem, "valid YAML", "Correct that line.") from error


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise PerceptionError(
            path, str(error), "valid JSON", "Correct or remove the file."
        ) from error


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


def find_image(folder: Path, stem: str) -> Path | None:
    """`folder/stem` with .png, .jpg or .jpeg, whichever exists."""
    for suffix in IMAGE_SUFFIXES:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    return None


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


# ---------------------------------------------------------------------------- helpers


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _current_umask()


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


def plain(value: object) -> Any:
    """JSON-ready copy: numpy to Python, Path to str, NaN and infinities to None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
