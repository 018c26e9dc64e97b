"""The look of the ground: asphalt, kerbs, slabs, grass, painted lines, light and haze on them.

Bytes all the way: a table of colours, one gain per pixel, one veil per row.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.structures import Float
from perception.synthesis.canvas import wide
from perception.synthesis.road import Line, Road, SideRoad
from perception.synthesis.shading import Shader
from perception.synthesis.textures import tile
from perception.synthesis.world import Scene

ASPHALT, KERB, GRASS, WALK, BEYOND = range(5)  # materials


@dataclass(frozen=True)
class Rows:
    """Depth and scale of the R image rows that show ground."""

    depth: Float  # (R,) metres
    step: Float  # (R,) metres of depth that a row covers
    middle: Float  # (R,) scene x of d = 0
    stretch: Float  # (R,) dx/dd
    scale: Float  # (R,) pixels per metre of x
    center: float  # column of x = 0
    shift: float  # the camera stands this far left of it, metres

    def column(self, d: float) -> Float:
        """(R,) image column of d."""
        return self.center + self.scale * (self.middle + d * self.stretch + self.shift)

    def within(self, s0: float, s1: float) -> Float:
        """(R,) share of every row's depth that lies in s0..s1."""
        low, high = self.depth - self.step / 2, self.depth + self.step / 2
        result: Float = np.clip(np.minimum(high, s1) - np.maximum(low, s0), 0, None) / self.step
        return result

    def dashed(self, on: float, off: float, phase: float) -> Float:
        """(R,) share of every row's depth that lies on a dash."""

        def painted(s: Float) -> Float:
            whole, rest = np.divmod(s + phase, on + off)
            result: Float = whole * on + np.minimum(rest, on)
            return result

        return (painted(self.depth + self.step / 2) - painted(self.depth - self.step / 2)) / (
            self.step
        )


def paint_surface(
    image: NDArray[np.uint8],
    scene: Scene,
    shader: Shader,
    rows: Rows,
    material: NDArray[np.uint8],
    d: NDArray[np.float32],
    outside: NDArray[np.float32],
    sun: NDArray[np.uint8],
) -> None:
    """Fills the ground rows `image` (R, W, 3) of a picture.

    material, d, outside: (R, W) as `ground` finds them; sun: (R, W) share of the light, 255 all.
    """
    lit = shader.tinted(_palette(scene) * scene.light.brightness)
    table = np.zeros((1, 256, 3), np.uint8)
    table[0, : len(lit)] = np.clip(lit, 0, 255)
    colored = cv2.LUT(cv2.merge([material] * 3), table).astype(np.uint8, copy=False)
    _markings(colored, scene, rows, material)
    gain = _texture(scene, rows, material, d, outside)
    gain *= sun
    bytes_ = cv2.convertScaleAbs(gain, alpha=128 / 255)
    cv2.multiply(colored, cv2.cvtColor(bytes_, cv2.COLOR_GRAY2RGB), dst=colored, scale=1 / 128)
    veil = shader.haze(rows.depth)[:, None]
    clear = np.rint(255 * (1 - veil)).repeat(3, 1).astype(np.uint8)
    haze = np.rint(veil * np.array(scene.light.horizon)).astype(np.uint8)
    width = image.shape[1]
    cv2.multiply(colored, wide(clear[:, None], width), dst=colored, scale=1 / 255)
    cv2.add(colored, wide(haze[:, None], width), dst=image)


def _palette(scene: Scene) -> Float:
    """(5, 3) RGB of the materials."""
    rng = np.random.default_rng([scene.seed, 1])
    asphalt = rng.uniform(78, 128) + rng.normal(0, 2, 3) + np.array([1.0, 0.5, -1.0])
    kerb = rng.uniform(150, 190) + np.zeros(3)
    warm = np.array([[4, 0, -6], [14, -2, -16], [0, 0, 0]])[int(rng.integers(3))]
    walk = rng.uniform(132, 176) + warm
    grass = np.array([92, 122, 52]) + rng.normal(0, 8, 3)
    beyond = walk * 0.94 if scene.style == "city" else grass * rng.uniform(0.85, 1.05)
    return np.array([asphalt, kerb, grass, walk, beyond])


