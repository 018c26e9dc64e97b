"""Who is on the road: where cars, vans, trucks, pedestrians and cyclists stand, drive and walk."""

from __future__ import annotations

import numpy as np

from perception.synthesis.road import Road
from perception.synthesis.world import Actor

_FOOTPRINT = {  # (along, across) metres kept free
    "car": (4.7, 2.0),
    "van": (5.4, 2.2),
    "truck": (9.0, 2.7),
    "person": (0.7, 0.7),
    "cyclist": (1.9, 0.7),
}


class _Crowd:
    """Places actors without letting them overlap."""

    def __init__(self, road: Road, rng: np.random.Generator) -> None:
        self.road, self.rng = road, rng
        self.actors: list[Actor] = []
        self.taken: list[tuple[float, float, float, float]] = []

    def add(self, kind: str, s: float, d: float, turn: float, *, parked: bool = False) -> bool:
        """An actor at (s, d), turned by `turn` from the road's direction; False: no room."""
        along, across = _FOOTPRINT[kind]
        if abs(np.sin(turn)) > 0.7:
            along, across = across, along
        box = (s - along / 2, s + along / 2, d - across / 2, d + across / 2)
        for other in self.taken:
            if box[0] < other[1] and other[0] < box[1] and box[2] < other[3] and other[2] < box[3]:
                return False
        self.taken.append(box)
        angle = self.road.heading(s) + turn
        angle = float((angle + np.pi) % (2 * np.pi) - np.pi)
        x = float(self.road.x(s, d))
        self.actors.append(
            Actor(kind, x, float(s), angle, int(self.rng.integers(2**31)), parked=parked)
        )
        return True


def draw_actors(road: Road, rng: np.random.Generator) -> tuple[Actor, ...]:
    """All actors of a frame, none overlapping another or the camera's own car."""
    crowd = _Crowd(road, rng)
    crowd.taken.append((-3.0, 3.5, -1.1, 1.1))  # our own car
    _parked(crowd)
    _traffic(crowd)
    _crossing(crowd)
    _cyclists(crowd)
    _walkers(crowd)
    return tuple(crowd.actors)


def _kind(rng: np.random.Generator) -> str:
    """Of a vehicle that drives."""
    return ("car", "van", "truck")[int(rng.choice(3, p=[0.8, 0.12, 0.08]))]


def _parked(crowd: _Crowd) -> None:
    """Rows of parked cars, mostly pointing with the traffic of their side."""
    road, rng = crowd.road, crowd.rng
    for side, width in zip((-1, 1), road.parking, strict=True):
        if not width:
            continue
        fill = rng.uniform(0.3, 0.95)
        d = road.right - width / 2 if side > 0 else road.left + width / 2
        s = float(rng.uniform(3.5, 9.5))
        while s < 75:
            if rng.random() < fill and road.near_side(s, 3.0) is None:
                kind = "van" if rng.random() < 0.12 else "car"
                turn = (np.pi if side < 0 else 0.0) + (np.pi if rng.random() < 0.15 else 0.0)
                crowd.add(
                    kind,
                    s,
                    d + float(rng.normal(0, 0.08)),
                    turn + float(rng.normal(0, 0.025)),
                    parked=True,
                )
            s += float(rng.uniform(5.4, 7.2))


def _traffic(crowd: _Crowd) -> None:
    """Vehicles in the lanes, the ego lane included."""
    road, rng = crowd.road, crowd.rng
    lane = road.lane[1] - road.lane[0]
    own_right = road.right - road.parking[1]
    other_left = road.left + road.parking[0]
    lanes = [
        (road.middle + (k + 0.5) * lane, 0.0)
        for k in range(max(1, round((own_right - road.middle) / lane)))
    ]
    lanes += [
        (road.middle - (k + 0.5) * lane, np.pi)
        for k in range(max(1, round((road.middle - other_left) / lane)))
    ]
    for d, turn in lanes:
        dense = rng.uniform(10, 45)
        s = float(rng.uniform(6, 8 + dense))
        while s < 90:
            kind = _kind(rng)
            crowd.add(
                kind,
                s + (2.5 if kind == "truck" else 0),
                d + float(rng.normal(0, 0.15)),
                turn + float(rng.normal(0, 0.02)),
            )
            s += 7.0 + float(rng.exponential(dense))


def _crossing(crowd: _Crowd) -> None:
    """Cars that wait in or come out of a side road."""
    rng = crowd.rng
    for side in crowd.road.sides:
        if rng.random() < 0.6:
            right = side.right if not side.left else bool(rng.random() < 0.5) and side.right
            sign = 1 if right else -1
            edge = crowd.road.right if right else crowd.road.left
            d = edge + sign * float(rng.uniform(2.5, 9))
            crowd.add("car", side.s + sign * side.half_width / 2, d, -sign * np.pi / 2)


def _cyclists(crowd: _Crowd) -> None:
    road, rng = crowd.road, crowd.rng
    for _ in range(int(rng.poisson(1.3))):
        s = float(rng.uniform(6, 45))
        right = rng.random() < 0.65
        d = (road.right - road.parking[1] - 0.5) if right else (road.left + road.parking[0] + 0.5)
        crowd.add("cyclist", s, d + float(rng.normal(0, 0.15)), 0.0 if right else np.pi)


def _walkers(crowd: _Crowd) -> None:
    """Pedestrians on the sidewalks and on crosswalks."""
    road, rng = crowd.road, crowd.rng
    for side, width, strip in zip((-1, 1), road.sidewalk, road.strip, strict=True):
        if not width:
            continue
        edge = road.right if side > 0 else road.left
        for _ in range(int(rng.poisson(2.6))):
            s = float(rng.uniform(4, 45))
            d = edge + side * (strip + 0.3 + float(rng.uniform(0.15, 0.9)) * width)
            turn = float(rng.choice([0.0, np.pi])) + float(rng.normal(0, 0.25))
            if road.near_side(s) is None and crowd.add("person", s, d, turn) and rng.random() < 0.3:
                crowd.add("person", s + 0.15, d - side * 0.72, turn)
    for crossing in road.sides:
        if crossing.crosswalk:
            s = crossing.s - crossing.half_width - crossing.radius
            for _ in range(int(rng.poisson(1.2))):
                d = float(rng.uniform(road.left, road.right))
                crowd.add(
                    "person",
                    s + float(rng.uniform(-1, 1)),
                    d,
                    float(rng.choice([-0.5, 0.5])) * np.pi,
                )
