"""The road of a scene: its course, its lanes and lines, its side roads, as functions of the ground.

Along the road s = z (metres ahead of the camera), across it d (metres to the right of the middle of
the ego lane, measured square to the road). Every point of the ground has exactly one (s, d).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.structures import Float

KERB_M = 0.16  # width of the kerb stone
SIDE_M = 26.0  # length of a side road


@dataclass(frozen=True)
class Line:
    """A painted line along the road."""

    d: float
    width: float = 0.12
    on: float = 0.0  # length of a dash; 0: solid
    off: float = 0.0
    phase: float = 0.0
    color: tuple[int, int, int] = (225, 225, 220)


@dataclass(frozen=True)
class SideRoad:
    """A road that joins or crosses."""

    s: float
    half_width: float
    left: bool
    right: bool
    radius: float  # of the rounded kerbs
    crosswalk: bool
    stop_line: bool


@dataclass(frozen=True)
class Road:
    """Course and cross-section; all metres."""

    category: str  # um, umm, uu
    offset: float  # x of the middle of the ego lane beside the camera
    slope: float  # dx/dz there
    curvature: float  # d2x/dz2
    left: float  # d of the kerbs, left < 0 < right
    right: float
    lane: tuple[float, float]  # d of the ego lane's borders
    middle: float  # d of the line between the directions
    lines: tuple[Line, ...]
    sides: tuple[SideRoad, ...]
    strip: tuple[float, float]  # grass between kerb and sidewalk, left and right
    sidewalk: tuple[float, float]  # width of the sidewalks; 0: none
    parking: tuple[float, float]  # width of the parking lanes inside the kerbs

    def x(self, s: Float | float, d: Float | float) -> Float:
        """Scene x of the point (s, d)."""
        slope = self.slope + self.curvature * s
        middle = self.offset + self.slope * s + self.curvature * (s * s) / 2
        return middle + d * np.sqrt(1 + slope * slope)

    def heading(self, s: float) -> float:
        """KITTI's rotation_y of something that drives along the road at s."""
        return float(np.arctan2(1.0, self.slope + self.curvature * s)) * -1.0

    def across(self, x: NDArray[np.float32], s: NDArray[np.float32]) -> NDArray[np.float32]:
        """d of ground points: x (R, W) or (N,), s (R, 1) or (N,)."""
        slope = self.slope + self.curvature * s
        middle = self.offset + self.slope * s + self.curvature * s * s / 2
        result: NDArray[np.float32] = (x - middle) / np.sqrt(1 + slope * slope)
        return result

    def outside(self, d: NDArray[np.float32], s: NDArray[np.float32]) -> NDArray[np.float32]:
        """Signed distance to the asphalt, positive outside; d (R, W), s (R, 1), rows of equal s."""
        distance = np.maximum(d - np.float32(self.right), np.float32(self.left) - d)
        for side in self.sides:
            reach = side.half_width + side.radius + 8.0
            rows = np.flatnonzero(np.abs(s[:, 0] - side.s) < reach)
            if len(rows):
                part = slice(int(rows[0]), int(rows[-1]) + 1)
                distance[part] = _joined(distance[part], self._along(d[part], s[part], side), side)
        result: NDArray[np.float32] = distance
        return result

    def _along(
        self, d: NDArray[np.float32], s: NDArray[np.float32], side: SideRoad
    ) -> NDArray[np.float32]:
        """Signed distance to one side road."""
        beside = np.abs(s - side.s) - np.float32(side.half_width)
        low = self.left - SIDE_M if side.left else (self.left + self.right) / 2
        high = self.right + SIDE_M if side.right else (self.left + self.right) / 2
        result: NDArray[np.float32] = np.maximum(
            beside, np.maximum(np.float32(low) - d, d - np.float32(high))
        )
        return result

    def near_side(self, s: float, margin: float = 0.0) -> SideRoad | None:
        """The side road whose mouth covers s, if any."""
        for side in self.sides:
            if abs(s - side.s) < side.half_width + side.radius + margin:
                return side
        return None


def _joined(a: NDArray[np.float32], b: NDArray[np.float32], side: SideRoad) -> NDArray[np.float32]:
    """Signed distance to the union of two roads with rounded corners between them."""
    radius = np.float32(side.radius)
    corner = np.hypot(np.maximum(radius - a, 0), np.maximum(radius - b, 0))
    result: NDArray[np.float32] = np.maximum(radius, np.minimum(a, b)) - corner
    return result