def _texture(
    scene: Scene,
    rows: Rows,
    material: NDArray[np.uint8],
    d: NDArray[np.float32],
    outside: NDArray[np.float32],
) -> NDArray[np.float32]:
    """(R, W) gain around 1: grain, patches, joints of slabs, dirt along the kerb."""
    land = 0.06 if scene.style == "city" else 0.15
    strength = np.zeros((1, 256), np.float32)
    strength[0, :5] = np.array([0.055, 0.05, 0.15, 0.045, land]) / 32
    depth = rows.depth.astype(np.float32)[:, None]
    z = np.empty_like(d)
    z[:] = depth * np.float32(9)
    coarse = cv2.remap(
        tile(512, 6, 1), d * np.float32(9), z, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    gain = np.subtract(coarse, np.float32(128), dtype=np.float32)
    zoom = float(rows.scale[0] * rows.depth[0]) / 721.5  # small pictures show less of the grain
    near = int(np.searchsorted(-rows.depth, -26.0 * zoom))
    if near < len(d):
        # the nearest pixels of a tile that repeats: a third of the time of a remap that wraps
        place = np.rint(d[near:] * np.float32(90)).astype(np.int32) & 511
        place += (np.rint(depth[near:] * np.float32(90)).astype(np.int32) & 511) * 512
        rough = np.subtract(tile(512, 2, 2).take(place), np.float32(128), dtype=np.float32)
        rough *= np.clip(9 * zoom / depth[near:] - 0.34, 0, 1)
        gain[near:] += rough
    gain *= cv2.LUT(material, strength)
    gain += 1
    joints = 0.22 * np.clip(14 * zoom / depth - 0.4, 0, 1) * rows.dashed(0.03, 0.77, 0.0)[:, None]
    one = np.float32(1)
    gain *= np.where(material == WALK, one - joints.astype(np.float32), one)
    gain *= np.where((outside < 0) & (outside > -0.35), np.float32(0.9), one)
    return gain


# ------------------------------------------------------------------------------ markings


def _markings(
    image: NDArray[np.uint8], scene: Scene, rows: Rows, material: NDArray[np.uint8]
) -> None:
    """Lines, stop lines and crosswalks on the asphalt."""
    road, light = scene.road, scene.light
    bright = light.brightness * np.array(light.tint)
    free = np.ones(len(rows.depth))
    for side in road.sides:
        span = side.half_width + side.radius
        reach = span + 4.6 if side.crosswalk else span
        free *= 1 - rows.within(side.s - reach, side.s + span)
    for line in road.lines:
        share = free * rows.dashed(line.on, line.off, line.phase) if line.on else free
        _stripe(image, rows, line, share, material, bright)
    if road.category != "uu":
        for side in road.sides:
            _mouth(image, road, rows, side, material, bright)


def _mouth(
    image: NDArray[np.uint8],
    road: Road,
    rows: Rows,
    side: SideRoad,
    material: NDArray[np.uint8],
    bright: Float,
) -> None:
    """Crosswalk and stop line before one side road."""
    at = side.s - side.half_width - side.radius
    own_right = road.right - road.parking[1]
    if side.crosswalk:
        share = rows.within(at - 3.0, at)
        for d in np.arange(road.left + 0.5, road.right - 0.3, 1.0):
            _stripe(image, rows, Line(float(d), 0.5), share, material, bright)
        at -= 3.8
    if side.stop_line:
        line = Line((road.middle + own_right) / 2, own_right - road.middle - 0.3)
        _stripe(image, rows, line, rows.within(at - 0.4, at), material, bright)


def _stripe(
    image: NDArray[np.uint8],
    rows: Rows,
    line: Line,
    share: Float,
    material: NDArray[np.uint8],
    bright: Float,
) -> None:
    """Blends a stripe along the road into the asphalt, by the share of each pixel it covers."""
    color = (np.array(line.color) * bright).astype(np.float32)
    for near in (False, True):  # two bands, as the stripe is much wider near by
        chosen = np.flatnonzero((share > 0.004) & ((rows.depth < 14) == near))
        if not len(chosen):
            continue
        center = rows.column(line.d)[chosen]
        half = (rows.scale * rows.stretch)[chosen] * line.width / 2
        columns = np.floor(center - half).astype(np.int64)[:, None] + np.arange(
            int(np.ceil(2 * half.max())) + 2
        )
        cover = np.minimum(columns + 0.5, (center + half)[:, None]) - np.maximum(
            columns - 0.5, (center - half)[:, None]
        )
        cover = np.clip(cover, 0, 1) * (share[chosen] * 0.88)[:, None]
        good = (cover > 0.004) & (columns >= 0) & (columns < image.shape[1])
        y, x = np.broadcast_to(chosen[:, None], columns.shape)[good], columns[good]
        on = material[y, x] == ASPHALT
        y, x = y[on], x[on]
        weight = cover[good][on].astype(np.float32)[:, None]
        image[y, x] = image[y, x] * (1 - weight) + weight * color
