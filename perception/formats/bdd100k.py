"""BDD100K and Scalabel labels: frames with boxes, areas and lanes, in three JSON forms.

A list of frames (`bdd100k_labels_images_val.json`), one file per image with `frames[].objects[]`,
or Scalabel's `{"frames": [...]}`. Curves are cubic Bézier: points of type C are control points, not
vertices. The toolkit's boxes end in inclusive pixels: x2 is read as x2 + 1.
Source: BDD100K label format and toolkit (bdd100k/label, scalabel), 2018 to 2022.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perception.formats.labelme import MAX_BYTES, parse_json, read_points
from perception.formats.problems import Problem, RefusedError
from perception.structures import Float, Shape

# BDD100K category → label; others keep their name
LABELS = {
    "motor": "motorcycle",
    "bike": "bicycle",
    "pedestrian": "person",
    "other person": "person",
    "other vehicle": "dynamic",
    "street light": "pole",
    "area/drivable": "lane",
    "area/alternative": "road",
}
LINE_WIDTH = 10  # how wide lanes are drawn; kept with every lane as `line_width`
_STEPS = 12  # straight pieces of a curve
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Place:
    """Where one frame is in its file."""

    name: str  # of its image
    start: int  # byte offset of its JSON object; -1: the whole file is one frame
    length: int
    index: int  # among the frames of the file
    video: str = ""  # its recording, where the frame names one


def find_frames(path: Path) -> list[Place]:
    """The frames of a file, which may be larger than memory when it is a list.

    Raises:
        RefusedError: json_invalid, json_encoding, json_too_large, not_bdd100k.
    """
    try:
        with path.open("rb") as file:
            first = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if first == b"[":
            rows = enumerate(_listed(path))
            return [_place(value, start, length, n) for n, (value, start, length) in rows]
        content = _whole(path)
    except OSError as error:
        raise RefusedError("json_invalid", f"cannot be read: {error.strerror}") from None
    frames = content.get("frames")
    if "name" not in content and isinstance(frames, list):
        return [_place(frame, -1, 0, n) for n, frame in enumerate(frames)]
    return [_place(content, -1, 0, 0)]


def read_frame(path: Path, place: Place) -> tuple[list[Shape], list[Problem]]:
    """The shapes of one frame, and what was left out.

    Raises:
        RefusedError: as `find_frames`, or a label of impossible form.
    """
    if place.start >= 0:
        with path.open("rb") as file:
            file.seek(place.start)
            content = parse_json(file.read(place.length))
    else:
        content = _whole(path)
        if "name" not in content:
            content = content["frames"][place.index]
    records = _records(content)
    shapes: list[Shape] = []
    problems: list[Problem] = []
    for index, record in enumerate(records):
        try:
            if swapped := _swapped(record):
                problems.append(Problem("inverted_box", swapped, index))
            shapes += _shapes(record, len(shapes))
        except RefusedError as error:
            problems.append(
                Problem(
                    error.problem.reason,
                    error.problem.detail,
                    index,
                    error=error.problem.reason != "not_converted",
                )
            )
    return shapes, problems


def bezier(points: Float, types: str, *, closed: bool) -> Float:
    """(M, 2) vertices of a path whose points of type C are control points of cubic curves."""
    if "C" not in types:
        return points
    path = [points[0]]
    ring = np.concatenate([points, points[:1]]) if closed else points
    kinds = types + "L" if closed else types
    t = np.linspace(0, 1, _STEPS + 1)[1:, None]
    i = 1
    while i < len(ring):
        if kinds[i] == "C" and i + 2 < len(ring):
            start, one, two, end = path[-1], ring[i], ring[i + 1], ring[i + 2]
            curve = (
                (1 - t) ** 3 * start
                + 3 * (1 - t) ** 2 * t * one
                + 3 * (1 - t) * t**2 * two
                + t**3 * end
            )
            path += list(curve)
            i += 3
        else:
            path.append(ring[i])
            i += 1
    return np.array(path[:-1] if closed else path)


# ---------------------------------------------------------------------------- one label


def _shapes(record: object, number: int) -> list[Shape]:
    """A box is one rectangle, a polygon one shape for each part, joined by a group id."""
    if not isinstance(record, dict) or not isinstance(record.get("category"), str):
        raise RefusedError("bad_shape", "expected a label with a category")
    said = record.get("attributes")
    attributes: Mapping[str, Any] = said if isinstance(said, dict) else {}
    label = _label(record["category"], attributes)
    flags = {
        name: True
        for name in ("occluded", "truncated", "crowd", "ignored")
        if (attributes.get(name) or attributes.get(name.capitalize())) is True
    }
    if flags.pop("ignored", False):
        flags["ignore"] = True
    if isinstance(record.get("box2d"), dict):
        x1, y1, x2, y2 = (record["box2d"].get(k) for k in ("x1", "y1", "x2", "y2"))
        corners = np.sort(read_points([[x1, y1], [x2, y2]]), axis=0)
        return [Shape(label, "rectangle", corners + np.array([[0, 0], [1, 1]]), flags=flags)]
    if not isinstance(record.get("poly2d"), list) or not record["poly2d"]:
        raise RefusedError("not_converted", f"{label}: neither box2d nor poly2d")
    parts = [_part(part, label, flags) for part in _paths(record["poly2d"], label)]
    if len(parts) > 1:
        return [
            Shape(p.label, p.type, p.points, group_id=number, flags=flags, extra=p.extra)
            for p in parts
        ]
    return parts


def _records(frame: dict[str, Any]) -> list[Any]:
    """The labels of a frame; none where it says null or nothing."""
    records = frame.get("labels")
    if records is None and isinstance(frame.get("frames"), list) and frame["frames"]:
        inner = frame["frames"][0]
        if not isinstance(inner, dict):
            raise RefusedError("bad_shape", "frames: expected objects with a list `objects`")
        records = inner.get("objects")
    if records is None:
        return []
    if not isinstance(records, list):
        raise RefusedError("bad_shape", f"labels: found {type(records).__name__}, expected a list")
    return records


def _swapped(record: object) -> str:
    """What is said of a box whose corners are not top left and bottom right; "" for all others."""
    box = record.get("box2d") if isinstance(record, dict) else None
    if not isinstance(box, dict):
        return ""
    values = [box.get(k) for k in ("x1", "y1", "x2", "y2")]
    corners = [value for value in values if isinstance(value, (int, float))]
    if len(corners) < 4:
        return ""  # refused when it is read
    x1, y1, x2, y2 = corners
    return "corners in another order than x1 < x2, y1 < y2" if x1 > x2 or y1 > y2 else ""


def _label(category: str, attributes: Mapping[str, Any]) -> str:
    if category == "drivable area":
        return "road" if attributes.get("areaType") == "alternative" else "lane"
    kind = attributes.get("laneType", attributes.get("laneTypes", ""))
    if category.startswith("lane"):
        if "curb" in f"{category} {kind}":
            raise RefusedError("not_converted", "a kerb has no class")
        return "lane marking"
    return LABELS.get(category, category)


def _paths(poly2d: list[Any], label: str) -> Iterator[tuple[Any, str, bool]]:
    """(points, types, closed) of each part, in either form."""
    if isinstance(poly2d[0], dict):
        for part in poly2d:
            if not isinstance(part, dict):
                raise RefusedError("bad_points", "poly2d: expected objects with vertices")
            points = part.get("vertices")
            types = part.get("types", "")
            types = types if isinstance(types, str) else ""
            yield points, types, bool(part.get("closed", label != "lane marking"))
        return
    triples = [p for p in poly2d if isinstance(p, list) and len(p) == 3]
    if len(triples) != len(poly2d):
        raise RefusedError("bad_points", "poly2d: expected [x, y, type] for each point")
    yield [p[:2] for p in triples], "".join(str(p[2])[:1] for p in triples), label != "lane marking"


def _part(part: tuple[Any, str, bool], label: str, flags: dict[str, bool]) -> Shape:
    points = read_points(part[0])
    types, closed = part[1].ljust(len(points), "L")[: len(points)], part[2]
    if len(points):
        points = bezier(points, types, closed=closed)
    if closed:
        return Shape(label, "polygon", points, flags=flags)
    return Shape(label, "linestrip", points, flags=flags, extra={"line_width": LINE_WIDTH})


# ---------------------------------------------------------------------------- files


def _whole(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = parse_json(file.read(MAX_BYTES + 1))
    if not isinstance(content, dict):
        raise RefusedError("not_bdd100k", "expected an object or a list of frames")
    return content


def _place(frame: object, start: int, length: int, index: int) -> Place:
    name = frame.get("name") if isinstance(frame, dict) else None
    if not isinstance(frame, dict) or not isinstance(name, str) or not name:
        raise RefusedError("not_bdd100k", "found a frame without a name")
    video = frame.get("videoName")
    return Place(name, start, length, index, video if isinstance(video, str) else "")


def _listed(path: Path) -> Iterator[tuple[Any, int, int]]:
    """(value, byte offset, bytes) of each element of a JSON list, read piece by piece."""
    decoder = json.JSONDecoder()
    with path.open("rb") as file:
        offset, text = 0, ""  # Latin-1 keeps one character per byte; names are decoded below
        position = None
        while True:
            chunk = file.read(_CHUNK).decode("latin-1")
            text += chunk
            if position is None and "[" in text:
                position = text.index("[") + 1
            while position is not None:
                while position < len(text) and text[position] in " \t\r\n,":
                    position += 1
                if position < len(text) and text[position] == "]":
                    return
                try:
                    value, end = decoder.raw_decode(text, position)
                except (ValueError, RecursionError):
                    break
                if isinstance(value, dict) and isinstance(value.get("name"), str):
                    value["name"] = (
                        value["name"].encode("latin-1", "replace").decode("utf-8", "replace")
                    )
                yield value, offset + position, end - position
                offset, text, position = offset + end, text[end:], 0
            if not chunk or len(text) > MAX_BYTES:
                raise RefusedError("json_invalid", f"no whole JSON list, at byte {offset}")
