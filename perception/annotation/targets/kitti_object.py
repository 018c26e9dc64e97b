"""Frames as KITTI object labels: one line of 15 columns per object, 3D columns unknown.

Boxes are 0-based floats in the coordinates of docs/coordinates.md: no +1, width = right − left.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception.annotation.attributes import FLAG_TRUNCATION
from perception.annotation.calibration import calibration_output
from perception.annotation.images import EncodedImage
from perception.annotation.interfaces import Settings, Target, Written
from perception.annotation.raster import mask_corner, radius
from perception.annotation.scene import Drawn, Scene
from perception.formats.problems import Problem
from perception.structures import Frame, Shape

Box = tuple[float, float, float, float]  # x1, y1, x2, y2

_NAME = re.compile(r"[0-9]{6}")
_UNKNOWN_3D = ["-1", "-1", "-1", "-1000", "-1000", "-1000", "-10"]
_UNKNOWN_ALPHA = "-10"


@dataclass(frozen=True)
class BoxObject:
    """One object with a box, made of the shapes of one group."""

    drawn: tuple[Drawn, ...]  # in file order
    box: Box  # union of its shapes' boxes, not clipped

    @property
    def type(self) -> str:
        """KITTI type; DontCare where a shape is ignored or a crowd."""
        kind = self.drawn[0].meaning.kitti
        if kind is None or any(item.ignore or item.crowd for item in self.drawn):
            return "DontCare"
        return kind


def box_objects(scene: Scene) -> tuple[list[BoxObject], list[Problem]]:
    """Objects in the order of their first shape in the file; shapes that have no box."""
    groups: dict[tuple[str, str | int], list[tuple[Drawn, Box]]] = {}
    problems = []
    for item in sorted(scene.drawn, key=lambda d: d.index):
        if item.meaning.kitti is None and not item.ignore:
            continue
        box = shape_box(item.shape)
        if box is None:
            problems.append(
                Problem(
                    "no_box",
                    f"{item.meaning.name} drawn as {item.shape.type}; draw a rectangle",
                    item.index,
                )
            )
        elif not has_area(clip(box, scene.size)):
            problems.append(Problem("degenerate", "box without width or height", item.index))
        else:
            groups.setdefault(item.identity, []).append((item, box))
    return [_joined(members) for members in groups.values()], problems


def shape_box(shape: Shape) -> Box | None:
    """The box of a shape; None for lines and points."""
    if shape.type in ("line", "linestrip", "point"):
        return None
    if shape.type == "circle":
        (x, y), r = shape.points[0].tolist(), radius(shape)
        return x - r, y - r, x + r, y + r
    if shape.type == "mask":
        assert shape.mask is not None
        x, y = mask_corner(shape)
        rows, columns = np.flatnonzero(shape.mask.any(1)), np.flatnonzero(shape.mask.any(0))
        if not len(rows):
            return None
        return (
            float(x + columns[0]),
            float(y + rows[0]),
            float(x + columns[-1] + 1),
            float(y + rows[-1] + 1),
        )
    (x1, y1), (x2, y2) = shape.points.min(0).tolist(), shape.points.max(0).tolist()
    return x1, y1, x2, y2


def clip(box: Box, size: tuple[int, int], *, margin: int = 1) -> Box:
    """The box inside [0, W − margin] × [0, H − margin]; KITTI's own margin is 1."""
    height, width = size
    x1, x2 = (min(max(0.0, x), float(width - margin)) for x in (box[0], box[2]))
    y1, y2 = (min(max(0.0, y), float(height - margin)) for y in (box[1], box[3]))
    return x1, y1, x2, y2


def truncation(item: BoxObject, size: tuple[int, int]) -> float:
    """The largest of the shapes': as written, else the share outside the image, flagged ≥ 0.5.

    −1: written as unknown.
    """
    inside = clip(item.box, size, margin=0)
    computed = 1 - _area(inside) / _area(item.box)
    values = []
    for drawn in item.drawn:
        said = drawn.attributes
        if said.truncation is not None:
            values.append(said.truncation)
        else:
            values.append(max(computed, FLAG_TRUNCATION) if said.truncated else computed)
    return max(values)


def label_lines(
    objects: Sequence[BoxObject], size: tuple[int, int]
) -> tuple[list[str], list[Problem]]:
    """Lines in the order of the objects, DontCare last."""
    lines: list[str] = []
    regions: list[str] = []
    problems: list[Problem] = []
    for item in objects:
        box = [f"{value:.2f}" for value in clip(item.box, size)]
        if item.type == "DontCare":
            regions.append(" ".join(["DontCare -1 -1", _UNKNOWN_ALPHA, *box, *_UNKNOWN_3D]))
            continue
        alpha, solid = _carried(item, problems)
        share = truncation(item, size)
        cut = "-1" if share < 0 else f"{share:.2f}"
        hidden = str(max(drawn.attributes.occlusion for drawn in item.drawn))
        lines.append(" ".join([item.type, cut, hidden, alpha, *box, *solid]))
    return lines + regions, problems


def _joined(members: list[tuple[Drawn, Box]]) -> BoxObject:
    left, top, right, bottom = zip(*(box for _, box in members), strict=True)
    return BoxObject(
        tuple(item for item, _ in members), (min(left), min(top), max(right), max(bottom))
    )


def _carried(item: BoxObject, problems: list[Problem]) -> tuple[str, list[str]]:
    """Alpha and the 3D columns of the KITTI line that a shape came from, while its type holds."""
    for drawn in item.drawn:
        line = drawn.shape.extra.get("kitti")
        if line is None:
            continue
        fields = line.split() if isinstance(line, str) else []
        if len(fields) not in (15, 16) or not all(map(_is_number, fields[1:])):
            problems.append(Problem("bad_attribute", "`kitti` is no label line", drawn.index))
        elif fields[0] == item.type:
            return fields[3], fields[8:15]
    return _UNKNOWN_ALPHA, _UNKNOWN_3D


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and text.isascii()
    except ValueError:
        return False


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def has_area(box: Box) -> bool:
    """False for a line or a point."""
    return box[2] > box[0] and box[3] > box[1]


def _write(frame: Frame, scene: Scene, name: str, stem: str, settings: Settings) -> Written:
    objects, dropped = box_objects(scene)
    lines, problems = label_lines(objects, scene.size)
    assert isinstance(frame.image, EncodedImage)
    outputs = {
        f"training/image_2/{name}.png": frame.image.png(),
        f"training/label_2/{name}.txt": "".join(f"{line}\n" for line in lines).encode("ascii"),
    }
    more, missing = calibration_output(name, stem, settings)
    return Written(outputs | more, (*dropped, *problems, *missing))


TARGET = Target(
    folders=("training",),
    kept=lambda stem: stem if _NAME.fullmatch(stem) else None,
    numbered=lambda number, _: f"{number:06d}",
    write=_write,
    matters=lambda meaning: meaning.kitti is not None,
    options=frozenset({"calibration"}),
    lists=True,
)
