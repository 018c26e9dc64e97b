"""Occlusion, truncation, ignore and crowd of a drawn shape, from its flags and description."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from perception.annotation.classes import normalise
from perception.formats.problems import Problem
from perception.structures import Shape

# A bare "truncated" must not remove the object from training: 0.50 is the most that the KITTI
# benchmark still evaluates, as "hard".
FLAG_TRUNCATION = 0.50
IGNORE_FLAGS = ("ignore", "dontcare", "don't care", "difficult")
CROWD_FLAGS = ("crowd", "group", "iscrowd")
# in order of precedence
OCCLUSION_FLAGS = {
    2: ("largely occluded", "heavily occluded", "occluded 2"),
    1: ("occluded", "partly occluded", "occluded 1"),
    3: ("occlusion unknown", "occluded 3"),
}
TRUNCATION_FLAGS = ("truncated",)

_TOKEN = re.compile(r"(?:^|[\s,;])(occluded|truncated)=([^\s,;]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Attributes:
    """What flags and description say about one shape."""

    ignore: bool = False
    crowd: bool = False
    occlusion: int = 0  # 0 visible, 1 partly, 2 largely, 3 unknown; -1: unknown in a KITTI line
    truncation: float | None = None  # as written, 0..1, -1: unknown; None: computed
    truncated: bool = False  # flagged: at least `FLAG_TRUNCATION`


def attributes_of(shape: Shape) -> tuple[Attributes, list[Problem]]:
    """The attributes of a shape; tokens `occluded=`, `truncated=` win over flags."""
    flags = {normalise(name) for name, value in shape.flags.items() if value is True}
    occlusion = next(
        (level for level, names in OCCLUSION_FLAGS.items() if not flags.isdisjoint(names)), 0
    )
    truncation = None
    problems = []
    for match in _TOKEN.finditer(shape.description):
        name, text = match[1].lower(), match[2]
        value = _number(text)
        if name == "occluded" and value in (-1, 0, 1, 2, 3):
            occlusion = int(value)
        elif name == "truncated" and (0 <= value <= 1 or value == -1):
            truncation = value
        else:
            expected = "0, 1, 2 or 3" if name == "occluded" else "0 to 1"
            problems.append(
                Problem(
                    "bad_attribute", f"found {name}={text[:40]}, expected {expected}; it is ignored"
                )
            )
    return Attributes(
        ignore=not flags.isdisjoint(IGNORE_FLAGS),
        crowd=not flags.isdisjoint(CROWD_FLAGS),
        occlusion=occlusion,
        truncation=truncation,
        truncated=not flags.isdisjoint(TRUNCATION_FLAGS),
    ), problems


def describe(truncation: float | None, occlusion: int | None) -> str:
    """The description that `attributes_of` reads back; None and NaN are left out, -1 is unknown."""
    words = []
    if truncation is not None and (0 <= truncation <= 1 or truncation == -1):
        words.append(f"truncated={truncation:.12g}")
    if occlusion is not None and occlusion in (-1, 0, 1, 2, 3):
        words.append(f"occluded={occlusion}")
    return " ".join(words)


def _number(text: str) -> float:
    """The value of a plain decimal number, else NaN."""
    return float(text) if re.fullmatch(r"-1|[0-9]*\.?[0-9]+|[0-9]+\.", text) else math.nan
