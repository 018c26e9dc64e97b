"""Pascal VOC: annotations in XML, image lists, detections as text.

Corners are kept as the format has them, 1-based and inclusive: VOC's overlap is defined on them,
and shifting decimals would move them by a rounding step. `VocObjects.boxes` converts.
Source: PASCAL VOC 2012 development kit.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import read_bytes, read_text
from perception.structures import Boxes, Float

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocObjects:
    """The N objects of one annotation."""

    names: tuple[str, ...]
    corners: Float  # (N, 4) xmin, ymin, xmax, ymax, 1-based, inclusive
    difficult: NDArray[np.bool_]  # (N,)
    size: tuple[int, int] | None = None  # (height, width) of the image, where it is said

    @property
    def boxes(self) -> Boxes:
        """In the project's coordinates; `ignore` marks difficult objects."""
        return Boxes.of(self.corners - [1, 1, 0, 0], self.names, ignore=self.difficult)


@dataclass(frozen=True)
class VocDetections:
    """The N detections of one class, in the order of the file."""

    images: tuple[str, ...]
    score: Float  # (N,)
    corners: Float  # (N, 4)


def read_annotation(path: Path) -> VocObjects:
    """The objects of one XML annotation; a missing `difficult` is 0.

    Raises:
        PerceptionError: no XML, or an object without name or with an unusable box (names it).
    """
    try:
        root = ElementTree.fromstring(read_bytes(path))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise PerceptionError(
            path, str(error), "an XML annotation", "Correct or remove the file."
        ) from error
    names, corners, difficult = [], [], []
    if root.tag != "annotation":
        raise PerceptionError(
            path,
            f"XML that begins with <{root.tag}>",
            "<annotation>",
            "Give the folder of a VOC data set.",
        )
    for number, item in enumerate(root.findall("object"), 1):
        children = {child.tag: child for child in item}
        name = _text(children.get("name"))
        if not name:
            _refuse(path, number, "no name", "<name>car</name>")
        names.append(name)
        corners.append(_box(path, number, children.get("bndbox")))
        difficult.append(_flag(path, number, children.get("difficult")))
    return VocObjects(
        tuple(names),
        np.array(corners, np.float64).reshape(-1, 4),
        np.array(difficult, bool),
        _size(root.find("size")),
    )


def read_image_set(path: Path) -> list[str]:
    """The images of `ImageSets/Main/<name>.txt`; further columns are passed over.

    Raises:
        PerceptionError: no text file, no image in it, or one twice.
    """
    images = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
    if not images:
        raise PerceptionError(path, "no image", "one name per line", "Choose another image set.")
    if len(set(images)) != len(images):
        twice = next(name for i, name in enumerate(images) if name in images[:i])
        raise PerceptionError(path, f"{twice} twice", "every image once", "Remove one of the two.")
    return images


def read_detections(path: Path, images_known: Container[str]) -> VocDetections:
    """Lines `image score xmin ymin xmax ymax` of one class.

    Raises:
        PerceptionError: no text file, a line that is no detection, or one of an image that is not
            in `images_known` (names file and line).
    """
    images, rows = [], []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 6:
            _refuse_line(path, number, f"{len(words)} fields", "image score xmin ymin xmax ymax")
        try:
            row = [float(word) for word in words[1:]]
        except ValueError:
            row = [math.nan]
        if not all(map(math.isfinite, row)) or "_" in "".join(words[1:]):
            _refuse_line(path, number, " ".join(words[1:]), "five finite numbers")
        if words[0] not in images_known:
            _refuse_line(path, number, f"image {words[0]}", "an image of the image set")
        images.append(words[0])
        rows.append(row)
    table = np.array(rows, np.float64).reshape(-1, 5)
    return VocDetections(tuple(images), table[:, 0], table[:, 1:])


def _text(element: ElementTree.Element | None) -> str:
    return "" if element is None else (element.text or "").strip()


def _size(element: ElementTree.Element | None) -> tuple[int, int] | None:
    """None where a side is not said; some programs write 0 for that."""
    if element is None:
        return None
    height, width = (_text(element.find(side)) for side in ("height", "width"))
    if not (height + width).isascii() or not height.isdigit() or not width.isdigit():
        return None
    return (int(height), int(width)) if int(height) and int(width) else None


def _box(path: Path, number: int, element: ElementTree.Element | None) -> list[float]:
    if element is None:
        _refuse(path, number, "no bndbox", "xmin, ymin, xmax, ymax")
    parts = {child.tag: child.text or "" for child in element}
    try:
        corners = [float(parts[corner]) for corner in _CORNERS]
    except KeyError as missing:
        _refuse(path, number, f"a bndbox without {missing.args[0]}", "four corners")
    except ValueError:
        corners = [math.nan]
    if not all(map(math.isfinite, corners)):
        _refuse(path, number, f"the box {' '.join(parts.values())}", "four finite numbers")
    return corners


def _flag(path: Path, number: int, element: ElementTree.Element | None) -> bool:
    text = _text(element) or "0"
    if not text.isascii() or not text.isdigit():
        _refuse(path, number, f"difficult {text}", "0 or 1")
    return int(text) != 0


def _refuse(path: Path, number: int, found: str, expected: str) -> NoReturn:
    raise PerceptionError(f"{path}, object {number}", found, expected)


def _refuse_line(path: Path, number: int, found: str, expected: str) -> NoReturn:
    raise PerceptionError(f"{path}, line {number}", found, expected)
