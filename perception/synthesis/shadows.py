"""Where the sun does not reach the ground, and the dark under everything that stands on it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.structures import Float
from perception.synthesis.camera import Camera
from perception.synthesis.canvas import SHIFT, fixed
from perception.synthesis.movers import clip_near, dimensions_of, placed
from perception.synthesis.shading import Shader
from perception.synthesis.world import Actor, Scene

Outline = NDArray[np.float32]  # (K, 2) x and z of a convex piece of ground, metres
_NEAR_M, _FAR_M = 1.0, 90.0  # shadows are drawn between


def sunlight(scene: Scene, shader: Shader, covers: list[Outline]) -> NDArray[np.uint8]:
    """(H, W) share of the light on the ground, 255 all; `covers` as `building_shadows` gives."""
    camera = scene.camera
    sun = np.full(camera.size, 255, np.uint8)
    dark = round(255 * shader.shadow)
    if scene.light.sunshine > 0.15:
        for outline in covers:
            _fill(sun, camera, outline, dark)
        _prop_shadows(sun, scene, dark)
        for actor in scene.actors:
            _fill(sun, camera, _actor_shadow(actor, scene), dark)
        sun = cv2.blur(sun, (5, 3)).astype(np.uint8, copy=False)
    under = np.full(camera.size, 255, np.uint8)
    for actor in scene.actors:
        foot = _footprints(actor, 1.06 if actor.kind in ("car", "van", "truck") else 1.3)
        _fill(under, camera, foot, 96 if actor.kind != "person" else 150)
    size = max(3, round(9 * camera.focal / 721.5) | 1)
    under = cv2.blur(under, (size, 3)).astype(np.uint8, copy=False)
    return cv2.multiply(sun, under, scale=1 / 255).astype(np.uint8, copy=False)


def building_shadows(scene: Scene) -> list[Outline]:
    """Ground outlines (K, 2) of the shadows of buildings; empty without sun."""
    if scene.light.sunshine <= 0.15:
        return []
    reach = _reach(scene)
    outlines = []
    for prop in scene.props:
        if prop.kind in ("building", "house"):
            near, far = np.array(prop.near), np.array(prop.far)
            deep = np.array([8.0 * prop.side, 0.0])
            base = np.array([near, far, near + deep, far + deep])
            outlines.append(_hull(np.concatenate([base, base + reach * prop.height])))
    return outlines


def in_shadow(actor: Actor, covers: list[Outline]) -> bool:
    """Whether a building keeps the sun from an actor."""
    return any(cv2.pointPolygonTest(outline, (actor.x, actor.z), False) > 0 for outline in covers)


def _reach(scene: Scene) -> Float:
    """(2,) x and z that a shadow moves per metre of height; at most 2.5 metres."""
    sun = scene.light.sun
    result: Float = np.array([-sun[0], -sun[2]]) / max(-sun[1], 0.37)
    return result


def _footprints(actor: Actor, *widen: float) -> Float:
    """(4 N, 2) x and z of the corners of an actor's base, made wider by each of N shares."""
    _, w, length = dimensions_of(actor)
    corners = []
    for share in widen:
        a, b = length / 2 * share, w / 2 * share
        corners += [(a, 0, b), (a, 0, -b), (-a, 0, -b), (-a, 0, b)]
    return placed(np.array(corners), actor)[:, ::2]


def _actor_shadow(actor: Actor, scene: Scene) -> Outline:
    h, _, _ = dimensions_of(actor)
    reach = _reach(scene)
    if actor.kind in ("person", "cyclist"):
        foot = _footprints(actor, 0.6)
        return _hull(np.concatenate([foot, foot + reach * h]))
    share = 0.55 if actor.kind == "car" else 0.9
    moved = np.array([(0, 0), reach * h * share, reach * h])  # foot, waist, roof
    return _hull(_footprints(actor, 0.98, 0.98, 0.7) + moved.repeat(4, 0))


def _prop_shadows(sun: NDArray[np.uint8], scene: Scene, dark: int) -> None:
    """Trees as some round patches, hedges and walls as strips, poles as lines."""
    reach = _reach(scene)
    rng = np.random.default_rng([scene.seed, 4])
    trees = [prop for prop in scene.props if prop.kind == "tree"]
    if trees:
        height = np.array([prop.height for prop in trees])[:, None, None]
        center = np.array([prop.near for prop in trees])[:, None] + reach * height * 0.62
        center = center + rng.normal(0, 0.16, (len(trees), 6, 2)) * height
        radius = rng.uniform(0.08, 0.18, (len(trees), 6, 1)) * height
        angles = np.arange(10) * np.pi / 5
        ring = np.stack([np.cos(angles), np.sin(angles)], 1)
        patches = center[:, :, None] + ring * radius[..., None]
        flat = patches.reshape(-1, 10, 2)
        flat = flat[(flat[..., 1].min(1) > _NEAR_M) & (flat[..., 1].max(1) < _FAR_M)]
        points = np.stack([flat[..., 0], np.zeros(flat.shape[:2]), flat[..., 1]], -1)
        for corners in fixed(scene.camera.project(points)[0]):
            cv2.fillConvexPoly(sun, corners, dark, cv2.LINE_8, SHIFT)
    for prop in scene.props:
        if prop.kind in ("hedge", "wall"):
            base = np.array([prop.near, prop.far])
        elif prop.kind in ("lamp", "sign", "light"):
            base = np.array(prop.near) + np.array([[-0.06, 0], [0.06, 0]])
        else:
            continue
        outline = _hull(np.concatenate([base, base + reach * prop.height]))
        _fill(sun, scene.camera, outline, dark)


def _hull(points: Float) -> Outline:
    return cv2.convexHull(points.astype(np.float32))[:, 0]  # type: ignore[return-value]


def _fill(mask: NDArray[np.uint8], camera: Camera, outline: Outline | Float, value: int) -> None:
    """Fills a convex outline (K, 2) of the ground."""
    nearest, farthest = outline[:, 1].min(), outline[:, 1].max()
    if farthest < _NEAR_M or nearest > _FAR_M:
        return
    points = np.zeros((len(outline), 3))
    points[:, 0], points[:, 2] = outline[:, 0], outline[:, 1]
    if nearest < _NEAR_M:
        points = clip_near(points, _NEAR_M)
    cv2.fillConvexPoly(mask, fixed(camera.project(points)[0]), value, cv2.LINE_8, SHIFT)
