"""The ground: every pixel below the horizon is projected back onto the road plane.

A row of the image has one depth (the camera is level), so everything that depends on the distance
alone is computed once per row, and lines are painted with the coverage of their pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.structures import Float
from perception.synthesis.canvas import Canvas, Element, outlines
from perception.synthesis.road import KERB_M, Line, Road, SideRoad
from perception.synthesis.scene import Scene
from perception.synthesis.shading import Shader
from perception.synthesis.textures import noise

FAR_M = 260.0  # the ground ends here
_SURE_M = 80.0  # the road's label is unsure beyond


@dataclass(frozen=True)
class Ground:
    """What the labels need to know of the ground; all (H, W) bool."""

    lane: NDArray[np.bool_]
    unsure: NDArray[np.bool_]  # kerbs and what is far


@dataclass(frozen=True)
class _Rows:
    """Depth and scale of the image rows that show ground."""

    first: int
    depth: NDArray[np.float32]  # (R,)
    middle: Float  # (R,) scene x of d = 0
    stretch: Float  # (R,) dx/dd
    scale: Float  # (R,) pixels per metre of x
    origin: float  # column of x = 0 at unit depth, see `column`
    shift: float

    def column(self, d: float) -> Float:
        """(R,) image column of d."""
        return self.origin + self.scale * (self.middle + d * self.stretch + self.shift)

    def along(self, s0: float, s1: float) -> Float:
        """(R,) share of every row's depth range that lies in s0..s1."""
        low, high = self.limits()
        return np.clip(np.minimum(high, s1) - np.maximum(low, s0), 0, None) / (high - low)

    def limits(self) -> tuple[Float, Float]:
        """(R,) nearest and farthest depth seen by a row."""
        z = self.depth.astype(np.float64)
        step = z * z / (z[-1] * (len(z) + _rows_above(z)))
        return z - step / 2, z + step / 2


def _rows_above(z: Float) -> float:
    """Rows between the horizon and the first ground row, from the law depth = k / rows."""
    return float(z[-1] * (len(z) - 1) / max(z[0] - z[-1], 1e-6))


