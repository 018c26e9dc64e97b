"""labelme annotation files, every version from 2 to 7: reading, checking, writing.

A file is kept as the JSON value that it is, so that rewriting loses nothing: unknown keys on both
levels, key order, numbers, `imageData`. Shapes are checked one by one, because a report names every
bad one. Coordinates are stored as docs/coordinates.md has them. labelme itself is never imported.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.formats.problems import Problem, RefusedError
from perception.structures import Shape

VERSION = "5.5.0"  # what we write: has `mask` and `description`, opens in every later labelme
MAX_BYTES = 256 << 20
MAX_VALUES = 10_000_000  # values of a file; more would fill the memory, not an image
MAX_COORDINATE = 1_000_000  # larger floats are undefined as C integers
SHAPE_KEYS = ("label", "points", "group_id", "description", "shape_type", "flags", "mask")
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")  # none runs a program

_ANY = 10**9
# shape_type: fewest and most points; fewer in a polygon or linestrip is "degenerate", not an error
_COUNTS = {
    "polygon": (0, _ANY), "rectangle": (2, _ANY), "oriented_rectangle": (4, 4), "circle": (2, 2),
    "line": (2, 2), "linestrip": (0, _ANY), "point": (1, 1), "mask": (2, 2),
}  # fmt: skip
SHAPE_TYPES = tuple(_COUNTS)
_ALIASES = {"rotation": "oriented_rectangle"}  # as other tools write it


@dataclass(frozen=True)
class Document:
    """One annotation file: the JSON object as it stands."""

    content: dict[str, Any]
    repeated: tuple[str, ...] = ()  # keys that an object of the file has twice

    @property
    def shapes(self) -> list[Any]:
        """The raw shapes, unchecked."""
        result: list[Any] = self.content["shapes"]
        return result


# ---------------------------------------------------------------------------- reading


def read(path: Path) -> Document:
    """The annotation in a regular file.

    Raises:
        RefusedError: json_too_large, json_encoding, json_invalid or not_labelme.
    """
    try:
        if not path.is_file():
            raise RefusedError("json_invalid", "found no regular file, expected a JSON file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RefusedError("json_invalid", f"cannot be read: {reason}") from None
    return parse(data)


def parse(data: bytes) -> Document:
    """The annotation in the bytes of a file; raises as `read` does."""
    repeated: list[str] = []
    content = parse_json(data, repeated)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        found = (
            f"an object with keys {sorted(content)[:8]}"
            if isinstance(content, dict)
            else (f"a {type(content).__name__}")
        )
        raise RefusedError(
            "not_labelme", f"found {_short(found, 200)}, expected an object with a list `shapes`"
        )
    return Document(content, tuple(dict.fromkeys(repeated)))


def parse_json(data: bytes, repeated: list[str] | None = None) -> Any:
    """A JSON value of bounded size; raises `RefusedError` json_too_large, _encoding, _invalid.

    Keys that an object has twice, of which the last one counts, are added to `repeated`.
    """

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs) and repeated is not None:
            counts = Counter(key for key, _ in pairs)
            repeated.extend(key for key, count in counts.items() if count > 1)
        return found

    if len(data) > MAX_BYTES:
        raise RefusedError("json_too_large", f"found more than {MAX_BYTES >> 20} MiB")
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise RefusedError("json_too_large", f"found more than {MAX_VALUES:,} values")
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=distinct)
    except UnicodeDecodeError as error:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise RefusedError(
                "json_encoding",
                "found UTF-16, expected UTF-8 text; convert it with "
                "`iconv -f utf-16 -t utf-8 OLD > NEW`",
            ) from None
        raise RefusedError(
            "json_encoding",
            f"found byte {data[error.start]:#04x} at offset {error.start}, expected UTF-8 text. "
            "labelme before 4.5.2 wrote the encoding of the system (GBK on Chinese Windows): "
            "convert it with `iconv -f gb18030 -t utf-8 OLD > NEW`",
        ) from None
    except RecursionError:
        raise RefusedError("json_invalid", "found JSON that is nested too deeply") from None
    except ValueError as error:  # also integers of thousands of digits
        raise RefusedError("json_invalid", f"not JSON: {error}") from None


def read_shape(raw: object) -> tuple[Shape, list[Problem]]:
    """A checked shape (its mask still undecoded) and warnings about its attributes.

    A polygon with too few points passes: see `degenerate`.

    Raises:
        RefusedError: bad_shape, unsupported_shape_type, bad_points, non_finite, coordinate_range.
    """
    if not isinstance(raw, dict):
        raise RefusedError("bad_shape", f"found {type(raw).__name__}, expected an object")
    label = raw.get("label")
    if not isinstance(label, str):
        raise RefusedError("bad_shape", f"label: found {_short(label)}, expected text")
    kind = raw.get("shape_type")
    kind = "polygon" if kind is None else kind
    kind = _ALIASES.get(kind, kind) if isinstance(kind, str) else kind
    if not isinstance(kind, str) or kind not in _COUNTS:
        raise RefusedError(
            "unsupported_shape_type",
            f"found shape_type {_short(kind)}, expected one of {', '.join(SHAPE_TYPES)}",
        )
    points = read_points(raw.get("points"))
    low, high = _COUNTS[kind]
    if len(points) and not low <= len(points) <= high:
        expected = str(low) if low == high else f"at least {low}"
        raise RefusedError(
            "bad_points", f"found {len(points)} points in a {kind}, expected {expected}"
        )
    problems: list[Problem] = []
    description = raw.get("description")
    if description is not None and not isinstance(description, str):
        problems.append(Problem("bad_attribute", f"description {_short(description)} is no text"))
        description = None
    shape = Shape(
        label,
        kind,
        points,
        group_id=_group(raw.get("group_id"), problems),
        flags=_flags(raw.get("flags"), problems),
        description=description or "",
        extra={key: value for key, value in raw.items() if key not in SHAPE_KEYS},
    )
    return shape, problems


def read_mask(raw: Mapping[str, Any], max_pixels: int) -> NDArray[np.bool_]:
    """(h, w) pixels of a mask shape, True where its PNG is not 0.

    Raises:
        RefusedError: bad_mask; sizes are checked on the header, before decoding.
    """
    import PIL.Image

    text = raw.get("mask")
    if not isinstance(text, str):
        raise RefusedError("bad_mask", f"found mask {_short(text)}, expected base64 of a PNG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = base64.b64decode(text)
            with PIL.Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise RefusedError(
                        "bad_mask",
                        f"found {image.width}x{image.height} pixels, expected at most "
                        "4 times those of the image",
                    )
                if len(image.getbands()) != 1:
                    raise RefusedError("bad_mask", f"found mode {image.mode}, expected one channel")
                result: NDArray[np.bool_] = np.asarray(image) != 0
                return result
    except RefusedError:
        raise
    except (binascii.Error, ValueError) as error:
        raise RefusedError("bad_mask", f"not base64 of an image: {error}") from None
    except Exception as error:  # Pillow raises many kinds on damaged images
        raise RefusedError("bad_mask", f"not an image: {type(error).__name__}") from None


def read_points(raw: object) -> NDArray[np.float64]:
    """(N, 2) float64 of a JSON list of [x, y].

    Raises:
        RefusedError: the first of bad_points, non_finite, coordinate_range.
    """
    if not isinstance(raw, list):
        raise RefusedError("bad_points", f"points: found {_short(raw)}, expected a list of [x, y]")
    points = _plain_points(raw)
    if points is not None:
        return points
    number = (int, float)
    far = wild = -1
    for i, pair in enumerate(raw):
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and type(pair[0]) in number
            and type(pair[1]) in number
        ):
            raise RefusedError(
                "bad_points", f"point {i}: found {_short(pair)}, expected [x, y] of two numbers"
            )
        for value in pair:
            if not -MAX_COORDINATE <= value <= MAX_COORDINATE:
                if isinstance(value, float) and not math.isfinite(value):
                    wild = i if wild < 0 else wild
                else:
                    far = i if far < 0 else far
    if wild >= 0:
        raise RefusedError(
            "non_finite", f"point {wild}: found {_short(raw[wild])}, expected numbers"
        )
    if far >= 0:
        raise RefusedError(
            "coordinate_range",
            f"point {far}: found {_short(raw[far])}, expected values within ±{MAX_COORDINATE:,}",
        )
    return np.array(raw, np.float64).reshape(-1, 2)


def _plain_points(raw: list[Any]) -> NDArray[np.float64] | None:
    """The points where nothing is wrong with any of them, else None; a tenth of a loop's time."""
    if set(map(type, raw)) != {list} or set(map(len, raw)) != {2}:
        return None
    flat = list(chain.from_iterable(raw))
    if not set(map(type, flat)) <= {int, float}:
        return None
    try:
        points = np.array(flat, np.float64)
    except OverflowError:
        return None
    return points.reshape(-1, 2) if (np.abs(points) <= MAX_COORDINATE).all() else None


