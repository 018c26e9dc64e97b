"""What stands beside the road: buildings, trees, poles, signs, lights, fences, walls, hedges."""

from __future__ import annotations

import numpy as np

from perception.synthesis.road import KERB_M, SIDE_M, Road
from perception.synthesis.world import Prop


class _Verge:
    """Places props along one side of the road."""

    def __init__(self, road: Road, side: int, rng: np.random.Generator) -> None:
        self.road, self.side, self.rng = road, side, rng
        index = (side + 1) // 2
        self.kerb = road.right if side > 0 else road.left
        self.inner = KERB_M + road.strip[index] + road.sidewalk[index]
        self.props: list[Prop] = []

    def point(self, s: float, beyond: float) -> tuple[float, float]:
        """(x, z) of the point `beyond` metres outside the kerb."""
        return float(self.road.x(s, self.kerb + self.side * beyond)), float(s)

    def add(
        self,
        kind: str,
        s: float,
        beyond: float,
        height: float,
        length: float = 0.0,
        *,
        behind: bool = False,
    ) -> None:
        self.props.append(
            Prop(
                kind,
                self.point(s, beyond),
                self.point(s + length, beyond),
                height,
                self.side,
                int(self.rng.integers(2**31)),
                behind=behind,
            )
        )

    def free(self, s: float, margin: float) -> bool:
        """No side road opens to this side near s."""
        side = self.road.near_side(s, margin)
        return side is None or not (side.right if self.side > 0 else side.left)


def draw_props(road: Road, style: str, rng: np.random.Generator) -> tuple[Prop, ...]:
    """Everything beside the road, up to about 110 m."""
    props: list[Prop] = []
    for side in (-1, 1):
        verge = _Verge(road, side, rng)
        _second_row(verge, style)
        _buildings(verge, style)
        _borders(verge, style)
        _trees(verge, style)
        _street_furniture(verge, style)
        props += verge.props
    return tuple(props)


def _buildings(verge: _Verge, style: str) -> None:
    rng = verge.rng
    setback = {"city": (0.0, 1.5), "suburb": (4.0, 9.0), "park": (16.0, 26.0)}[style]
    share = {"city": 0.95, "suburb": 0.8, "park": 0.3}[style]
    line = verge.inner + float(rng.uniform(*setback)) + (1.5 if verge.inner < 1 else 0.0)
    s = float(rng.uniform(-10, 0))
    while s < 110:
        length = float(rng.uniform(9, 22) if style == "city" else rng.uniform(8, 14))
        clear = all(verge.free(at, 3.0) for at in np.linspace(s, s + length, 6))
        if s + length > 3 and clear and rng.random() < share:
            if style == "city":
                height = 3.1 * int(rng.integers(2, 7)) + 1.0
                kind = "building"
            else:
                height = 3.0 * int(rng.integers(1, 4)) + 0.6
                kind = "house" if rng.random() < 0.8 else "building"
            verge.add(kind, s, line + float(rng.uniform(0, 0.6)), height, length)
        gap = 0.0 if style == "city" and rng.random() < 0.75 else float(rng.uniform(2, 8))
        s += (length if clear else 2.0) + gap


def _second_row(verge: _Verge, style: str) -> None:
    """What closes the view where a side road opens: houses and trees behind the first row."""
    rng = verge.rng
    for side in verge.road.sides:
        if not (side.right if verge.side > 0 else side.left):
            continue
        s = side.s - 22.0
        while s < side.s + 45:
            beyond = SIDE_M + float(rng.uniform(2, 6))
            length = float(rng.uniform(12, 20))
            if style == "park" or (style == "suburb" and rng.random() < 0.4):
                for _ in range(3):
                    at = s + float(rng.uniform(0, length))
                    verge.add("tree", at, beyond, float(rng.uniform(6, 10)), behind=True)
            else:
                storeys = int(rng.integers(3, 7)) if style == "city" else int(rng.integers(1, 4))
                kind = "building" if style == "city" else "house"
                verge.add(kind, s, beyond, 3.1 * storeys + 0.6, length, behind=True)
            s += length + (0.0 if style == "city" else float(rng.uniform(1, 5)))


def _borders(verge: _Verge, style: str) -> None:
    """Fences, walls and hedges between sidewalk and garden."""
    rng = verge.rng
    if style == "city":
        return
    s = float(rng.uniform(0, 5))
    while s < 80:
        kind = ("fence", "wall", "hedge", "")[int(rng.choice(4, p=[0.3, 0.2, 0.25, 0.25]))]
        run = int(rng.integers(2, 7))
        height = {"fence": 1.1, "wall": 1.4, "hedge": 1.3, "": 0.0}[kind] * rng.uniform(0.8, 1.3)
        for _ in range(run):
            if kind and verge.free(s, 2.5) and verge.free(s + 4, 2.5) and s > 2:
                verge.add(kind, s, verge.inner + 0.5, float(height), 4.0)
            s += 4.0
        s += float(rng.uniform(0, 3))


def _trees(verge: _Verge, style: str) -> None:
    rng = verge.rng
    rows = {"city": [(0.9, 16.0, 0.45)], "suburb": [(2.2, 13.0, 0.8), (7.0, 11.0, 0.7)],
            "park": [(1.6, 11.0, 0.9), (6.0, 8.0, 1.0), (13.0, 7.0, 1.0)]}[style]  # fmt: skip
    for beyond, spacing, chance in rows:
        if rng.random() > chance:
            continue
        place = beyond if style == "city" else verge.inner + beyond
        s = float(rng.uniform(4, 4 + spacing))
        while s < 105:
            if verge.free(s, 3.0):
                verge.add(
                    "tree",
                    s,
                    place + float(rng.normal(0, 0.15 * beyond)),
                    float(rng.uniform(4.5, 9.5)),
                )
            s += spacing * float(rng.uniform(0.7, 1.5))
    if style != "city":
        for _ in range(int(rng.poisson(4))):
            verge.add(
                "bush",
                float(rng.uniform(4, 60)),
                verge.inner + float(rng.uniform(1.5, 6)),
                float(rng.uniform(0.7, 1.8)),
            )


def _street_furniture(verge: _Verge, style: str) -> None:
    rng, road = verge.rng, verge.road
    spacing = float(rng.uniform(18, 30))
    s = float(rng.uniform(5, spacing))
    if style == "city" or rng.random() < 0.7:
        while s < 100:
            if verge.free(s, 1.0):
                verge.add("lamp", s, 0.55, float(rng.uniform(6.5, 8.5)))
            s += spacing
    for _ in range(int(rng.poisson(1.4))):
        s = float(rng.uniform(6, 45))
        if verge.free(s, 1.0):
            verge.add("sign", s, 0.6, float(rng.uniform(2.3, 3.0)))
    for side in road.sides:
        at = side.s - side.half_width - side.radius - 0.8
        if road.category != "uu" and rng.random() < 0.75:
            verge.add("light", at, 0.6, float(rng.uniform(3.2, 3.8)))
        if rng.random() < 0.4:
            verge.add("sign", at - 1.5, 0.7, 2.6)
