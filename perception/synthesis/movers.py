"""Paints actors: vehicles, pedestrians, cyclists."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from perception.structures import Float
from perception.synthesis import people, solids
from perception.synthesis.camera import Camera
from perception.synthesis.canvas import SHIFT, Canvas
from perception.synthesis.people import Figure
from perception.synthesis.scene import Actor
from perception.synthesis.shading import Shader
from perception.synthesis.solids import Part, Solid

NEAR_M = 0.5  # nothing nearer is drawn


def solid_of(actor: Actor) -> Solid:
    """The vehicle's body."""
    if actor.kind == "car":
        return solids.car(actor.seed % solids.CAR_VARIANTS)
    if actor.kind == "van":
        return solids.van(actor.seed % solids.VAN_VARIANTS)
    return solids.truck(actor.seed % solids.TRUCK_VARIANTS)


@lru_cache(maxsize=256)
def figure_of(kind: str, seed: int) -> Figure:
    """The person's body."""
    return people.cyclist(seed) if kind == "cyclist" else people.pedestrian(seed)


def dimensions_of(actor: Actor) -> tuple[float, float, float]:
    """KITTI's height, width, length in metres."""
    if actor.kind in ("person", "cyclist"):
        return figure_of(actor.kind, actor.seed).dimensions
    return solid_of(actor).dimensions


def placed(points: Float, actor: Actor) -> Float:
    """(N, 3) points of the object frame in the scene frame; KITTI's rotation about y."""
    c, s = np.cos(actor.rotation_y), np.sin(actor.rotation_y)
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    return np.stack([c * x + s * z + actor.x, y, -s * x + c * z + actor.z], axis=1)


def paint_vehicle(canvas: Canvas, camera: Camera, shader: Shader, actor: Actor, dim: float) -> None:
    """Paints one vehicle; `dim` < 1 when it stands in shadow."""
    solid = solid_of(actor)
    palette = solids.palette(np.random.default_rng([actor.seed, 3]))
    anchors = placed(np.array([p.anchor for p in solid.parts]), actor)
    order = np.argsort(-np.hypot(anchors[:, 0], anchors[:, 2]), kind="stable")
    for index in order:
        _paint_part(canvas, camera, shader, actor, solid.parts[int(index)], palette, dim)


def _paint_part(canvas: Canvas, camera: Camera, shader: Shader, actor: Actor, part: Part,
                palette: Float, dim: float) -> None:  # fmt: skip
    points = placed(part.vertices, actor)
    c, s = np.cos(actor.rotation_y), np.sin(actor.rotation_y)
    n = part.normals
    normals = np.stack([c * n[:, 0] + s * n[:, 2], n[:, 1], -s * n[:, 0] + c * n[:, 2]], axis=1)
    eye = np.array([-camera.shift_m, -camera.height_m, 0.0])
    seen = np.einsum("ij,ij->i", normals, points[part.faces[:, 0]] - eye) < 0
    if not seen.any() or points[:, 2].max() < NEAR_M:
        return
    faces, paint = part.faces[seen], part.paint[seen]
    gain = shader.lit(normals[seen]) * dim
    colors = palette[paint]
    shiny = (paint == solids.PAINT) | (paint == solids.GLASS)
    glow = np.where(paint == solids.LAMP_REAR, 1.25, 1.0)
    depth = np.full(len(faces), max(actor.z, NEAR_M))
    shaded = shader.colors(colors, gain * glow, depth)
    sky = np.clip(-normals[seen][:, 1], 0, 1) * shiny * 0.14 + (paint == solids.GLASS) * 0.10
    shaded = shaded * (1 - sky[:, None]) + np.array(shader.light.horizon) * (
        sky[:, None] * shader.light.brightness * dim
    )
    if points[:, 2].min() >= NEAR_M:
        pixels, _ = camera.project(points)
        fixed = np.rint(np.clip(pixels, -30000, 30000) * (1 << SHIFT)).astype(np.int32)
        for corners, color in zip(fixed[faces], shaded.tolist(), strict=True):
            canvas.polygon_fixed(corners, color)
        used = pixels[np.unique(faces)]
        canvas.cover(*used.min(0), *used.max(0))
        return
    for face, color in zip(faces, shaded.tolist(), strict=True):
        clipped = clip_near(points[face])
        if len(clipped) >= 3:
            canvas.polygon(camera.project(clipped)[0], color)