def degenerate(shape: Shape) -> str | None:
    """Why nothing can be drawn of a shape with too few points, or None."""
    fewest = {"polygon": 3, "linestrip": 2}.get(shape.type, 1)
    return f"{shape.type} with {_count(shape.points)}" if len(shape.points) < fewest else None


# ---------------------------------------------------------------------------- writing


def document(
    shapes: Sequence[Shape],
    image_path: str,
    size: tuple[int, int],
    *,
    flags: Mapping[str, bool] | None = None,
) -> Document:
    """A new annotation of an image of `size` (height, width); `image_path` is relative, with /."""
    return Document(
        {
            "version": VERSION,
            "flags": dict(flags or {}),
            "shapes": [shape_record(shape) for shape in shapes],
            "imagePath": image_path,
            "imageData": None,
            "imageHeight": size[0],
            "imageWidth": size[1],
        }
    )


def shape_record(shape: Shape) -> dict[str, Any]:
    """The JSON object of one shape: labelme's seven keys, then the unknown ones."""
    mask = None if shape.mask is None else encode_mask(shape.mask)
    known = {
        "label": shape.label,
        "points": shape.points.tolist(),
        "group_id": shape.group_id,
        "description": shape.description,
        "shape_type": shape.type,
        "flags": dict(shape.flags),
        "mask": mask,
    }
    return known | dict(shape.extra)


