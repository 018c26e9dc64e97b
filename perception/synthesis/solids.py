"""Vehicles as solids: closed bodies of convex polygons with windows, wheels, lamps and plates.

Object frame: x forward, y down (0 on the ground), z to the right; metres. A solid is built in its
true size, so that its KITTI dimensions are simply its extent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from perception.structures import Float

# Paint of a face; a colour each in `palette`
PAINT, GLASS, TYRE, RIM, LAMP_REAR, LAMP_FRONT, PLATE, TRIM, CARGO, SHADE = range(10)
_CORNERS = 12  # faces are padded to this many corners by repeating the last


@dataclass(frozen=True)
class Part:
    """A convex body and what is painted on it: faces in drawing order."""

    vertices: Float  # (V, 3)
    faces: NDArray[np.intp]  # (F, 12) indices, padded with the last corner
    normals: Float  # (F, 3) outward unit normals
    paint: NDArray[np.intp]  # (F,)
    detail: NDArray[np.bool_]  # (F,) too small to be seen from afar
    anchor: Float  # (3,) middle, for sorting


@dataclass(frozen=True)
class Solid:
    """Parts that are sorted by distance when drawn."""

    parts: tuple[Part, ...]
    dimensions: tuple[float, float, float]  # height, width, length


class _Builder:
    """Collects the faces of one part; every face is turned outward from the part's middle."""

    def __init__(self, middle: tuple[float, float, float]) -> None:
        self.middle = np.array(middle)
        self.vertices: list[Float] = []
        self.faces: list[list[int]] = []
        self.normals: list[Float] = []
        self.paint: list[int] = []
        self.detail: list[bool] = []

    def face(self, corners: Float, paint: int, normal: Float | None = None) -> None:
        """A convex polygon (K, 3)."""
        corners = np.asarray(corners, np.float64)
        if normal is None:
            normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
            if np.linalg.norm(normal) < 1e-9:
                normal = np.cross(corners[2] - corners[0], corners[3] - corners[0])
            normal = normal / np.linalg.norm(normal)
            if normal @ (corners.mean(0) - self.middle) < 0:
                normal = -normal
        first = sum(len(v) for v in self.vertices)
        self.vertices.append(corners)
        indices = list(range(first, first + len(corners)))
        self.faces.append(indices + indices[-1:] * (_CORNERS - len(corners)))
        self.normals.append(normal)
        self.paint.append(paint)
        self.detail.append(paint in (TRIM, PLATE, RIM))

    def inset(
        self, corners: Float, paint: int, low: float, high: float, left: float, right: float
    ) -> None:
        """A window in a quad (bottom left, bottom right, top right, top left), as shares of it."""
        bl, br, tr, tl = np.asarray(corners, np.float64)

        def at(u: float, v: float) -> Float:
            result: Float = (bl * (1 - u) + br * u) * (1 - v) + (tl * (1 - u) + tr * u) * v
            return result

        quad = np.array([at(left, low), at(right, low), at(right, high), at(left, high)])
        normal = np.cross(br - bl, tl - bl)
        normal = normal / np.linalg.norm(normal)
        if normal @ (quad.mean(0) - self.middle) < 0:
            normal = -normal
        self.face(quad + normal * 0.004, paint, normal)

    def part(self) -> Part:
        """The finished part."""
        return Part(
            np.concatenate(self.vertices),
            np.array(self.faces),
            np.array(self.normals),
            np.array(self.paint),
            np.array(self.detail),
            self.middle,
        )


def _ring(
    front: float, rear: float, half: float, y_front: float, y_rear: float, cut: float
) -> Float:
    """(8, 3) outline seen from above with cut corners, from front left round by the right."""
    inner = half * (1 - cut)
    span = (front - rear) * cut * 0.35
    x = np.array([front, front, front - span, rear + span, rear, rear, rear + span, front - span])
    z = np.array([-inner, inner, half, half, inner, -inner, -half, -half])
    share = (front - x) / (front - rear)
    y = -(y_front + (y_rear - y_front) * share)
    return np.stack([x, y, z], axis=1)


