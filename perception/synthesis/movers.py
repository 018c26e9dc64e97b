"""Paints actors: vehicles, pedestrians, cyclists."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from perception.structures import Float
from perception.synthesis import people, solids
from perception.synthesis.camera import Camera
from perception.synthesis.canvas import Canvas, fixed
from perception.synthesis.people import Figure
from perception.synthesis.shading import Shader
from perception.synthesis.solids import Part, Solid
from perception.synthesis.world import Actor

NEAR_M = 0.5  # nothing nearer is drawn
_PLAIN_M = 55.0  # at KITTI's size: beyond, details are smaller than a pixel


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
    moved = turned(points, actor)
    moved[:, 0] += actor.x
    moved[:, 2] += actor.z
    return moved


def turned(directions: Float, actor: Actor) -> Float:
    """(N, 3) directions of the object frame in the scene frame."""
    c, s = np.cos(actor.rotation_y), np.sin(actor.rotation_y)
    x, z = directions[:, 0], directions[:, 2]
    result = np.array(directions)
    result[:, 0] = c * x + s * z
    result[:, 2] = -s * x + c * z
    return result


def paint_vehicle(canvas: Canvas, camera: Camera, shader: Shader, actor: Actor, dim: float) -> None:
    """Paints one vehicle; `dim` < 1 when it stands in shadow."""
    solid = solid_of(actor)
    palette = solids.palette(actor.seed)
    anchors = placed(np.array([p.anchor for p in solid.parts]), actor)
    order = np.argsort(-np.hypot(anchors[:, 0], anchors[:, 2]), kind="stable")
    for index in order:
        _paint_part(canvas, camera, shader, actor, solid.parts[int(index)], palette, dim)


def _paint_part(
    canvas: Canvas,
    camera: Camera,
    shader: Shader,
    actor: Actor,
    part: Part,
    palette: Float,
    dim: float,
) -> None:
    points = placed(part.vertices, actor)
    if points[:, 2].max() < NEAR_M:
        return
    normals = turned(part.normals, actor)
    eye = np.array([-camera.shift_m, -camera.height_m, 0.0])
    seen = np.einsum("ij,ij->i", normals, points[part.faces[:, 0]] - eye) < 0
    if actor.z > _PLAIN_M * camera.focal / 721.5:
        seen &= ~part.detail
    if not seen.any():
        return
    faces = part.faces[seen]
    shaded = _shaded(shader, part.paint[seen], normals[seen], palette, max(actor.z, NEAR_M), dim)
    if points[:, 2].min() >= NEAR_M:
        pixels, _ = camera.project(points)
        for corners, color in zip(fixed(pixels)[faces], shaded.tolist(), strict=True):
            canvas.polygon_fixed(corners, color)
        used = pixels[faces.ravel()]
        (x1, y1), (x2, y2) = used.min(0).tolist(), used.max(0).tolist()
        canvas.cover(x1, y1, x2, y2)
        return
    for face, color in zip(faces, shaded.tolist(), strict=True):
        clipped = clip_near(points[face], NEAR_M)
        if len(clipped) >= 3:
            canvas.polygon(camera.project(clipped)[0], color)


def _shaded(
    shader: Shader,
    paint: NDArray[np.intp],
    normals: Float,
    palette: Float,
    depth: float,
    dim: float,
) -> Float:
    """(F, 3) colours of faces: light, lamps that glow, sky mirrored by paint and glass."""
    glass = paint == solids.GLASS
    gain = shader.lit(normals) * dim * np.where(paint == solids.LAMP_REAR, 1.25, 1.0)
    shaded = shader.colors(palette[paint], gain, depth)
    mirror = np.clip(-normals[:, 1], 0, 1) * (glass | (paint == solids.PAINT)) * 0.16 + glass * 0.10
    mirror = mirror[:, None]
    result: Float = shaded * (1 - mirror) + shader.horizon * (
        mirror * shader.light.brightness * dim
    )
    return result


def clip_near(corners: Float, near: float) -> Float:
    """The part of a polygon (K, 3) beyond a depth."""
    kept: list[Float] = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if a[2] >= near:
            kept.append(a)
        if (a[2] >= near) != (b[2] >= near):
            kept.append(a + (b - a) * ((near - a[2]) / (b[2] - a[2])))
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
        color = shader.color(tube.color, shader.light.brightness * dim, actor.z)
        canvas.stroke(pixels, width, color, closed=tube.closed)


def paint_body(canvas: Canvas, camera: Camera, shader: Shader, actor: Actor, dim: float) -> None:
    """Paints the limbs of a pedestrian or cyclist, far ones first, each with a lighter side."""
    figure = figure_of(actor.kind, actor.seed)
    points = _figure_points(figure.ends, figure, actor)
    if points[:, 2].min() < NEAR_M:
        return
    pixels, depth = camera.project(points)
    limbs, depth = pixels.reshape(-1, 2, 2), depth.reshape(-1, 2)
    radii = figure.radii * camera.focal / depth
    outline = _capsules(limbs, radii)
    sideways = float(np.sign(shader.light.sun[0])) * 0.35 * shader.light.sunshine
    lighter = _capsules(limbs + np.array([sideways, -0.18]) * radii[:, :, None], radii * 0.72)
    shapes, lights = fixed(outline), fixed(lighter)
    gain = np.full(len(limbs), shader.light.brightness * dim)
    dark = shader.colors(figure.colors, gain * 0.72, actor.z).tolist()
    bright = shader.colors(figure.colors, gain * 1.02, actor.z).tolist()
    large = radii.max(1) > 1.5
    for index in np.argsort(-depth.mean(1), kind="stable").tolist():
        canvas.polygon_fixed(shapes[index], dark[index])
        if large[index]:
            canvas.highlight(lights[index], bright[index])
    (x1, y1), (x2, y2) = outline.min((0, 1)).tolist(), outline.max((0, 1)).tolist()
    canvas.cover(x1, y1, x2, y2)


def _figure_points(points: Float, figure: Figure, actor: Actor) -> Float:
    """Object points of a figure, centred on its extent, in the scene frame."""
    return placed(points - np.array([figure.center[0], 0.0, figure.center[1]]), actor)


_ARC = np.linspace(-np.pi / 2, np.pi / 2, 6)


def _capsules(ends: Float, radii: Float) -> Float:
    """(L, 12, 2) outlines around pairs of circles: centres (L, 2, 2), radii (L, 2)."""
    along = ends[:, 1] - ends[:, 0]
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None]
    arcs = np.concatenate([angle + np.pi + _ARC, angle + _ARC], axis=1)
    rim = np.stack([np.cos(arcs), np.sin(arcs)], axis=-1)
    return ends.repeat(6, axis=1) + rim * radii.repeat(6, axis=1)[:, :, None]