def encode(annotation: Document) -> bytes:
    """The bytes of an annotation file: UTF-8, indent 2, key order and values as they stand."""
    text = json.dumps(annotation.content, ensure_ascii=False, indent=2)
    return escape_surrogates(text).encode("utf-8")


def encode_mask(mask: NDArray[np.bool_]) -> str:
    """(h, w) pixels as labelme stores them: base64 of a grey PNG of 0 and 1."""
    import cv2

    _, png = cv2.imencode(".png", np.ascontiguousarray(mask, np.uint8))
    return base64.b64encode(png.tobytes()).decode("ascii")


def mask_shape(label: str, mask: NDArray[np.bool_], **fields: Any) -> Shape | None:
    """A mask shape on its own box from (H, W) pixels of the whole image; None when empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    y1, y2, x1, x2 = rows[0], rows[-1], columns[0], columns[-1]
    corners = np.array([[x1, y1], [x2, y2]], np.float64)
    return replace(Shape(label, "mask", corners, **fields), mask=mask[y1 : y2 + 1, x1 : x2 + 1])


def escape_surrogates(text: str) -> str:
    r"""JSON text whose lone surrogates, which UTF-8 cannot hold, are written as \uXXXX."""
    if text.isascii():
        return text
    return "".join(f"\\u{ord(mark):04x}" if "\ud800" <= mark <= "\udfff" else mark for mark in text)


# ---------------------------------------------------------------------------- helpers


def _group(raw: object, problems: list[Problem]) -> int | str | None:
    """A whole number where it is one (2.0 is 2), else text; None when absent."""
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        return None
    if isinstance(raw, float) and raw.is_integer():
        return int(raw)
    if isinstance(raw, str):
        return raw.strip()
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, float) and math.isfinite(raw):
        return str(raw)
    problems.append(Problem("bad_attribute", f"group_id {_short(raw)} is no number or text"))
    return None


def _flags(raw: object, problems: list[Problem]) -> dict[str, bool]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        problems.append(Problem("bad_attribute", f"flags {_short(raw)} are no object"))
        return {}
    for name, value in raw.items():
        if not isinstance(value, bool):
            problems.append(
                Problem("bad_attribute", f"flag {_short(name)} is {_short(value)}, not true/false")
            )
    return {name: value for name, value in raw.items() if isinstance(value, bool)}


def _count(points: NDArray[np.float64]) -> str:
    return f"{len(points)} point{'s' if len(points) != 1 else ''}"


def _short(value: object, length: int = 60) -> str:
    """A value for a message, cut; never the text of a whole image."""
    if isinstance(value, str):
        value = value[: length + 1]
    elif isinstance(value, (list, dict)) and len(value) > 8:
        return f"{type(value).__name__} of {len(value)}"
    try:
        text = value if isinstance(value, str) and length > 60 else repr(value)
    except (ValueError, RecursionError):  # integers of thousands of digits, deep nesting
        return type(value).__name__
    return text if len(text) <= length else text[:length] + "…"