def _loft(builder: _Builder, low: Float, high: Float, paint: int) -> list[Float]:
    """The eight sides between two rings; returned as quads (bottom left .. top left)."""
    quads = []
    for i in range(8):
        j = (i + 1) % 8
        quad = np.array([low[i], low[j], high[j], high[i]])
        builder.face(quad, paint)
        quads.append(quad)
    return quads


# sides of a ring by index: 0 front, 1 front right corner, 2 right, 3 rear right corner, 4 rear,
# 5 rear left corner, 6 left, 7 front left corner
_FRONT, _RIGHT, _REAR, _LEFT = 0, 2, 4, 6


def _wheels(builder: _Builder, axles: tuple[float, ...], half: float, radius: float) -> None:
    """Tyres and rims on both sides, and the treads that show below the bumpers."""
    angles = np.arange(12) * np.pi / 6
    for x in axles:
        for sign in (-1, 1):
            for r, z, paint in (
                (radius * 1.13, half + 0.002, SHADE),
                (radius, half + 0.006, TYRE),
                (radius * 0.62, half + 0.01, RIM),
                (radius * 0.2, half + 0.014, TRIM),
            ):
                disc = np.stack(
                    [x + r * np.cos(angles), -radius + r * np.sin(angles), np.full(12, sign * z)],
                    axis=1,
                )
                disc[:, 1] = np.minimum(disc[:, 1], 0.0)
                builder.face(disc, paint, np.array([0, 0, float(sign)]))


def _treads(
    axles: tuple[float, ...],
    half: float,
    radius: float,
    clear: float,
    length: float,
    tyre: float = 0.21,
) -> Part:
    """What is under the body: a dark slab and the tyres seen from behind and in front."""
    builder = _Builder((0, -0.2, 0))
    for sign in (-1.0, 1.0):
        x = sign * length * 0.42
        builder.face(
            np.array(
                [
                    [x, -clear - 0.12, -half * 0.9],
                    [x, -clear - 0.12, half * 0.9],
                    [x, -clear * 0.75, half * 0.86],
                    [x, -clear * 0.75, -half * 0.86],
                ]
            ),
            SHADE,
            np.array([sign, 0, 0]),
        )
    for x in axles:
        for sign in (-1.0, 1.0):
            for side in (-1.0, 1.0):
                inner, outer = side * (half - tyre), side * half
                face = x + sign * radius * 0.85
                builder.face(
                    np.array(
                        [
                            [face, 0, inner],
                            [face, 0, outer],
                            [face, -radius * 1.5, outer],
                            [face, -radius * 1.5, inner],
                        ]
                    ),
                    TYRE,
                    np.array([sign, 0, 0]),
                )
    return builder.part()


def _solid(parts: list[Part]) -> Solid:
    """Moves the footprint's middle to the origin and reads the dimensions off."""
    points = np.concatenate([p.vertices for p in parts])
    low, high = points.min(0), points.max(0)
    shift = np.array([(low[0] + high[0]) / 2, 0.0, (low[2] + high[2]) / 2])
    moved = tuple(replace(p, vertices=p.vertices - shift, anchor=p.anchor - shift) for p in parts)
    return Solid(moved, (float(-low[1]), float(high[2] - low[2]), float(high[0] - low[0])))


@dataclass(frozen=True)
class _CarShape:
    """Side profile of a car: shares of length from the front, heights in metres."""

    length: float
    width: float
    height: float
    belt: float  # height of the window sill
    hood: float  # height of the nose
    tail: float  # height of the tail
    glass: tuple[float, float]  # where windscreen and rear window start, share of length
    roof: tuple[float, float]  # where the roof starts and ends


