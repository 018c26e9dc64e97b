"""Pedestrians and cyclists: bodies of tapered limbs, a bicycle of tubes and two wheels.

Object frame as in `solids`: x forward, y down (0 on the ground), z to the right; metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.structures import Float


@dataclass(frozen=True)
class Limb:
    """A tapered capsule between two balls."""

    start: tuple[float, float, float]
    start_radius: float
    end: tuple[float, float, float]
    end_radius: float
    color: tuple[float, float, float]


@dataclass(frozen=True)
class Tube:
    """A thin line of a bicycle."""

    points: Float  # (K, 3)
    radius: float
    color: tuple[float, float, float]
    closed: bool = False


@dataclass(frozen=True)
class Figure:
    """A person, perhaps on a bicycle."""

    tubes: tuple[Tube, ...]
    ends: Float  # (2 L, 3) both ends of every limb
    radii: Float  # (L, 2)
    colors: Float  # (L, 3)
    dimensions: tuple[float, float, float]  # height, width, length
    center: tuple[float, float]  # middle of the extent, x and z


_SKIN = ((224, 184, 154), (198, 150, 118), (142, 98, 70), (96, 64, 46), (236, 200, 176))
_HAIR = ((40, 30, 24), (70, 48, 30), (120, 88, 50), (24, 22, 22), (150, 146, 140))
_TOPS = ((176, 40, 44), (40, 66, 122), (54, 58, 64), (218, 216, 208), (64, 110, 74),
         (206, 160, 52), (120, 60, 110), (28, 30, 34), (90, 140, 180), (200, 100, 60))  # fmt: skip
_LEGS = ((36, 44, 70), (30, 30, 34), (92, 84, 72), (60, 76, 110), (130, 122, 104))


def _pick(
    rng: np.random.Generator, table: tuple[tuple[int, int, int], ...]
) -> tuple[float, float, float]:
    r, g, b = table[int(rng.integers(len(table)))]
    return float(r), float(g), float(b)


def pedestrian(seed: int) -> Figure:
    """Somebody who walks or stands."""
    rng = np.random.default_rng([seed, 7])
    size = float(rng.uniform(0.9, 1.08)) * (0.72 if rng.random() < 0.08 else 1.0)
    swing = float(rng.choice([0.0, 1.0], p=[0.25, 0.75]) * rng.uniform(0.25, 0.55))
    swing *= float(rng.choice([-1.0, 1.0]))
    skin, hair = _pick(rng, _SKIN), _pick(rng, _HAIR)
    top, legs, shoe = _pick(rng, _TOPS), _pick(rng, _LEGS), (34.0, 30.0, 30.0)
    coat = rng.random() < 0.25
    limbs: list[Limb] = []
    for sign in (-1.0, 1.0):  # legs
        step = sign * swing
        hip, knee = (0.0, -0.90, sign * 0.09), (0.42 * step + 0.04, -0.48, sign * 0.10)
        foot = (0.80 * step, -0.07, sign * 0.10)
        limbs += [
            Limb(hip, 0.105, knee, 0.075, legs),
            Limb(knee, 0.07, foot, 0.05, legs),
            Limb(foot, 0.055, (foot[0] + 0.13, -0.045, foot[2]), 0.045, shoe),
        ]
    for sign in (-1.0, 1.0):  # arms
        back = -sign * swing * 0.8
        elbow = (0.24 * back, -1.12, sign * 0.25)
        hand = (0.45 * back + 0.08, -0.86, sign * 0.25)
        limbs += [
            Limb((0, -1.40, sign * 0.19), 0.065, elbow, 0.05, top),
            Limb(elbow, 0.05, hand, 0.04, top),
            Limb(hand, 0.045, hand, 0.045, skin),
        ]
    hem = -0.62 if coat else -0.92
    limbs += [
        Limb((0, -1.36, 0), 0.175, (0, hem, 0), 0.165 if coat else 0.145, top),
        Limb((0, -1.46, 0), 0.06, (0.01, -1.55, 0), 0.06, skin),
        Limb((0.02, -1.60, 0), 0.095, (0.02, -1.64, 0), 0.1, skin),
        Limb((-0.02, -1.645, 0), 0.105, (-0.015, -1.67, 0), 0.1, hair),
    ]
    if rng.random() < 0.3:
        limbs.append(Limb((-0.16, -1.36, 0), 0.12, (-0.17, -1.08, 0), 0.13, _pick(rng, _TOPS)))
    return _figure(limbs, [], size)


def cyclist(seed: int) -> Figure:
    """Somebody who rides a bicycle."""
    rng = np.random.default_rng([seed, 8])
    size = float(rng.uniform(0.94, 1.06))
    skin, top, legs = _pick(rng, _SKIN), _pick(rng, _TOPS), _pick(rng, _LEGS)
    head = _pick(rng, _TOPS if rng.random() < 0.6 else _HAIR)
    frame = _pick(rng, _TOPS)
    turn = float(rng.uniform(0, 2 * np.pi))
    limbs: list[Limb] = []
    shoe = (34.0, 30.0, 30.0)
    for sign in (-1.0, 1.0):
        angle = turn + (np.pi if sign > 0 else 0.0)
        pedal = (
            0.02 + 0.17 * float(np.cos(angle)),
            -0.28 + 0.17 * float(np.sin(angle)),
            sign * 0.12,
        )
        hip = (-0.22, -0.96, sign * 0.09)
        knee = ((hip[0] + pedal[0]) / 2 + 0.22, (hip[1] + pedal[1]) / 2 - 0.06, sign * 0.12)
        limbs += [
            Limb(hip, 0.105, knee, 0.075, legs),
            Limb(knee, 0.07, pedal, 0.05, legs),
            Limb(pedal, 0.05, (pedal[0] + 0.12, pedal[1] + 0.01, pedal[2]), 0.045, shoe),
            Limb((0.10, -1.42, sign * 0.17), 0.06, (0.28, -1.2, sign * 0.22), 0.05, top),
            Limb((0.28, -1.2, sign * 0.22), 0.05, (0.44, -1.06, sign * 0.22), 0.04, skin),
        ]
    limbs += [
        Limb((0.08, -1.40, 0), 0.16, (-0.20, -0.98, 0), 0.145, top),
        Limb((0.12, -1.5, 0), 0.06, (0.16, -1.56, 0), 0.06, skin),
        Limb((0.18, -1.62, 0), 0.095, (0.18, -1.65, 0), 0.1, skin),
        Limb((0.15, -1.675, 0), 0.11, (0.15, -1.70, 0), 0.1, head),
    ]
    dark = (26.0, 26.0, 28.0)
    angles = np.arange(18) * (2 * np.pi / 18)
    tubes = []
    for x in (-0.52, 0.52):
        ring = np.stack(
            [x + 0.33 * np.cos(angles), -0.35 + 0.33 * np.sin(angles), np.zeros(18)], axis=1
        )
        tubes.append(Tube(ring, 0.022, dark, closed=True))
    for line in (
        [(-0.52, -0.35), (0.0, -0.29), (0.36, -0.80), (-0.16, -0.78), (0.0, -0.29)],
        [(-0.52, -0.35), (-0.16, -0.78), (-0.2, -0.92)],
        [(0.52, -0.35), (0.36, -0.92)],
    ):
        tubes.append(Tube(np.array([(x, y, 0.0) for x, y in line]), 0.02, frame))
    bar = np.array([(0.42, -1.02, -0.24), (0.38, -1.0, 0.0), (0.42, -1.02, 0.24)])
    tubes.append(Tube(bar, 0.016, dark))
    tubes.append(Tube(np.array([(-0.32, -0.93, 0.0), (-0.08, -0.93, 0.0)]), 0.035, dark))
    return _figure(limbs, tubes, size)


def _figure(limbs: list[Limb], tubes: list[Tube], size: float) -> Figure:
    """Scales everything and measures the extent."""
    scaled = tuple(
        Limb(
            _times(b.start, size),
            b.start_radius * size,
            _times(b.end, size),
            b.end_radius * size,
            b.color,
        )
        for b in limbs
    )
    lines = tuple(Tube(t.points * size, t.radius * size, t.color, t.closed) for t in tubes)
    ends = np.array([[b.start, b.end] for b in scaled]).reshape(-1, 3)
    radii = np.array([[b.start_radius, b.end_radius] for b in scaled])
    points = np.concatenate([ends, *(t.points for t in lines)])
    around = np.concatenate([radii.ravel(), *(np.full(len(t.points), t.radius) for t in lines)])
    low = (points - around[:, None]).min(0)
    high = (points + around[:, None]).max(0)
    return Figure(
        lines,
        ends,
        radii,
        np.array([b.color for b in scaled]),
        (float(-low[1]), float(high[2] - low[2]), float(high[0] - low[0])),
        (float(low[0] + high[0]) / 2, float(low[2] + high[2]) / 2),
    )


def _times(point: tuple[float, float, float], size: float) -> tuple[float, float, float]:
    return point[0] * size, point[1] * size, point[2] * size
