"""The shapes of one frame with their meaning: what is drawn, in which order, which make an object.

Every target starts here, so that labels, flags, groups and dropped shapes mean the same in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perception.annotation.attributes import Attributes, attributes_of
from perception.annotation.classes import LabelTable, Meaning
from perception.annotation.crossing import crosses_itself
from perception.annotation.raster import check_work, covers, shape_mask
from perception.formats.labelme import degenerate
from perception.formats.problems import Problem
from perception.structures import Shape

ORDERS = ("file", "area", "priority")
MAX_CROSSING_POINTS = 10_000  # more are not tested for self-intersection


@dataclass(frozen=True)
class Drawn:
    """One shape that counts."""

    index: int  # in the frame's shapes
    shape: Shape
    meaning: Meaning  # of its label
    painted: Meaning  # of its pixels: unlabeled where it is ignored
    group: str | None
    crowd: bool
    attributes: Attributes

    @property
    def identity(self) -> tuple[str, str | int]:
        """Equal for the shapes of one object."""
        return self.meaning.name, self.index if self.group is None else f"group {self.group}"

    @property
    def ignore(self) -> bool:
        """True: neither right nor wrong, in every target."""
        return self.attributes.ignore


@dataclass(frozen=True)
class Scene:
    """The shapes of one frame that a target uses."""

    size: tuple[int, int]  # (height, width)
    drawn: tuple[Drawn, ...]  # in painting order; later ones cover earlier ones
    shapes_in_file: int


def compose(
    shapes: Sequence[Shape | None],
    size: tuple[int, int],
    table: LabelTable,
    *,
    unknown: str = "error",
    order: str = "file",
    matters: Callable[[Meaning], bool] = lambda _: True,
) -> tuple[Scene, list[Problem]]:
    """The scene of a frame, and what is wrong with its shapes.

    Args:
        shapes: in file order, with masks decoded; None: refused before, left out.
        size: (height, width) of the image.
        table: what labels mean.
        unknown: "error" or "ignore" (dropped with a warning).
        order: one of `ORDERS`.
        matters: labels for which it is False are left out silently, unless ignored.
    """
    problems: list[Problem] = []
    drawn: list[Drawn] = []
    for index, shape in enumerate(shapes):
        if shape is None:
            continue
        found, item = _meaning_of(index, shape, table, unknown)
        problems += found
        if item is not None and (matters(item.meaning) or item.ignore):
            drawn.append(item)
    problems += [r.problem for r in check_work(((d.index, d.shape) for d in drawn), size)]
    if not shapes:
        problems.append(Problem("empty_shapes", "no shapes: is it labelled?"))
    if any(problem.error for problem in problems):
        return Scene(size, (), len(shapes)), problems
    kept = []
    for item in drawn:
        if not covers(item.shape, size):
            problems.append(_warning("outside_image", "covers no pixel of the image", item.index))
            continue
        if _self_intersects(item.shape):
            problems.append(_warning("self_intersection", "two edges cross", item.index))
        kept.append(item)
    return Scene(size, tuple(_ordered(kept, size, order)), len(shapes)), problems


def unknown_label(label: str, table: LabelTable) -> str:
    """The detail of an unknown label."""
    near = table.suggest(label)
    hint = f"; did you mean {near}?" if near else "."
    return f"no label is called {label[:80]!r}{hint} Correct it, or name it in a --label-map"


def _meaning_of(
    index: int, shape: Shape, table: LabelTable, unknown: str
) -> tuple[list[Problem], Drawn | None]:
    if few := degenerate(shape):
        return [_warning("degenerate", few, index)], None
    resolved = table.resolve(shape.label)
    if resolved is None:
        detail = unknown_label(shape.label, table)
        return [Problem("unknown_label", detail, index, error=unknown == "error")], None
    attributes, found = attributes_of(shape)
    group = resolved.group if shape.group_id is None else str(shape.group_id)
    return [replace(problem, shape=index) for problem in found], Drawn(
        index,
        shape,
        resolved.meaning,
        table.unlabeled if attributes.ignore else resolved.meaning,
        group,
        resolved.crowd or attributes.crowd,
        attributes,
    )


def _ordered(drawn: list[Drawn], size: tuple[int, int], order: str) -> list[Drawn]:
    """In painting order; ties stay in file order."""
    if order == "area":
        pixels = {d.index: int(np.count_nonzero(shape_mask(d.shape, size))) for d in drawn}
        return sorted(drawn, key=lambda d: -pixels[d.index])
    if order == "priority":
        return sorted(drawn, key=lambda d: d.painted.priority)
    return drawn


def _self_intersects(shape: Shape) -> bool:
    return (
        shape.type == "polygon"
        and 4 <= len(shape.points) <= MAX_CROSSING_POINTS
        and crosses_itself(shape.points)
    )


def _warning(reason: str, detail: str, index: int) -> Problem:
    return Problem(reason, detail, index)
