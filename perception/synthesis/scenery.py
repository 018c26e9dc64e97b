"""Paints what stands: buildings, trees, poles, signs, lights, fences, walls, hedges."""

from __future__ import annotations

import cv2
import numpy as np

from perception.structures import Float
from perception.synthesis.camera import Camera
from perception.synthesis.canvas import SHIFT, Canvas
from perception.synthesis.movers import NEAR_M, clip_near
from perception.synthesis.scene import Prop
from perception.synthesis.shading import Shader
from perception.synthesis.textures import crown

Triple = tuple[float, float, float]
_WALLS = ((196, 176, 148), (178, 96, 72), (214, 204, 186), (160, 150, 140), (206, 182, 120),
          (186, 120, 92), (150, 158, 164), (224, 218, 206), (170, 138, 112))  # fmt: skip


def paint_prop(canvas: Canvas, camera: Camera, shader: Shader, prop: Prop) -> None:
    """Paints one prop as one element (a sign and its pole are two)."""
    rng = np.random.default_rng([prop.seed, 5])
    if prop.kind in ("building", "house"):
        _building(canvas, camera, shader, prop, rng)
        canvas.finish("building")
    elif prop.kind in ("tree", "bush"):
        _tree(canvas, camera, shader, prop, rng)
    elif prop.kind in ("fence", "wall", "hedge"):
        _barrier(canvas, camera, shader, prop)
    else:
        _pole(canvas, camera, shader, prop, rng)


def quad(canvas: Canvas, camera: Camera, shader: Shader, corners: Float, rgb: tuple[float, ...],
         gain: float) -> None:  # fmt: skip
    """A flat polygon (K, 3) of the scene, clipped at the near plane."""
    if corners[:, 2].min() < NEAR_M:
        corners = clip_near(corners)
        if len(corners) < 3:
            return
    pixels, depth = camera.project(corners)
    canvas.polygon(pixels, shader.color(rgb, gain, float(depth.mean())))


def _upright(a: tuple[float, float], b: tuple[float, float], low: float, high: float) -> Float:
    """(4, 3) a wall from a to b (x, z) between two heights."""
    return np.array([[a[0], -low, a[1]], [b[0], -low, b[1]], [b[0], -high, b[1]],
                     [a[0], -high, a[1]]])  # fmt: skip


def _gain(shader: Shader, a: tuple[float, float], b: tuple[float, float],
          towards: tuple[float, float]) -> float:  # fmt: skip
    """Light on an upright wall from a to b whose outside looks to `towards` (x, z)."""
    normal = np.array([-(b[1] - a[1]), 0.0, b[0] - a[0]])
    normal = normal / max(float(np.linalg.norm(normal)), 1e-9)
    middle = np.array([(a[0] + b[0]) / 2, 0.0, (a[1] + b[1]) / 2])
    if normal @ (np.array([towards[0], 0.0, towards[1]]) - middle) < 0:
        normal = -normal
    return float(shader.lit(normal[None])[0])


def _building(canvas: Canvas, camera: Camera, shader: Shader, prop: Prop, rng: np.random.Generator
              ) -> None:  # fmt: skip
    color = np.array(_WALLS[int(rng.integers(len(_WALLS)))]) + rng.normal(0, 6, 3)
    deep = float(rng.uniform(7, 12)) * prop.side
    near, far = prop.near, prop.far
    behind = (near[0] + deep, near[1])
    rgb = tuple(float(c) for c in color)
    gain = _gain(shader, near, behind, (near[0], near[1] - 10))
    quad(canvas, camera, shader, _upright(near, behind, 0, prop.height), rgb, gain)
    gain = _gain(shader, near, far, (near[0] - prop.side * 10, near[1]))
    quad(canvas, camera, shader, _upright(near, far, 0, prop.height), rgb, gain)
    storeys = max(1, round(prop.height / 3.0))
    length = far[1] - near[1]
    bays = max(2, round(length / 3.0))
    for storey in range(storeys):
        low = storey * prop.height / storeys + 0.9
        for bay in range(bays):
            a = (bay + 0.25) / bays
            b = (bay + 0.75) / bays
            p = (near[0] + (far[0] - near[0]) * a, near[1] + length * a)
            q = (near[0] + (far[0] - near[0]) * b, near[1] + length * b)
            if p[1] > NEAR_M:
                quad(canvas, camera, shader, _upright(p, q, low, low + 1.4), (60, 70, 80), gain)