_CARS = (
    _CarShape(4.45, 1.80, 1.44, 0.93, 0.74, 0.92, (0.27, 0.87), (0.44, 0.74)),  # saloon
    _CarShape(4.00, 1.75, 1.50, 0.95, 0.76, 0.95, (0.23, 0.99), (0.40, 0.88)),  # hatchback
    _CarShape(4.60, 1.80, 1.50, 0.95, 0.76, 0.95, (0.26, 0.99), (0.42, 0.93)),  # estate
    _CarShape(4.40, 1.86, 1.70, 1.06, 0.92, 1.06, (0.25, 0.99), (0.40, 0.90)),  # off-roader
    _CarShape(3.55, 1.65, 1.50, 0.93, 0.74, 0.92, (0.18, 0.99), (0.38, 0.90)),  # city car
    _CarShape(4.30, 1.82, 1.36, 0.90, 0.70, 0.88, (0.32, 0.93), (0.50, 0.72)),  # coupe
)
_VANS = (
    _CarShape(4.90, 1.92, 1.95, 1.10, 0.95, 1.10, (0.12, 0.995), (0.27, 0.97)),
    _CarShape(5.20, 2.00, 2.30, 1.15, 1.00, 1.15, (0.11, 0.995), (0.24, 0.98)),
    _CarShape(4.50, 1.83, 1.84, 1.05, 0.92, 1.05, (0.16, 0.995), (0.30, 0.96)),
)


@lru_cache(maxsize=64)
def car(variant: int) -> Solid:
    """One of the passenger cars."""
    return _passenger(_CARS[variant % len(_CARS)], windows=True)


@lru_cache(maxsize=16)
def van(variant: int) -> Solid:
    """One of the vans; some have no windows behind the doors."""
    return _passenger(_VANS[variant % len(_VANS)], windows=variant % 2 == 0)


CAR_VARIANTS, VAN_VARIANTS, TRUCK_VARIANTS = len(_CARS), 2 * len(_VANS), 4


def _passenger(shape: _CarShape, *, windows: bool) -> Solid:
    """Lower body, cabin with glass, wheels, lamps, plates, mirrors."""
    length, half = shape.length, shape.width / 2
    nose, clear = length / 2, 0.22
    radius = 0.31 if shape.height < 1.6 else 0.34
    axles = (nose - 0.19 * length, -nose + 0.2 * length)
    middle = (0.0, -0.6, 0.0)
    body = _Builder(middle)
    sill = _ring(nose - 0.05, -nose + 0.05, half * 0.93, clear, clear, 0.2)
    bump = _ring(nose, -nose, half, 0.5, 0.52, 0.2)
    shoulder = _ring(nose - 0.06, -nose + 0.03, half, shape.hood, shape.tail * 0.86, 0.2)
    belt = _ring(nose - 0.30, -nose + 0.08, half * 0.93, shape.hood + 0.06, shape.tail, 0.25)
    cowl = nose - shape.glass[0] * length
    belt[2, 1] = belt[7, 1] = -(shape.hood + shape.belt) / 2
    lower = _loft(body, sill, bump, PAINT)
    upper = _loft(body, bump, shoulder, PAINT)
    _loft(body, shoulder, belt, PAINT)
    hood = np.array(
        [
            belt[0],
            belt[1],
            belt[2],
            [cowl, -shape.belt, half * 0.9],
            [cowl, -shape.belt, -half * 0.9],
            belt[7],
        ]
    )
    deck = np.array([hood[4], hood[3], belt[3], belt[4], belt[5], belt[6]])
    for top in (hood, deck):
        body.face(top, PAINT, np.array([0.0, -1.0, 0.0]))
    body.face(np.array([belt[2], hood[3], belt[3]]), PAINT)  # from the sides up to the deck
    body.face(np.array([belt[7], hood[4], belt[6]]), PAINT)
    _lamps(body, lower, upper)
    _wheels(body, axles, half, radius)
    for side in (_RIGHT, _LEFT):
        for u in (0.36, 0.62):
            body.inset(upper[side], TRIM, -0.9, 0.95, u, u + 0.006)
        body.inset(lower[side], TRIM, 0.0, 0.25, 0.0, 1.0)
    cabin = _cabin(shape, half, windows=windows)
    below = _treads(axles, half * 0.97, radius, clear, length)
    return _solid([_merged(below, _merged(body.part(), cabin))])


