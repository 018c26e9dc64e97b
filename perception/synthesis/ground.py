"""The ground: every pixel below the horizon is projected back onto the road plane.

A row of the image has one depth (the camera is level), so whatever depends on the distance alone
is computed once per row.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.synthesis.canvas import Canvas, Element, outlines
from perception.synthesis.road import KERB_M, Road
from perception.synthesis.shading import Shader
from perception.synthesis.surface import ASPHALT, BEYOND, GRASS, KERB, WALK, Rows, paint_surface
from perception.synthesis.world import Scene

FAR_M = 260.0  # the ground ends here
_SURE_M = 80.0  # the road's label is unsure beyond


@dataclass(frozen=True)
class Ground:
    """What the labels need to know of the ground; all (H, W) bool."""

    lane: NDArray[np.bool_]
    unsure: NDArray[np.bool_]  # kerbs and what is far


def paint_ground(canvas: Canvas, scene: Scene, shader: Shader, sun: NDArray[np.uint8]) -> Ground:
    """Paints the ground and outlines road, sidewalk, terrain; `sun` (H, W): 255 all its light."""
    height, width = canvas.image.shape[:2]
    camera, road = scene.camera, scene.road
    first, z = camera.ground_rows(FAR_M)
    lane, unsure = np.zeros((height, width), bool), np.zeros((height, width), bool)
    if first >= height:
        return Ground(lane, unsure)
    depth = z.astype(np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :] - np.float32(camera.cx)
    x = columns * (depth / np.float32(camera.focal)) - np.float32(camera.shift_m)
    d = road.across(x, depth)
    outside = road.outside(d, depth)
    material = _material(road, d, outside)
    _outline(canvas, first, material, paved=scene.style == "city")
    stretch = np.sqrt(1 + (road.slope + road.curvature * z) ** 2)
    rows = Rows(
        z,
        z * z / (camera.focal * camera.height_m),
        road.x(z, 0.0),
        stretch,
        camera.focal / z,
        camera.cx,
        camera.shift_m,
    )
    paint_surface(canvas.image[first:], scene, shader, rows, material, d, outside, sun[first:])
    lane[first:] = (material == ASPHALT) & (d > road.lane[0]) & (d < road.lane[1])
    unsure[first:] = (np.abs(outside - KERB_M / 2) < KERB_M * 0.75) | (depth > _SURE_M)
    return Ground(lane, unsure)


def _material(
    road: Road, d: NDArray[np.float32], outside: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """(R, W) asphalt, kerb, strip of grass, sidewalk, land beyond."""
    right = d > np.float32((road.left + road.right) / 2)
    left_band, left_table = _bands(road, 0, outside)
    right_band, right_table = _bands(road, 1, outside)
    band = np.where(right, right_band + np.uint8(len(left_table)), left_band)
    table = np.zeros(256, np.uint8)
    table[: len(left_table) + len(right_table)] = left_table + right_table
    return cv2.LUT(band, table).astype(np.uint8, copy=False)


def _bands(
    road: Road, side: int, outside: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], list[int]]:
    """(R, W) the number of the band along one side of the road, and the bands' materials."""
    strip = KERB_M + road.strip[side]
    if not road.sidewalk[side]:
        borders, materials = [KERB_M * 0.5], [ASPHALT, BEYOND]
    elif road.strip[side]:
        borders = [0, KERB_M, strip, strip + road.sidewalk[side]]
        materials = [ASPHALT, KERB, GRASS, WALK, BEYOND]
    else:
        borders = [0, strip, strip + road.sidewalk[side]]
        materials = [ASPHALT, KERB, WALK, BEYOND]
    band = np.zeros(outside.shape, np.uint8)
    for border in borders:
        band += outside > border
    return band, materials


def _outline(canvas: Canvas, first: int, material: NDArray[np.uint8], *, paved: bool) -> None:
    """Adds the ground's classes as elements, large pieces first: small ones lie inside them."""
    height, width = canvas.image.shape[:2]
    members = {"road": [ASPHALT], "sidewalk": [KERB, WALK], "terrain": [GRASS]}
    members["sidewalk" if paved else "terrain"].append(BEYOND)
    pieces = []
    for label, materials in members.items():
        table = np.zeros(256, np.uint8)
        table[materials] = 255
        mask = cv2.LUT(material, table).astype(np.uint8, copy=False)
        for polygon in outlines(mask, (0, first), exact=True):
            pieces.append((cv2.contourArea(polygon), label, polygon))
    pieces.sort(key=lambda row: -row[0])
    for _, label, polygon in pieces:
        canvas.elements.append(Element(label, (polygon,), (0, 0, width, height)))