def paint_ground(canvas: Canvas, scene: Scene, shader: Shader, shadow: NDArray[np.uint8]) -> Ground:
    """Paints colours and ids of the ground; `shadow` (H, W): 255 where the sun is hidden."""
    height, width = canvas.image.shape[:2]
    camera, road = scene.camera, scene.road
    first, depth = camera.ground_rows(FAR_M)
    lane, unsure = np.zeros((height, width), bool), np.zeros((height, width), bool)
    if first >= height:
        return Ground(lane, unsure)
    z = depth[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    x = (columns - np.float32(camera.cx)) * (z / np.float32(camera.focal)) - np.float32(
        camera.shift_m
    )
    d = road.across(x, z)
    outside = road.outside(d, z)
    material = _material(road, d, outside)
    _outline(canvas, first, material)
    s = depth.astype(np.float64)
    stretch = np.sqrt(1 + (road.slope + road.curvature * s) ** 2)
    rows = _Rows(first, depth, road.x(s, 0.0), stretch, camera.focal / s, camera.cx, camera.shift_m)
    image = _colored(scene, material, d, depth)
    _markings(image, road, rows, material)
    gain = _light(scene, shader, shadow[first:])
    veil = shader.haze(s)[:, None, None].astype(np.float32)
    image *= gain
    image *= 1 - veil
    image += veil * np.array(scene.light.horizon, np.float32)
    canvas.image[first:] = np.clip(image, 0, 255).astype(np.uint8)
    on_road = material == 0
    lane[first:] = on_road & (d > road.lane[0]) & (d < road.lane[1])
    unsure[first:] = (np.abs(outside - KERB_M / 2) < KERB_M * 0.75) | (z > _SURE_M)
    return Ground(lane, unsure)


_CLASSES = np.array([0, 1, 2, 1, 2], np.uint8)  # by material: road, sidewalk, terrain


def _outline(canvas: Canvas, first: int, material: NDArray[np.uint8]) -> None:
    """Adds road, sidewalk and terrain as elements, large pieces first: small ones lie inside."""
    height, width = canvas.image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    classes = _CLASSES[material]
    pieces = []
    for index, label in enumerate(("road", "sidewalk", "terrain")):
        mask[first:] = (classes == index).view(np.uint8) * 255
        for polygon in outlines(mask, (0, 0), largest=False)[0]:
            pieces.append((cv2.contourArea(polygon), label, polygon))
    pieces.sort(key=lambda row: -row[0])
    for area, label, polygon in pieces:
        canvas.elements.append(Element(label, (polygon,), (0, 0, width, height), int(area)))


def _material(road: Road, d: NDArray[np.float32], outside: NDArray[np.float32]
              ) -> NDArray[np.uint8]:  # fmt: skip
    """0 asphalt, 1 kerb, 2 grass strip, 3 sidewalk, 4 land beyond."""
    right = d > (road.left + road.right) / 2
    material = (outside > 0).astype(np.uint8)
    for index, side in enumerate((~right, right)):
        if not road.sidewalk[index]:
            material[side & (outside > KERB_M * 0.5)] = 4
            continue
        strip = KERB_M + road.strip[index]
        if road.strip[index]:
            material[side & (outside > KERB_M)] = 2
        material[side & (outside > strip)] = 3
        material[side & (outside > strip + road.sidewalk[index])] = 4
    return material


def _colored(scene: Scene, material: NDArray[np.uint8], d: NDArray[np.float32],
             depth: NDArray[np.float32]) -> NDArray[np.float32]:  # fmt: skip
    """(R, W, 3) surface colours with their texture, before light."""
    rng = np.random.default_rng([scene.seed, 1])
    asphalt = rng.uniform(78, 128) + rng.normal(0, 2, 3) + np.array([1.0, 0.5, -1.0])
    kerb = rng.uniform(140, 180) + np.zeros(3)
    walk = rng.uniform(130, 172) + np.array([[4, 0, -6], [12, -2, -14], [0, 0, 0]])[rng.integers(3)]
    grass = np.array([92, 122, 52]) + rng.normal(0, 8, 3)
    beyond = grass * rng.uniform(0.85, 1.05)
    if scene.style == "city":
        beyond = walk * 0.92
    palette = np.array([asphalt, kerb, grass, walk, beyond], np.float32)
    strength = np.array([0.05, 0.05, 0.14, 0.05, 0.14 if scene.style != "city" else 0.06],
                        np.float32)  # fmt: skip
    z = np.broadcast_to(depth[:, None], d.shape)
    tile = noise(512, 6, 1)
    coarse = _sampled(tile, d, z, 9.0)
    fine = _sampled(noise(512, 2, 2), d, z, 90.0) * np.clip(9 / depth - 0.3, 0, 1)[:, None]
    texture = 1 + strength[material] * (coarse + fine)
    return (palette[material] * texture[:, :, None]).astype(np.float32, copy=False)


def _sampled(tile: NDArray[np.float32], d: NDArray[np.float32], z: NDArray[np.float32],
             per_m: float) -> NDArray[np.float32]:  # fmt: skip
    """(R, W) a tile laid over the ground, `per_m` texels per metre."""
    sampled = cv2.remap(tile, d * np.float32(per_m), z * np.float32(per_m), cv2.INTER_LINEAR,
                        borderMode=cv2.BORDER_WRAP)  # fmt: skip
    return sampled.astype(np.float32, copy=False)


def _light(scene: Scene, shader: Shader, shadow: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(R, W, 3) gain of the ground: sun, cast shadows, tint."""
    dark = 1 - (1 - shader.shadow) / 255 * shadow.astype(np.float32)
    gain = scene.light.brightness * np.array(scene.light.tint)
    return dark[:, :, None] * gain.astype(np.float32)


# ------------------------------------------------------------------------------ markings


def _markings(image: NDArray[np.float32], road: Road, rows: _Rows, material: NDArray[np.uint8]
              ) -> None:  # fmt: skip
    """Lines, stop lines and crosswalks."""
    free = np.ones(len(rows.depth))
    for side in road.sides:
        span = side.half_width + side.radius
        free *= 1 - rows.along(side.s - span, side.s + span)
        if side.crosswalk:
            free *= 1 - rows.along(side.s - span - 4.6, side.s - span)
    for line in road.lines:
        _stripe(image, rows, line.d, line.width, free * _dashes(line, rows), line.color, material)
    if road.category == "uu":
        return
    for side in road.sides:
        _at_side(image, road, rows, side, material)


def _at_side(image: NDArray[np.float32], road: Road, rows: _Rows, side: SideRoad,
             material: NDArray[np.uint8]) -> None:  # fmt: skip
    """Crosswalk and stop line before one side road."""
    white = (222, 222, 216)
    at = side.s - side.half_width - side.radius
    own_right = road.right - road.parking[1]
    if side.crosswalk:
        cover = rows.along(at - 3.0, at)
        for d in np.arange(road.left + 0.5, road.right - 0.3, 1.0):
            _stripe(image, rows, float(d), 0.5, cover, white, material)
        at -= 3.8
    if side.stop_line:
        middle, width = (road.middle + own_right) / 2, own_right - road.middle - 0.3
        _stripe(image, rows, middle, width, rows.along(at - 0.4, at), white, material)


def _dashes(line: Line, rows: _Rows) -> Float:
    """(R,) share of every row that is painted."""
    if not line.on:
        return np.ones(len(rows.depth))
    period = line.on + line.off

    def painted(s: Float) -> Float:
        whole, rest = np.divmod(s + line.phase, period)
        return whole * line.on + np.minimum(rest, line.on)

    low, high = rows.limits()
    return (painted(high) - painted(low)) / (high - low)


def _stripe(
    image: NDArray[np.float32], rows: _Rows, d: float, width: float, cover: Float,
    color: tuple[int, int, int], material: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Blends a stripe along the road into the asphalt, by the share of each pixel it covers."""
    worn = 0.88
    for near in (False, True):
        chosen = np.flatnonzero((cover > 0.004) & ((rows.depth < 14) == near))
        if not len(chosen):
            continue
        center = rows.column(d)[chosen]
        half = (rows.scale * rows.stretch)[chosen] * width / 2
        left = np.floor(center - half).astype(np.int64)
        window = np.arange(int(np.ceil(2 * half.max())) + 2)
        columns = left[:, None] + window
        share = np.minimum(columns + 0.5, (center + half)[:, None]) - np.maximum(
            columns - 0.5, (center - half)[:, None]
        )
        share = np.clip(share, 0, 1) * (cover[chosen] * worn)[:, None]
        good = (share > 0.004) & (columns >= 0) & (columns < image.shape[1])
        y = np.broadcast_to(chosen[:, None], columns.shape)[good]
        x = columns[good]
        on = material[y, x] == 0
        y, x = y[on], x[on]
        weight = share[good][on].astype(np.float32)[:, None]
        image[y, x] += weight * (np.array(color, np.float32) - image[y, x])