def draw_road(category: str, rng: np.random.Generator) -> Road:
    """A road of KITTI's category, a different one for every state of `rng`."""
    lane = float(rng.uniform(3.0, 3.7))
    parking = tuple(2.2 * (rng.random() < 0.6) for _ in range(2))
    if category == "uu":
        own, other = 1, 1
        lane = float(rng.uniform(2.4, 3.0))
        parking = tuple(2.0 * (rng.random() < 0.5) for _ in range(2))
    elif category == "um":
        own, other = 1, 1
    else:
        own, other = int(rng.integers(2, 4)), int(rng.integers(1, 3))
    place = int(rng.integers(own))  # lanes to the left of the ego lane in its direction
    middle = -(place + 0.5) * lane
    left = middle - other * lane - parking[0]
    right = middle + own * lane + parking[1]
    bend = 0.0 if rng.random() < 0.4 else float(rng.normal(0, 0.0035))
    sidewalk = tuple(float(rng.uniform(1.5, 3.5)) * (rng.random() < 0.85) for _ in range(2))
    strip = tuple(
        float(rng.uniform(0.8, 2.0)) * (width > 0 and rng.random() < 0.3) for width in sidewalk
    )
    return Road(
        category,
        offset=float(rng.normal(0, 0.25)),
        slope=float(np.clip(rng.normal(0, 0.025), -0.06, 0.06) - 12 * bend * rng.random()),
        curvature=float(np.clip(bend, -0.008, 0.008)),
        left=left, right=right, lane=(-lane / 2, lane / 2), middle=middle,
        lines=_lines(category, lane, own, other, middle, parking, rng),
        sides=_sides(category, rng),
        strip=(strip[0], strip[1]), sidewalk=(sidewalk[0], sidewalk[1]),
        parking=(parking[0], parking[1]),
    )  # fmt: skip


def _lines(
    category: str,
    lane: float,
    own: int,
    other: int,
    middle: float,
    parking: tuple[float, ...],
    rng: np.random.Generator,
) -> tuple[Line, ...]:
    """Lines between lanes and along the edges; none on an unmarked road."""
    if category == "uu":
        return ()
    on, off = ((3.0, 6.0), (6.0, 12.0), (3.0, 3.0), (4.0, 8.0))[int(rng.integers(4))]
    phase = float(rng.uniform(0, on + off))
    white = (225, 225, 220)
    center = (226, 184, 60) if rng.random() < 0.2 else white
    lines = []
    kind = rng.random()
    if (category == "umm" and kind < 0.6) or (category == "um" and kind < 0.15):
        lines += [Line(middle - 0.12, color=center), Line(middle + 0.12, color=center)]
    elif kind < 0.45:
        lines.append(Line(middle, 0.14, color=center))
    else:
        lines.append(Line(middle, 0.14, on, off, phase, center))
    inner = [middle + k * lane for k in range(1, own)] + [
        middle - k * lane for k in range(1, other)
    ]
    lines += [Line(d, 0.13, on, off, phase, white) for d in inner]
    edges = rng.random() < 0.6
    for d, width, sign in (
        (middle + own * lane, parking[1], -1),
        (middle - other * lane, parking[0], 1),
    ):
        if width:
            dash = 0.0 if rng.random() < 0.5 else 1.0
            lines.append(Line(d, 0.12, dash, dash, 0.0, white))
        elif edges:
            lines.append(Line(d + sign * 0.25, 0.12, color=white))
    return tuple(lines)


def _sides(category: str, rng: np.random.Generator) -> tuple[SideRoad, ...]:
    """No, one or two side roads ahead."""
    sides = []
    s = float(rng.uniform(14, 45))
    for chance in (0.6, 0.4):
        if rng.random() > chance:
            break
        kind = int(rng.integers(3))
        sides.append(
            SideRoad(
                s,
                half_width=float(rng.uniform(2.6, 4.5)),
                left=kind != 1,
                right=kind != 0,
                radius=float(rng.uniform(2.0, 4.5)),
                crosswalk=bool(rng.random() < 0.5),
                stop_line=bool(category != "uu" and rng.random() < 0.6),
            )
        )
        s += float(rng.uniform(28, 45))
    return tuple(sides)
