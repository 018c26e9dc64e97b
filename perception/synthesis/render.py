"""From a scene to its picture and its labels: sky, ground, then everything from far to near."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.structures import Float
from perception.synthesis.canvas import Canvas, Element
from perception.synthesis.ground import Ground, paint_ground
from perception.synthesis.movers import (
    dimensions_of,
    paint_bicycle,
    paint_body,
    paint_vehicle,
    placed,
)
from perception.synthesis.scene import Prop, Scene
from perception.synthesis.scenery import paint_prop
from perception.synthesis.shading import Shader
from perception.synthesis.textures import noise


@dataclass(frozen=True)
class Rendering:
    """A picture and, pixel for pixel, what it shows."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    elements: tuple[Element, ...]  # in painting order
    ground: Ground


def render(scene: Scene) -> Rendering:
    """Paints a scene; the same scene gives the same bytes."""
    height, width = scene.camera.size
    canvas = Canvas(np.zeros((height, width, 3), np.uint8))
    shader = Shader(scene.light)
    _sky(canvas, scene)
    ground = paint_ground(canvas, scene, shader, _shadows(scene))
    _skyline(canvas, scene, shader)
    for thing in _far_to_near(scene):
        if isinstance(thing, int):
            _actor(canvas, scene, shader, thing)
        else:
            paint_prop(canvas, scene.camera, shader, thing)
    image = _exposed(canvas.image, scene)
    return Rendering(image, tuple(canvas.elements), ground)


def _far_to_near(scene: Scene) -> list[Prop | int]:
    """Props and indices of actors, farthest first."""
    keyed: list[tuple[float, int, Prop | int]] = []
    for prop in scene.props:
        keyed.append((-max(prop.near[1], prop.far[1]), len(keyed), prop))
    for index, actor in enumerate(scene.actors):
        keyed.append((-actor.z, len(keyed), index))
    return [thing for _, _, thing in sorted(keyed, key=lambda row: row[:2])]


def _actor(canvas: Canvas, scene: Scene, shader: Shader, index: int) -> None:
    """Paints an actor; a cyclist is two elements, the bicycle and its rider."""
    actor, camera = scene.actors[index], scene.camera
    if actor.z < -6:
        return
    if actor.kind in ("car", "van", "truck"):
        paint_vehicle(canvas, camera, shader, actor, 1.0)
        label = "truck" if actor.kind == "truck" else "car"
        canvas.finish(label, actor=index, instance=True)
        return
    if actor.kind == "cyclist":
        paint_bicycle(canvas, camera, shader, actor, 1.0)
        canvas.finish("bicycle", actor=index, instance=True)
    paint_body(canvas, camera, shader, actor, 1.0)
    label = "rider" if actor.kind == "cyclist" else "person"
    canvas.finish(label, actor=index, instance=True)


def _sky(canvas: Canvas, scene: Scene) -> None:
    height, width = canvas.image.shape[:2]
    light = scene.light
    share = np.clip(np.arange(height) / max(scene.camera.cy, 1), 0, 1)[:, None, None] ** 0.8
    sky = np.array(light.zenith) * (1 - share) + np.array(light.horizon) * share
    image = np.broadcast_to(sky, (height, width, 3)).astype(np.float32)
    canvas.image[:] = np.clip(image * light.brightness, 0, 255).astype(np.uint8)
    canvas.region("sky", np.full((height, width), 255, np.uint8))


def _skyline(canvas: Canvas, scene: Scene, shader: Shader) -> None:
    """A belt of distant trees that hides the edge of the world."""
    height, width = canvas.image.shape[:2]
    scale = scene.camera.focal / 721.5
    profile = noise(512, 7, 5)[scene.seed % 512]
    x = np.arange(0, width + 8, 8)
    y = scene.camera.cy - scale * (9 + 5 * profile[(x / scale / 5).astype(int) % 512])
    bottom = scene.camera.cy + scene.camera.focal * scene.camera.height_m / 200 + 1
    outline = np.concatenate([np.stack([x, y], 1), [[width + 8, bottom], [0, bottom]]])
    color = shader.color((84, 104, 70), scene.light.brightness, 260.0)
    mask = np.zeros((height, width), np.uint8)
    fixed = np.rint(outline * 16).astype(np.int32)
    cv2.fillPoly(canvas.image, [fixed], color, cv2.LINE_AA, 4)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_8, 4)
    canvas.region("vegetation", mask)


def _shadows(scene: Scene) -> NDArray[np.uint8]:
    """(H, W) 255 where something keeps the sun from the ground."""
    mask = np.zeros(scene.camera.size, np.uint8)
    sun = scene.light.sun
    reach = np.array([-sun[0], -sun[2]]) / max(-sun[1], 0.12)
    for actor in scene.actors:
        h, w, length = dimensions_of(actor)
        base = np.array([[a * length / 2, 0.0, b * w / 2] for a in (-1, 1) for b in (-1, 1)])
        foot = placed(base, actor)[:, [0, 2]]
        _cast(mask, scene, np.concatenate([foot, foot * 1.0 + reach * h * 0.9]))
    for prop in scene.props:
        if prop.kind == "tree":
            center = np.array(prop.near) + reach * prop.height * 0.65
            angles = np.arange(12) * np.pi / 6
            ring = np.stack([np.cos(angles), np.sin(angles)], 1) * prop.height * 0.3
            _cast(mask, scene, center + ring)
    return cv2.blur(mask, (5, 3)).astype(np.uint8, copy=False)


def _cast(mask: NDArray[np.uint8], scene: Scene, ground: Float) -> None:
    """Fills the hull of ground points (N, 2)."""
    hull = cv2.convexHull(ground.astype(np.float32))[:, 0].astype(np.float64)
    if hull[:, 1].min() < 1.0:
        hull[:, 1] = np.maximum(hull[:, 1], 1.0)
    points = np.stack([hull[:, 0], np.zeros(len(hull)), hull[:, 1]], 1)
    pixels, _ = scene.camera.project(points)
    fixed = np.rint(np.clip(pixels, -30000, 30000) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, fixed, 255, cv2.LINE_8, 4)


def _exposed(image: NDArray[np.uint8], scene: Scene) -> NDArray[np.uint8]:
    """Lens blur and sensor noise."""
    blur = scene.light.blur * scene.camera.focal / 721.5
    if blur > 0.25:
        image = cv2.GaussianBlur(image, (3, 3), blur).astype(np.uint8, copy=False)
    rng = np.random.default_rng([scene.seed, 2])
    grain = rng.normal(0, scene.light.noise, image.shape[:2]).astype(np.float32)
    return np.clip(image + grain[:, :, None], 0, 255).astype(np.uint8)
