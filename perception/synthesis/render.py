"""From a scene to its picture: sky, ground, then everything from far to near."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.synthesis.canvas import Canvas, Element
from perception.synthesis.ground import Ground, paint_ground
from perception.synthesis.movers import paint_bicycle, paint_body, paint_vehicle
from perception.synthesis.scenery import Stage, paint_prop
from perception.synthesis.shading import Shader
from perception.synthesis.shadows import building_shadows, in_shadow, sunlight
from perception.synthesis.sky import paint_sky, paint_skyline
from perception.synthesis.textures import grain
from perception.synthesis.world import Prop, Scene

_BEHIND_M = 1000.0
_ABOUT_M, _LOWEST = 1.6, 5.0  # actors, about so high, are not painted below so many pixels


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
    covers = building_shadows(scene)
    paint_sky(canvas, scene)
    ground = paint_ground(canvas, scene, shader, sunlight(scene, shader, covers))
    paint_skyline(canvas, scene, shader)
    stage = Stage(canvas, scene.camera, shader)
    for thing in _far_to_near(scene):
        if isinstance(thing, int):
            dim = 0.5 + shader.shadow / 2 if in_shadow(scene.actors[thing], covers) else 1.0
            _paint_actor(canvas, scene, shader, thing, dim)
        else:
            paint_prop(stage, thing)
    return Rendering(_exposed(canvas.image, scene), tuple(canvas.elements), ground)


def _far_to_near(scene: Scene) -> list[Prop | int]:
    """Props and indices of actors, farthest first."""
    keyed: list[tuple[float, int, Prop | int]] = []
    for prop in scene.props:
        depth = max(prop.near[1], prop.far[1]) + (_BEHIND_M if prop.behind else 0.0)
        keyed.append((-depth, len(keyed), prop))
    for index, actor in enumerate(scene.actors):
        keyed.append((-actor.z, len(keyed), index))
    return [thing for _, _, thing in sorted(keyed, key=lambda row: row[:2])]


def _paint_actor(canvas: Canvas, scene: Scene, shader: Shader, index: int, dim: float) -> None:
    """Paints an actor; a cyclist is two elements, the bicycle and its rider."""
    actor, camera = scene.actors[index], scene.camera
    if actor.z > 0 and _ABOUT_M * camera.focal / actor.z < _LOWEST:
        return
    if actor.kind in ("car", "van", "truck"):
        paint_vehicle(canvas, camera, shader, actor, dim)
        label = "truck" if actor.kind == "truck" else "car"
        canvas.finish(label, actor=index, instance=True)
        return
    if actor.kind == "cyclist":
        paint_bicycle(canvas, camera, shader, actor, dim)
        canvas.finish("bicycle", actor=index, instance=True)
    paint_body(canvas, camera, shader, actor, dim)
    label = "rider" if actor.kind == "cyclist" else "person"
    canvas.finish(label, actor=index, instance=True)


def _exposed(image: NDArray[np.uint8], scene: Scene) -> NDArray[np.uint8]:
    """Lens blur and sensor noise."""
    height, width = image.shape[:2]
    blur = scene.light.blur * scene.camera.focal / 721.5
    if blur > 0.25:
        image = cv2.GaussianBlur(image, (3, 3), blur).astype(np.uint8, copy=False)
    film = grain()
    y, x = scene.seed % 509, scene.seed % 1021
    if y + height <= film.shape[0] and x + width <= film.shape[1]:
        patch = film[y : y + height, x : x + width]
    else:
        rows, columns = np.arange(y, y + height), np.arange(x, x + width)
        patch = film.take(rows, 0, mode="wrap").take(columns, 1, mode="wrap")
    strength = scene.light.noise * min(1.0, 0.4 + 0.6 * scene.camera.focal / 721.5)
    patch = patch * np.float32(strength)
    return cv2.add(image, patch, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