def _tree(canvas: Canvas, camera: Camera, shader: Shader, prop: Prop, rng: np.random.Generator
          ) -> None:  # fmt: skip
    x, z = prop.near
    bush = prop.kind == "bush"
    wide = prop.height * float(rng.uniform(0.8, 1.4) if bush else rng.uniform(0.55, 0.8))
    base = 0.0 if bush else prop.height * float(rng.uniform(0.22, 0.34))
    if z < 1.0:
        return
    if not bush:
        trunk = 0.02 * prop.height + 0.03
        shape = np.array([[x - trunk, 0, z], [x + trunk, 0, z], [x + trunk * 0.7, -base * 1.5, z],
                          [x - trunk * 0.7, -base * 1.5, z]])  # fmt: skip
        quad(canvas, camera, shader, shape, (88, 70, 54), 0.8 * shader.light.brightness)
        canvas.finish("vegetation")
    shade, alpha = crown(int(rng.integers(12)))
    corners = np.array([[x - wide / 2, -prop.height, z], [x + wide / 2, -base, z]])
    pixels, _ = camera.project(corners)
    green = np.array([74, 104, 44]) + rng.normal(0, 10, 3) + rng.uniform(-12, 12) * np.array(
        [1.5, 1, 0.3])  # fmt: skip
    billboard(canvas, shader, shade, alpha, pixels, green, shader.light.brightness, z)
    canvas.finish("vegetation")