def _lamps(body: _Builder, lower: list[Float], upper: list[Float]) -> None:
    """Head lamps, grille, rear lamps, plates, bumpers."""
    front, rear = upper[_FRONT], upper[_REAR]
    body.inset(front, TRIM, 0.38, 0.86, 0.27, 0.73)
    body.inset(lower[_FRONT], TRIM, 0.2, 0.62, 0.12, 0.88)
    body.inset(front, RIM, 0.58, 0.66, 0.29, 0.71)
    body.inset(lower[_REAR], TRIM, 0.0, 0.45, 0.05, 0.95)
    for u0, u1 in ((-0.02, 0.2), (0.8, 1.02)):
        body.inset(front, TRIM, 0.3, 1.0, u0 - 0.02, u1 + 0.02)
        body.inset(front, LAMP_FRONT, 0.42, 0.92, u0, u1)
        body.inset(rear, LAMP_REAR, 0.35, 0.98, u0, u1)
    for corner, lamp in ((1, LAMP_FRONT), (7, LAMP_FRONT), (3, LAMP_REAR), (5, LAMP_REAR)):
        near = corner in (1, 5)
        body.inset(upper[corner], lamp, 0.4, 0.96, *((0.0, 0.7) if near else (0.3, 1.0)))
    body.inset(lower[_FRONT], PLATE, 0.65, 1.0, 0.36, 0.64)
    body.inset(rear, PLATE, 0.12, 0.48, 0.34, 0.66)


def _cabin(shape: _CarShape, half: float, *, windows: bool) -> Part:
    """Pillars, roof and glass above the sill."""
    nose, length = shape.length / 2, shape.length
    tall = shape.height > 1.8
    builder = _Builder((nose - 0.6 * length, -(shape.belt + shape.height) / 2, 0.0))
    low = _ring(
        nose - shape.glass[0] * length,
        nose - shape.glass[1] * length + 0.02,
        half * 0.92,
        shape.belt,
        shape.tail,
        0.16,
    )
    top_half = half * (0.86 if tall else 0.72)
    high = _ring(
        nose - shape.roof[0] * length,
        nose - shape.roof[1] * length,
        top_half,
        shape.height - 0.03,
        shape.height - 0.05,
        0.16,
    )
    cap = _ring(
        nose - shape.roof[0] * length - 0.2,
        nose - shape.roof[1] * length + 0.12,
        top_half * 0.85,
        shape.height,
        shape.height - 0.01,
        0.2,
    )
    sides = _loft(builder, low, high, PAINT)
    _loft(builder, high, cap, PAINT)
    builder.face(cap, PAINT, np.array([0.0, -1.0, 0.0]))
    builder.inset(sides[_FRONT], GLASS, 0.06, 0.94, -0.06, 1.06)
    builder.inset(sides[_REAR], GLASS, 0.12 if not tall else 0.35, 0.88, 0.02, 0.98)
    spans = ((0.03, 0.46), (0.51, 0.95)) if windows else ((0.05, 0.4),)
    for u0, u1 in spans:
        builder.inset(sides[_RIGHT], GLASS, 0.08, 0.86, u0, u1)
        builder.inset(sides[_LEFT], GLASS, 0.08, 0.86, 1 - u1, 1 - u0)
    return builder.part()


def _merged(first: Part, then: Part) -> Part:
    """One part whose second half is always drawn after the first (it stands on top of it)."""
    count = len(first.vertices)
    return Part(
        np.concatenate([first.vertices, then.vertices]),
        np.concatenate([first.faces, then.faces + count]),
        np.concatenate([first.normals, then.normals]),
        np.concatenate([first.paint, then.paint]),
        np.concatenate([first.detail, then.detail]),
        first.anchor,
    )


