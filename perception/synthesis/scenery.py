"""Paints what stands: buildings, trees, poles, signs, lights, fences, walls, hedges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import numpy as np

from perception.structures import Float
from perception.synthesis import textures
from perception.synthesis.camera import Camera
from perception.synthesis.canvas import Canvas, Color, fixed
from perception.synthesis.movers import clip_near
from perception.synthesis.shading import Shader
from perception.synthesis.textures import Texture
from perception.synthesis.world import Prop

Place = tuple[float, float]  # x, z
_NEAR_M = 0.8  # nothing nearer is drawn
_LOWEST = 9.0  # pixels of height; poles below are not drawn
_WALLS = ((202, 184, 158), (184, 102, 78), (222, 212, 194), (168, 158, 148), (212, 190, 134),
          (192, 128, 100), (158, 166, 172), (230, 224, 212), (176, 146, 120), (150, 84, 66),
          (206, 170, 150), (186, 190, 176))  # fmt: skip
_ROOFS = ((146, 74, 54), (112, 62, 50), (92, 92, 98), (70, 66, 68), (160, 96, 70))
_GLASS = (96, 116, 136)


class Stage:
    """What every painter of props needs."""

    def __init__(self, canvas: Canvas, camera: Camera, shader: Shader) -> None:
        self.canvas, self.camera, self.shader = canvas, camera, shader
        self.bright = shader.light.brightness

    def quad(self, corners: Float, rgb: Color, gain: float) -> None:
        """A flat convex polygon (K, 3) of the scene."""
        if min(corners[:, 2].tolist()) < _NEAR_M:
            corners = clip_near(corners, _NEAR_M)
            if len(corners) < 3:
                return
        pixels, depth = self.camera.project(corners)
        self.canvas.polygon(pixels, self.shader.color(rgb, gain, float(depth[0])))

    def wall(
        self,
        a: Place,
        b: Place,
        height: float,
        texture: Texture,
        colors: Float,
        gain: float,
        window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    ) -> None:
        """An upright textured wall from a to b; what is too near is cut off at the end a."""
        left, top, right, bottom = window
        if b[1] < _NEAR_M + 0.1:
            return
        if a[1] < _NEAR_M:
            share = (_NEAR_M - a[1]) / (b[1] - a[1])
            left += (right - left) * share
            a = (a[0] + (b[0] - a[0]) * share, _NEAR_M)
        pixels, depth = self.camera.project(upright(a, b, 0, height))
        matrix = self.shader.matrix(colors, gain, float(depth.mean()))
        self.canvas.textured(pixels, texture, matrix, (left, top, right, bottom))

    def facing(self, a: Place, b: Place, towards: Place) -> float:
        """Light on an upright wall from a to b whose outside looks to `towards`."""
        nx, nz = -(b[1] - a[1]), b[0] - a[0]
        size = max(math.hypot(nx, nz), 1e-9)
        outward = nx * (towards[0] - (a[0] + b[0]) / 2) + nz * (towards[1] - (a[1] + b[1]) / 2)
        sign = 1.0 if outward > 0 else -1.0
        return self.shader.lit_one(sign * nx / size, 0.0, sign * nz / size)

    def outside(self, prop: Prop) -> bool:
        """Whether a prop stands so far to one side that nothing of it is seen."""
        if min(prop.near[1], prop.far[1]) < 2.0:
            return False
        wide = 12.0 if prop.kind in ("building", "house") else 0.6 * prop.height + 2.0
        left, right = (
            [self.camera.focal * (x + sign * wide) / z for x, z in (prop.near, prop.far)]
            for sign in (-1.0, 1.0)
        )
        return max(right) < -self.camera.cx or min(left) > self.camera.size[1] - self.camera.cx


def upright(a: Place, b: Place, low: float, high: float) -> Float:
    """(4, 3) an upright quad from a to b between two heights."""
    return np.array(
        [[a[0], -low, a[1]], [b[0], -low, b[1]], [b[0], -high, b[1]], [a[0], -high, a[1]]]
    )


def paint_prop(stage: Stage, prop: Prop) -> None:
    """Paints one prop and ends its element (a sign and its pole are two)."""
    if stage.outside(prop):
        return
    rng = Random(prop.seed)  # numpy's takes ten times as long to set up
    if prop.kind in ("building", "house"):
        _building(stage, prop, rng)
    elif prop.kind in ("tree", "bush"):
        _tree(stage, prop, rng)
    elif prop.kind == "fence":
        _fence(stage, prop)
    elif prop.kind in ("wall", "hedge"):
        _barrier(stage, prop)
    else:
        _pole(stage, prop, rng)


# ------------------------------------------------------------------------------ buildings


def _building(stage: Stage, prop: Prop, rng: Random) -> None:
    near, far = prop.near, prop.far
    house = prop.kind == "house"
    deep = rng.uniform(7, 11) * prop.side
    storeys = min(max(round(prop.height / 3.1), 1), textures.STOREYS)
    length = math.hypot(far[0] - near[0], far[1] - near[1])
    bays = min(max(round(length / 3.2), 2), textures.BAYS)
    style, first = rng.randrange(textures.FACADES), rng.randrange(textures.BAYS)
    base = np.array([min(max(c + rng.gauss(0, 6), 0.0), 255.0) for c in rng.choice(_WALLS)])
    trim = np.array((232, 230, 224)) if rng.random() < 0.7 else base * 0.6
    glass = np.array(_GLASS) * 0.5 + 0.4 * stage.shader.horizon
    colors = np.array([base, glass, trim])
    behind = (near[0] + deep, near[1])
    end = stage.facing(near, behind, (near[0], near[1] - 10))
    front = stage.facing(near, far, (near[0] - prop.side * 10, near[1]))
    plain = textures.facade(style, shops=False)
    if near[1] > _NEAR_M:
        a, b = (near, behind) if prop.side > 0 else (behind, near)
        window = textures.facade_window(storeys, max(2, round(abs(deep) / 3.2)), first + 3)
        stage.wall(a, b, prop.height, plain, colors, end, window)
    shops = not house and storeys > 2 and rng.random() < 0.5
    texture = textures.facade(style, shops=True) if shops else plain
    window = textures.facade_window(storeys, bays, first)
    stage.wall(near, far, prop.height, texture, colors, front, window)
    if house:
        _roof(stage, prop, deep, rng.choice(_ROOFS), base, end)
    else:
        _cornice(stage, prop, behind, trim, end, front)
    stage.canvas.finish("building")


def _cornice(
    stage: Stage, prop: Prop, behind: Place, trim: Float, end: float, front: float
) -> None:
    """A ledge along the top of a flat roof."""
    r, g, b = (float(c) for c in trim * 0.9)
    if prop.near[1] > _NEAR_M:
        stage.quad(upright(prop.near, behind, prop.height - 0.35, prop.height), (r, g, b), end)
    stage.quad(upright(prop.near, prop.far, prop.height - 0.35, prop.height), (r, g, b), front)


def _roof(stage: Stage, prop: Prop, deep: float, rgb: Color, wall: Float, end: float) -> None:
    """A gable at the near end and the slope towards the street."""
    near, far, eave = prop.near, prop.far, prop.height
    ridge = eave + abs(deep) * 0.42
    over = -0.4 * np.sign(deep)
    mid = deep / 2
    gable = np.array(
        [
            [near[0], -eave, near[1]],
            [near[0] + deep, -eave, near[1]],
            [near[0] + mid, -ridge, near[1]],
        ]
    )
    r, g, b = (float(c) for c in wall)
    if near[1] > _NEAR_M:
        stage.quad(gable, (r, g, b), end)
    start = near[1] - 0.3
    slope = np.array(
        [
            [near[0] + over, -eave + 0.3, start],
            [far[0] + over, -eave + 0.3, far[1]],
            [far[0] + mid, -ridge, far[1]],
            [near[0] + mid, -ridge, start],
        ]
    )
    normal = np.cross(slope[1] - slope[0], slope[3] - slope[0])
    normal = normal / np.linalg.norm(normal)
    normal = normal if normal[1] < 0 else -normal
    eye = np.array([0.0, -stage.camera.height_m, 0.0])
    if (slope[0] - eye) @ normal < 0:
        stage.quad(slope, rgb, float(stage.shader.lit(normal[None])[0]))


# -------------------------------------------------------------------------------- plants


def _tree(stage: Stage, prop: Prop, rng: Random) -> None:
    x, z = prop.near
    if z < 1.5:
        return
    bush = prop.kind == "bush"
    wide = prop.height * (rng.uniform(0.9, 1.5) if bush else rng.uniform(0.58, 0.85))
    base = 0.0 if bush else prop.height * rng.uniform(0.2, 0.32)
    if not bush:
        trunk = 0.011 * prop.height + 0.04
        near = trunk * stage.camera.focal / z > 2  # wide enough for two tones
        for share, tone in ((1.0, 0.62), (0.5, 0.85)) if near else ((1.0, 0.7),):
            low, high = trunk * share, trunk * 0.7 * share
            shift = (1 - share) * trunk * float(np.sign(stage.shader.light.sun[0]))
            shape = np.array(
                [
                    [x - low + shift, 0, z],
                    [x + low + shift, 0, z],
                    [x + high + shift, -base * 1.6, z],
                    [x - high + shift, -base * 1.6, z],
                ]
            )
            stage.quad(shape, (104, 84, 66), tone * stage.bright)
    shade, opacity = textures.crown(rng.randrange(textures.CROWNS))
    corners = np.array([[x - wide / 2, -prop.height, z], [x + wide / 2, -base * 0.8, z]])
    box, _ = stage.camera.project(corners)
    warm = rng.uniform(-14, 16)
    green = np.array(
        [[max(c + w * warm + rng.gauss(0, 7), 20.0) for c, w in ((80, 1.6), (108, 0.9), (46, 0.2))]]
    )
    matrix = stage.shader.matrix(green * 2, stage.bright, z)
    stage.canvas.sprite(box, shade, opacity, matrix)
    stage.canvas.finish("vegetation")


# ------------------------------------------------------------------------------ barriers


def _barrier(stage: Stage, prop: Prop) -> None:
    """A hedge or a garden wall."""
    near, far = prop.near, prop.far
    hedge = prop.kind == "hedge"
    texture = textures.leaves() if hedge else textures.masonry()
    main = (98, 132, 60) if hedge else (188, 174, 156)
    colors = np.array([main, (0, 0, 0), (206, 200, 190)], np.float64)
    thick = 0.8 if hedge else 0.25
    back = (near[0] + prop.side * thick, near[1])
    if near[1] > _NEAR_M:
        gain = stage.facing(near, back, (near[0], near[1] - 10))
        pixels, depth = stage.camera.project(upright(near, back, 0, prop.height))
        if prop.side < 0:
            pixels = pixels[[1, 0, 3, 2]]
        matrix = stage.shader.matrix(colors, gain, float(depth[0]))
        stage.canvas.textured(pixels, texture, matrix, (0.8, 0.0, 1.0, 1.0))
    gain = stage.facing(near, far, (near[0] - prop.side * 10, near[1]))
    stage.wall(near, far, prop.height, texture, colors, gain)
    stage.canvas.finish("vegetation" if hedge else "wall")


def _fence(stage: Stage, prop: Prop) -> None:
    """Boards on two rails; labelled as a closed surface, as Cityscapes does."""
    near, far = prop.near, prop.far
    gain = stage.facing(near, far, (near[0] - prop.side * 10, near[1]))
    rgb = (138.0, 118.0, 98.0)
    whole = upright(near, far, 0.0, prop.height)
    if whole[:, 2].min() < _NEAR_M:
        return
    pixels, _ = stage.camera.project(whole)
    if abs(pixels[1, 0] - pixels[0, 0]) < 14:  # too narrow to see the boards
        stage.quad(whole, rgb, gain * 0.85)
        stage.canvas.finish("fence")
        return
    stage.canvas.silhouette(pixels)
    for low, high in ((0.2, 0.32), (prop.height - 0.3, prop.height - 0.18)):
        stage.quad(upright(near, far, low, high), rgb, gain * 0.8)
    boards = 22
    share = np.arange(boards) / boards
    ends = np.stack([share, share + 0.62 / boards], 1)
    x = near[0] + (far[0] - near[0]) * ends
    z = near[1] + (far[1] - near[1]) * ends
    zero = np.zeros_like(x)
    corners = np.stack(
        [np.stack([x, zero - 0.05, z], -1), np.stack([x, zero - prop.height, z], -1)], 1
    )
    projected, depth = stage.camera.project(corners)
    color = stage.shader.color(rgb, gain, float(depth.mean()))
    for board in fixed(projected):
        stage.canvas.highlight(board.reshape(4, 2)[[0, 1, 3, 2]], color)
    stage.canvas.finish("fence")


# --------------------------------------------------------------------------------- poles


def _pole(stage: Stage, prop: Prop, rng: Random) -> None:
    x, z = prop.near
    if z < 1.5 or prop.height * stage.camera.focal / z < _LOWEST:
        return
    gray = (124.0, 126.0, 128.0) if prop.seed % 3 else (74.0, 80.0, 82.0)
    radius = 0.085 if prop.kind == "lamp" else 0.045
    _bar(stage, (x, 0.0, z), (x, -prop.height, z), radius, gray)
    if prop.kind == "lamp":
        _bar(stage, (x, 0.0, z), (x, -0.9, z), 0.12, gray)
        tip = x - prop.side * 1.7
        _bar(stage, (x, -prop.height, z), (tip, -prop.height - 0.2, z), 0.05, gray)
        head = np.array(
            [
                [tip - 0.32, -prop.height - 0.16, z],
                [tip + 0.32, -prop.height - 0.16, z],
                [tip + 0.22, -prop.height - 0.34, z],
                [tip - 0.22, -prop.height - 0.34, z],
            ]
        )
        stage.quad(head, (92, 94, 96), stage.bright)
        stage.canvas.finish("pole")
        return
    stage.canvas.finish("pole")
    if prop.kind == "sign":
        _sign(stage, prop, rng)
        stage.canvas.finish("traffic sign")
    else:
        _traffic_light(stage, prop, rng)
        stage.canvas.finish("traffic light")


def _bar(stage: Stage, start: Color, end: Color, radius: float, rgb: Color) -> None:
    """A round bar seen from the side: dark, with a lighter stripe towards the sun."""
    pixels, depth = stage.camera.project(np.array([start, end]))
    along = pixels[1] - pixels[0]
    normal = np.array([-along[1], along[0]]) / max(math.hypot(along[0], along[1]), 1e-6)
    half = max(radius * stage.camera.focal / float(depth[0]), 0.3)
    out = normal * half
    corners = np.array([pixels[0] - out, pixels[0] + out, pixels[1] + out, pixels[1] - out])
    stage.canvas.polygon(corners, stage.shader.color(rgb, stage.bright * 0.75, float(depth[0])))
    if half > 1.5:
        side = np.sign(stage.shader.light.sun[0]) * (1 if normal[0] > 0 else -1)
        inner, outer = out * (0.1 * side), out * (0.8 * side)
        lit = np.array([pixels[0] + inner, pixels[0] + outer, pixels[1] + outer, pixels[1] + inner])
        color = stage.shader.color(rgb, stage.bright * 1.1, float(depth[0]))
        stage.canvas.highlight(fixed(lit), color)


def _disc(x: float, y: float, z: float, radius: float, corners: int, turn: float = 0.0) -> Float:
    """(K, 3) a regular polygon that faces the camera."""
    angles = turn + np.arange(corners) * 2 * np.pi / corners
    return np.stack(
        [x + radius * np.sin(angles), y - radius * np.cos(angles), np.full(corners, z)], axis=1
    )


def _sign(stage: Stage, prop: Prop, rng: Random) -> None:
    x, z = prop.near
    z -= 0.08
    y = -prop.height + 0.1
    red, white, blue, yellow = (190, 30, 34), (238, 238, 234), (30, 78, 160), (242, 192, 40)
    black = (30, 30, 32)
    kind = rng.randrange(7)
    plates: Sequence[tuple[Float, tuple[int, int, int]]] = {
        0: [(_disc(x, y, z, 0.37, 16), red), (_disc(x, y, z, 0.28, 16), white),
            (_bar_on(x - 0.07, y, z, 0.045, 0.13), black),
            (_bar_on(x + 0.08, y, z, 0.05, 0.13), black)],
        1: [(_disc(x, y, z, 0.44, 3), red), (_disc(x, y, z, 0.29, 3), white),
            (_bar_on(x, y, z, 0.035, 0.1), black)],
        2: [(_disc(x, y, z, 0.37, 16), blue), (_bar_on(x, y, z, 0.06, 0.22), white)],
        3: [(_disc(x, y, z, 0.45, 4), white), (_disc(x, y, z, 0.34, 4), yellow)],
        4: [(_disc(x, y, z, 0.41, 8, np.pi / 8), red), (_bar_on(x, y, z, 0.26, 0.06), white)],
        5: [(_disc(x, y, z, 0.46, 4, np.pi / 4), blue), (_disc(x, y, z, 0.24, 3), white)],
        6: [(_disc(x, y, z, 0.37, 16), red), (_bar_on(x, y, z, 0.25, 0.06), white)],
    }[kind]  # fmt: skip
    for corners, rgb in plates:
        stage.quad(corners, rgb, stage.bright)


def _bar_on(x: float, y: float, z: float, half_width: float, half_height: float) -> Float:
    """(4, 3) an upright rectangle that faces the camera."""
    left, right, low, high = x - half_width, x + half_width, y + half_height, y - half_height
    return np.array([[left, low, z], [right, low, z], [right, high, z], [left, high, z]])


def _traffic_light(stage: Stage, prop: Prop, rng: Random) -> None:
    x, z = prop.near
    z -= 0.1
    top = prop.height + 0.1
    stage.quad(upright((x - 0.18, z), (x + 0.18, z), top - 0.98, top), (30, 32, 34), stage.bright)
    on = rng.randrange(3)
    for index, rgb in enumerate(((255, 50, 40), (255, 190, 60), (70, 240, 130))):
        gain = 1.0 if index == on else 0.22 * stage.bright
        stage.quad(_disc(x, -top + 0.18 + 0.31 * index, z, 0.12, 12), rgb, gain)