def clip_near(corners: Float) -> Float:
    """The part of a polygon (K, 3) beyond the near plane."""
    kept: list[Float] = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if a[2] >= NEAR_M:
            kept.append(a)
        if (a[2] >= NEAR_M) != (b[2] >= NEAR_M):
            kept.append(a + (b - a) * ((NEAR_M - a[2]) / (b[2] - a[2])))
    return np.array(kept).reshape(-1, 3)


# ------------------------------------------------------------------------------- people


def paint_bicycle(canvas: Canvas, camera: Camera, shader: Shader, actor: Actor, dim: float) -> None:
    """Paints the tubes and wheels of a cyclist."""
    figure = figure_of(actor.kind, actor.seed)
    for tube in figure.tubes:
        points = _figure_points(tube.points, figure, actor)
        if points[:, 2].min() < NEAR_M:
            continue
        pixels, _ = camera.project(points)
        width = 2 * tube.radius * camera.focal / actor.z
        canvas.stroke(pixels, width, shader.color(tube.color, shader.light.brightness * dim,
                                                  actor.z), closed=tube.closed)  # fmt: skip


def paint_body(canvas: Canvas, camera: Camera, shader: Shader, actor: Actor, dim: float) -> None:
    """Paints the limbs of a pedestrian or cyclist, far ones first, each with a lighter side."""
    figure = figure_of(actor.kind, actor.seed)
    ends = np.array([[b.start, b.end] for b in figure.limbs]).reshape(-1, 3)
    points = _figure_points(ends, figure, actor)
    if points[:, 2].min() < NEAR_M:
        return
    pixels, depth = camera.project(points)
    limbs = pixels.reshape(-1, 2, 2)
    radii = np.array([[b.start_radius, b.end_radius] for b in figure.limbs])
    radii = radii * camera.focal / depth.reshape(-1, 2)
    sideways = float(np.sign(shader.light.sun[0])) * 0.35 * shader.light.sunshine
    gain = shader.light.brightness * dim
    order = np.argsort(-depth.reshape(-1, 2).mean(1), kind="stable")
    for index in order:
        limb = figure.limbs[int(index)]
        pair, radius = limbs[index], radii[index]
        canvas.polygon(_capsule(pair, radius), shader.color(limb.color, gain * 0.72, actor.z))
        if radius.max() > 1.2:
            lit = pair + np.array([sideways, -0.18]) * radius[:, None]
            hull = np.rint(_capsule(lit, radius * 0.72) * (1 << SHIFT)).astype(np.int32)
            color = shader.color(limb.color, gain * 1.02, actor.z)
            cv2.fillConvexPoly(canvas.image, hull, color, cv2.LINE_AA, SHIFT)


def _figure_points(points: Float, figure: Figure, actor: Actor) -> Float:
    """Object points of a figure, centred on its extent, in the scene frame."""
    return placed(points - np.array([figure.center[0], 0.0, figure.center[1]]), actor)


_CIRCLE = np.stack([np.cos(np.arange(10) * np.pi / 5), np.sin(np.arange(10) * np.pi / 5)], axis=1)


def _capsule(ends: Float, radii: Float) -> Float:
    """(K, 2) outline around two circles: centres (2, 2), radii (2,)."""
    rim = (ends[:, None, :] + radii[:, None, None] * _CIRCLE).reshape(-1, 2)
    return cv2.convexHull(rim.astype(np.float32))[:, 0].astype(np.float64)
