"""Open Images boxes (CSV) as rectangles: coordinates are shares of the upright image.

IsGroupOf makes a crowd, IsDepiction an ignored region; −1 means unknown and sets no flag. Columns
are XMin, XMax, YMin, YMax: x before y, pairwise.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from perception.annotation.images import decode_image, inside_of, read_file, refuse_outside
from perception.annotation.interfaces import Contents, Item, Sample, Settings, Source
from perception.annotation.pairing import pair
from perception.annotation.walk import walk
from perception.errors import UsageError
from perception.files.finding import IMAGE_SUFFIXES
from perception.formats.problems import Problem, RefusedError
from perception.structures import Frame, Shape

COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
FLAGS = {
    "IsOccluded": "occluded",
    "IsTruncated": "truncated",
    "IsGroupOf": "crowd",
    "IsDepiction": "ignore",
}
# Machine names of the road classes; others need the class description CSV beside the boxes.
NAMES = {
    "/m/0k4j": "car",
    "/m/07r04": "truck",
    "/m/01bjv": "bus",
    "/m/0h2r6": "van",
    "/m/01g317": "person",
    "/m/04yx4": "person",
    "/m/03bt1vf": "person",
    "/m/05r655": "person",
    "/m/01bl7v": "person",
    "/m/0199g": "bicycle",
    "/m/04_sv": "motorcycle",
    "/m/07jdr": "train",
    "/m/015qff": "traffic light",
    "/m/01mqdt": "traffic sign",
    "/m/02pv19": "traffic sign",
    "/m/01jfm_": "license plate",
}
# names of the class description CSV that the label table does not know
_ALIASES = {
    "man": "person",
    "woman": "person",
    "boy": "person",
    "girl": "person",
    "stop sign": "traffic sign",
    "vehicle registration plate": "license plate",
}


def find(src: Path, settings: Settings) -> Contents:
    """One item for each image of the box CSVs below `src`; images are found by their id."""
    root = src if src.is_dir() else src.parent
    below = walk(root, allow_outside=settings.allow_outside)
    names = dict(NAMES)
    rows: dict[tuple[Path, str], list[dict[str, str]]] = {}
    for path in below.having((".csv",)):
        names |= _descriptions(path)
    for path in below.having((".csv",)) if src.is_dir() else [src]:
        for row in _boxes(path):
            rows.setdefault((path, row["ImageID"]), []).append(row)
    if not rows:
        raise UsageError(
            src,
            "no CSV with ImageID, LabelName, XMin ...",
            "Open Images boxes",
            "Give a folder with the box CSV, the class CSV and the images.",
        )
    labels = {(path, image): (image, path) for path, image in rows}
    paired = pair(labels, below.having(IMAGE_SUFFIXES), root)
    items = []
    for (path, image), found in rows.items():
        used = {row["LabelName"]: names.get(row["LabelName"], "") for row in found}
        known = {machine: name for machine, name in used.items() if name}
        file = f"{path.relative_to(root).as_posix()}#{image}"
        stem = image.replace("\\", "/").rsplit("/", 1)[-1]
        items.append(Item(file, stem, path, root, (found, paired[path, image], known)))
    return Contents(sorted(items, key=lambda item: item.file), below.notes, below.hidden)


def read(item: Item, settings: Settings) -> Sample:
    """The rectangles of one image."""
    rows, paired, names = item.more
    path = paired.picture
    said = [] if paired.problem is None else [paired.problem]
    if path is None:
        return Sample(None, tuple(said))
    inside = inside_of(item.root, allow_outside=settings.allow_outside)
    refuse_outside(inside, item.path, path)
    image, problems = decode_image(read_file(path), suffix=path.suffix)
    problems = said + problems
    shapes = []
    for index, row in enumerate(rows):
        try:
            shapes.append(_rectangle(row, image.size, names))
        except RefusedError as error:
            problems.append(Problem(error.problem.reason, error.problem.detail, index, error=True))
    if any(problem.error for problem in problems):
        return Sample(None, tuple(problems))
    return Sample(Frame(item.stem, image, shapes=tuple(shapes)), tuple(problems))


def _rectangle(row: dict[str, str], size: tuple[int, int], names: dict[str, str]) -> Shape:
    shares = []
    for column in ("XMin", "YMin", "XMax", "YMax"):
        try:
            value = float(row[column])
        except (TypeError, ValueError):
            value = math.nan
        if not -1 <= value <= 2:
            raise RefusedError("bad_points", f"{column}: found {row[column]!r}, expected 0 to 1")
        shares.append(value)
    corners = np.array(shares, np.float64).reshape(2, 2) * (size[1], size[0])
    flags = {name: True for column, name in FLAGS.items() if (row.get(column) or "").strip() == "1"}
    label = names.get(row["LabelName"], row["LabelName"])
    label = _ALIASES.get(label.casefold(), label)
    return Shape(label, "rectangle", corners, flags=flags)


def _descriptions(path: Path) -> dict[str, str]:
    """Machine name → name from a class description CSV; {} for any other file."""
    found = {}
    for row in _rows(path):
        if len(row) != 2:
            return {}
        found[row[0]] = row[1]
    return {key: name for key, name in found.items() if key.startswith("/")}


def _boxes(path: Path) -> list[dict[str, str]]:
    """The rows of a box CSV; [] for any other file."""
    rows = _rows(path)
    head = next(rows, [])
    if not set(COLUMNS) <= set(head):
        return []
    return [dict(zip(head, row, strict=False)) for row in rows if len(row) >= len(head)]


def _rows(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            yield from csv.reader(file)
    except (OSError, csv.Error) as error:
        raise UsageError(path, str(error), "a CSV file", "Correct or remove the file.") from None


SOURCE = Source(find, read)