def billboard(canvas: Canvas, shader: Shader, shade: np.ndarray, alpha: np.ndarray, box: Float,
              rgb: Float, gain: float, depth: float) -> None:  # fmt: skip
    """Paints a picture that faces the camera into the box (2, 2) of pixels."""
    height, width = canvas.image.shape[:2]
    x1, y1, x2, y2 = box.ravel().tolist()
    a, b = max(int(np.floor(x1)), 0), max(int(np.floor(y1)), 0)
    c, d = min(int(np.ceil(x2)) + 1, width), min(int(np.ceil(y2)) + 1, height)
    if a >= c or b >= d:
        return
    scale_x, scale_y = alpha.shape[1] / (x2 - x1), alpha.shape[0] / (y2 - y1)
    step = max(scale_x, scale_y)
    if step > 1.5:  # smaller pictures for far things
        level = min(int(np.log2(step) + 0.5), 6)
        small = (max(alpha.shape[1] >> level, 1), max(alpha.shape[0] >> level, 1))
        shade = cv2.resize(shade, small, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, small, interpolation=cv2.INTER_AREA)
        scale_x, scale_y = small[0] / (x2 - x1), small[1] / (y2 - y1)
    matrix = np.array([[scale_x, 0, (a + 0.5 - x1) * scale_x - 0.5],
                       [0, scale_y, (b + 0.5 - y1) * scale_y - 0.5]])  # fmt: skip
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    opaque = cv2.warpAffine(alpha, matrix, (c - a, d - b), flags=flags)
    shade = cv2.warpAffine(
        shade, matrix, (c - a, d - b), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    lit = np.array(shader.color(tuple(rgb.tolist()), gain, depth))
    horizon = np.array(shader.light.horizon) * float(shader.haze(depth))
    picture = shade[:, :, None] * (lit - horizon).astype(np.float32) + horizon.astype(np.float32)
    area = canvas.image[b:d, a:c]
    weight = opaque[:, :, None].astype(np.float32) / 255
    area[:] = np.clip(area + weight * (picture - area), 0, 255).astype(np.uint8)
    canvas.stamp(a, b, np.where(opaque > 127, 255, 0).astype(np.uint8))


def _barrier(canvas: Canvas, camera: Camera, shader: Shader, prop: Prop) -> None:
    near, far = prop.near, prop.far
    gain = _gain(shader, near, far, (near[0] - prop.side * 10, near[1]))
    if prop.kind == "hedge":
        back = (near[0] + prop.side * 0.8, near[1])
        for a, b in ((near, back), (near, far)):
            quad(canvas, camera, shader, _upright(a, b, 0, prop.height), (70, 98, 44), gain)
        canvas.finish("vegetation")
    elif prop.kind == "wall":
        quad(canvas, camera, shader, _upright(near, far, 0, prop.height), (168, 154, 138), gain)
        quad(canvas, camera, shader, _upright(near, far, prop.height, prop.height + 0.1),
             (196, 190, 180), gain)  # fmt: skip
        canvas.finish("wall")
    else:
        for low, high in ((0.15, 0.3), (prop.height - 0.12, prop.height)):
            quad(canvas, camera, shader, _upright(near, far, low, high), (112, 98, 84), gain)
        for share in np.linspace(0, 1, 20):
            p = (near[0] + (far[0] - near[0]) * share, near[1] + (far[1] - near[1]) * share)
            q = (p[0], p[1] + 0.09)
            quad(canvas, camera, shader, _upright(p, q, 0, prop.height), (124, 108, 92), gain)
        canvas.finish("fence")


def _pole(canvas: Canvas, camera: Camera, shader: Shader, prop: Prop, rng: np.random.Generator
          ) -> None:  # fmt: skip
    x, z = prop.near
    if z < 1.5:
        return
    radius = 0.09 if prop.kind == "lamp" else 0.05
    gray = (118.0, 120.0, 122.0)
    _bar(canvas, camera, shader, (x, 0.0, z), (x, -prop.height, z), radius, gray)
    if prop.kind == "lamp":
        arm = (x - prop.side * 1.6, -prop.height - 0.15, z)
        _bar(canvas, camera, shader, (x, -prop.height, z), arm, 0.05, gray)
        canvas.finish("pole")
        return
    canvas.finish("pole")
    if prop.kind == "sign":
        _sign(canvas, camera, shader, prop, rng)
        canvas.finish("traffic sign")
    else:
        _traffic_light(canvas, camera, shader, prop, rng)
        canvas.finish("traffic light")


def _bar(canvas: Canvas, camera: Camera, shader: Shader, start: Triple, end: Triple,
         radius: float, rgb: Triple) -> None:  # fmt: skip
    """A round bar seen from the side: two tones."""
    pixels, depth = camera.project(np.array([start, end]))
    along = pixels[1] - pixels[0]
    normal = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6)
    half = max(radius * camera.focal / float(depth[0]), 0.3)
    corners = np.array([pixels[0] - normal * half, pixels[0] + normal * half,
                        pixels[1] + normal * half, pixels[1] - normal * half])  # fmt: skip
    gain = shader.light.brightness
    canvas.polygon(corners, shader.color(rgb, gain * 0.75, float(depth[0])))
    if half > 1.5:
        side = np.sign(shader.light.sun[0]) * (1 if normal[0] > 0 else -1)
        inner, outer = normal * (half * 0.1 * side), normal * (half * 0.8 * side)
        lit = np.array([pixels[0] + inner, pixels[0] + outer, pixels[1] + outer, pixels[1] + inner])
        color = shader.color(rgb, gain * 1.1, float(depth[0]))
        fixed = np.rint(lit * (1 << SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(canvas.image, fixed, color, cv2.LINE_AA, SHIFT)


def _disc(x: float, y: float, z: float, radius: float, corners: int, turn: float = 0.0) -> Float:
    """(K, 3) a regular polygon that faces the camera."""
    angles = turn + np.arange(corners) * 2 * np.pi / corners
    return np.stack([x + radius * np.sin(angles), y - radius * np.cos(angles),
                     np.full(corners, z)], axis=1)  # fmt: skip


def _sign(canvas: Canvas, camera: Camera, shader: Shader, prop: Prop, rng: np.random.Generator
          ) -> None:  # fmt: skip
    x, z = prop.near
    z -= 0.08
    y, gain = -prop.height + 0.1, shader.light.brightness
    red, white, blue, yellow = (186, 30, 34), (236, 236, 232), (30, 76, 156), (240, 190, 40)
    kind = int(rng.integers(6))
    plates: list[tuple[Float, tuple[int, int, int]]] = {
        0: [(_disc(x, y, z, 0.36, 14), red), (_disc(x, y, z, 0.27, 14), white)],
        1: [(_disc(x, y, z, 0.42, 3), red), (_disc(x, y, z, 0.27, 3), white)],
        2: [(_disc(x, y, z, 0.36, 14), blue)],
        3: [(_disc(x, y, z, 0.44, 4), white), (_disc(x, y, z, 0.33, 4), yellow)],
        4: [(_disc(x, y, z, 0.4, 8, np.pi / 8), red)],
        5: [(_disc(x, y, z, 0.45, 4, np.pi / 4), blue), (_disc(x, y, z, 0.24, 3), white)],
    }[kind]
    for corners, rgb in plates:
        quad(canvas, camera, shader, corners, rgb, gain)


def _traffic_light(canvas: Canvas, camera: Camera, shader: Shader, prop: Prop,
                   rng: np.random.Generator) -> None:  # fmt: skip
    x, z = prop.near
    z -= 0.1
    gain = shader.light.brightness
    top = prop.height + 0.1
    quad(canvas, camera, shader, _upright((x - 0.17, z), (x + 0.17, z), top - 0.95, top),
         (28, 30, 32), gain)  # fmt: skip
    on = int(rng.integers(3))
    for index, rgb in enumerate(((255, 50, 40), (255, 190, 60), (70, 240, 130))):
        bright = 1.0 / gain if index == on else 0.25
        corners = _disc(x, -top + 0.17 + 0.3 * index, z, 0.11, 10)
        quad(canvas, camera, shader, corners, rgb, gain * bright)