@lru_cache(maxsize=8)
def truck(variant: int) -> Solid:
    """A lorry: cab and cargo box (or tank-like low bed) on three axles."""
    length, half, height = ((7.5, 1.2, 3.3), (8.6, 1.25, 3.6), (6.4, 1.1, 2.9),
                            (7.8, 1.22, 3.0))[variant % TRUCK_VARIANTS]  # fmt: skip
    nose = length / 2
    cab_rear = nose - 2.0
    cab_height = min(2.75, height - 0.1)
    cab = _Builder((nose - 1.0, -1.5, 0.0))
    base = _ring(nose, cab_rear, half * 0.98, 0.45, 0.45, 0.08)
    waist = _ring(nose, cab_rear, half * 0.98, 1.45, 1.45, 0.08)
    roof = _ring(nose - 0.25, cab_rear, half * 0.9, cab_height - 0.05, cab_height, 0.1)
    lower = _loft(cab, base, waist, PAINT)
    glass = _loft(cab, waist, roof, PAINT)
    cab.face(roof, PAINT, np.array([0.0, -1.0, 0.0]))
    cab.inset(glass[_FRONT], GLASS, 0.08, 0.8, -0.02, 1.02)
    cab.inset(glass[_RIGHT], GLASS, 0.1, 0.7, 0.08, 0.6)
    cab.inset(glass[_LEFT], GLASS, 0.1, 0.7, 0.4, 0.92)
    cab.inset(lower[_FRONT], TRIM, 0.35, 0.95, 0.2, 0.8)
    cab.inset(lower[_FRONT], TRIM, 0.0, 0.2, 0.0, 1.0)
    for u0, u1 in ((0.0, 0.16), (0.84, 1.0)):
        cab.inset(lower[_FRONT], LAMP_FRONT, 0.22, 0.42, u0, u1)
    cab.inset(lower[_FRONT], PLATE, 0.03, 0.15, 0.38, 0.62)
    _wheels(cab, (nose - 1.1,), half, 0.48)
    box = _Builder((-1.1, -2.0, 0.0))
    box_front = cab_rear - 0.15
    floor = _ring(box_front, -nose, half, 0.95, 0.95, 0.01)
    top = _ring(box_front, -nose, half, height, height, 0.01)
    walls = _loft(box, floor, top, CARGO)
    box.face(top, CARGO, np.array([0.0, -1.0, 0.0]))
    box.inset(walls[_REAR], TRIM, 0.02, 0.98, 0.495, 0.505)
    box.inset(walls[_REAR], TRIM, 0.0, 0.04, 0.0, 1.0)
    for side in (_RIGHT, _LEFT):
        box.inset(walls[side], PAINT, 0.35, 0.6, 0.0, 1.0)
    chassis = _Builder((-1.1, -0.7, 0.0))
    rails = _ring(box_front, -nose + 0.1, half * 0.9, 0.55, 0.55, 0.02)
    bed = _ring(box_front, -nose, half * 0.98, 0.95, 0.95, 0.02)
    sides = _loft(chassis, rails, bed, SHADE)
    for u0, u1 in ((0.02, 0.16), (0.84, 0.98)):
        chassis.inset(sides[_REAR], LAMP_REAR, 0.2, 0.75, u0, u1)
    chassis.inset(sides[_REAR], PLATE, 0.2, 0.65, 0.38, 0.62)
    _wheels(chassis, (-nose + 1.2, -nose + 2.3), half, 0.48)
    parts = [
        _treads((nose - 1.1, -nose + 1.2), half * 0.97, 0.48, 0.45, length * 0.9, 0.5),
        cab.part(),
        _merged(chassis.part(), box.part()),
    ]
    return _solid(parts)


_PAINTS = (
    (228, 228, 226), (236, 236, 234), (196, 199, 203), (160, 164, 169), (112, 116, 122),
    (62, 64, 68), (30, 31, 34), (24, 25, 28), (148, 22, 26), (176, 34, 30), (28, 52, 104),
    (40, 78, 140), (22, 66, 58), (120, 104, 82), (196, 178, 140), (206, 150, 34), (88, 30, 40),
    (98, 138, 170),
)  # fmt: skip
_CARGO = ((232, 232, 228), (220, 222, 226), (186, 60, 44), (52, 92, 150), (206, 188, 60))


def palette(seed: int) -> Float:
    """(10, 3) RGB of the paints of one vehicle."""
    colors = np.zeros((10, 3))
    rng = Random(seed)
    colors[PAINT] = [c + rng.gauss(0, 5) for c in rng.choice(_PAINTS)]
    colors[GLASS] = (38, 46, 54)
    colors[TYRE] = (26, 26, 28)
    colors[RIM] = (150, 152, 156) if rng.random() < 0.8 else (60, 62, 66)
    colors[LAMP_REAR] = (172, 24, 22)
    colors[LAMP_FRONT] = (226, 228, 224)
    colors[PLATE] = (224, 222, 206)
    colors[TRIM] = (36, 37, 40)
    colors[CARGO] = rng.choice(_CARGO)
    colors[SHADE] = (18, 18, 20)
    return np.clip(colors, 0, 255)
