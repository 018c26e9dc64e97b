"""Procedural textures, made once per process from fixed numbers.

A texture for `Canvas.textured` has three channels of 0..255: how much of a surface's first, second
and third colour stands there (a facade's wall, glass and trim). Colours, light and haze come in
when it is painted, by one 3x4 matrix.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Texture = tuple[NDArray[np.uint8], ...]  # a picture and its halves, quarters, ...


@lru_cache(maxsize=16)
def noise(size: int, octaves: int, seed: int) -> NDArray[np.float32]:
    """(size, size) tileable fractal noise, mean 0, standard deviation 1."""
    rng = np.random.default_rng([911, seed])
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        cells = max(2, size >> octave)
        grid = rng.normal(size=(cells, cells)).astype(np.float32)
        wide = np.pad(grid, 2, mode="wrap")
        zoom = size // cells
        large = cv2.resize(wide, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        total += large[2 * zoom : 2 * zoom + size, 2 * zoom : 2 * zoom + size] * (1.6**octave)
    total -= total.mean()
    result: NDArray[np.float32] = total / total.std()
    return result


@lru_cache(maxsize=16)
def tile(size: int, octaves: int, seed: int) -> NDArray[np.uint8]:
    """The same as bytes: 128 + 32 standard deviations."""
    return np.clip(128 + 32 * noise(size, octaves, seed), 0, 255).astype(np.uint8)


@lru_cache(maxsize=2)
def grain() -> NDArray[np.float32]:
    """(884, 2263, 3) sensor noise: mostly of brightness, a little of colour."""
    rng = np.random.default_rng(77)
    gray = rng.standard_normal((884, 2263, 1), np.float32)
    other = np.stack([np.roll(gray[..., 0], (k, 3 * k), (0, 1)) for k in (61, 131, 211)], -1)
    return gray + np.float32(0.35) * other


def pyramid(picture: NDArray[np.uint8]) -> Texture:
    """The picture and smaller and smaller copies of it."""
    levels = [picture]
    while min(levels[-1].shape[:2]) > 8:
        height, width = levels[-1].shape[:2]
        half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(half.astype(np.uint8, copy=False))
    return tuple(levels)


def level_for(texture: Texture, shrink: float) -> NDArray[np.uint8]:
    """The level for a picture that is shown `shrink` times smaller than it is."""
    return texture[min(int(math.log2(max(shrink, 1.0)) + 0.3), len(texture) - 1)]


# ------------------------------------------------------------------------------- foliage

CROWNS = 14


@lru_cache(maxsize=32)
def crown(variant: int) -> tuple[Texture, Texture]:
    """A tree crown: shade (128 is plain) and opacity, both of one channel."""
    rng = np.random.default_rng([37, variant])
    size = 256
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    field = np.full((size, size), -1.0, np.float32)
    shade = np.zeros((size, size), np.float32)
    slim = variant % 5 == 4  # a cypress, a poplar
    for _ in range(34):
        angle, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1)) * 0.32
        cx, cy = 0.5 + far * np.cos(angle), 0.52 + far * np.sin(angle)
        if slim:
            cx = 0.5 + (cx - 0.5) * (0.4 + 0.6 * cy)
        r = rng.uniform(0.09, 0.17)
        distance = (1 - np.hypot(x - cx, y - cy) / r).astype(np.float32)
        light = 0.80 + 0.42 * (cy - y) / r + 0.15 * (cx - x) / r - 0.7 * (cy - 0.5)
        shade = np.where(distance > 0, 0.3 * shade + 0.7 * light.astype(np.float32), shade)
        field = np.maximum(field, distance)
    leaves, fine = noise(256, 5, variant), noise(256, 2, variant + 50)
    alpha = np.clip((field + 0.13 * leaves + 0.08 * fine) * 9, 0, 1)
    shade = np.clip(shade + 0.10 * leaves + 0.13 * fine, 0.25, 1.7)
    return pyramid(_bytes(shade * 128)), pyramid(_bytes(alpha * 255))


@lru_cache(maxsize=4)
def leaves() -> Texture:
    """A clipped hedge, 4 m wide and as high as it is."""
    rough = 0.5 * noise(256, 4, 61) + 0.5 * noise(256, 2, 62)
    fall = np.linspace(1.12, 0.72, 256, dtype=np.float32)[:, None]
    return pyramid(_layers(np.clip(200 * fall * (1 + 0.22 * rough), 0, 255)))


@lru_cache(maxsize=4)
def masonry() -> Texture:
    """A garden wall: courses of stone under a coping, 4 m wide."""
    height, width = 128, 384
    wall = 205 * (1 + 0.05 * noise(512, 4, 63)[:height, :width])
    wall += 10 * noise(512, 1, 64)[: height // 16 + 1, : width // 32 + 1].repeat(16, 0).repeat(
        32, 1
    )[:height, :width]  # fmt: skip
    for row in range(0, height, 16):
        wall[row : row + 2] *= 0.8
        for column in range((row // 16 % 2) * 16, width, 32):
            wall[row : row + 16, column : column + 2] *= 0.82
    layers = _layers(np.clip(wall, 0, 255))
    layers[:12, :, 2] = 230
    layers[:12, :, 0] = 0
    layers[12:16, :, 0] //= 2
    return pyramid(layers)


# ------------------------------------------------------------------------------- facades

FACADES = 12
STOREY, BAY = 72, 72  # pixels: three metres each
STOREYS, BAYS = 7, 8


@lru_cache(maxsize=2 * FACADES)
def facade(style: int, *, shops: bool) -> Texture:
    """A street front of STOREYS x BAYS; channels wall, glass, trim. Painters show a part of it."""
    rng = np.random.default_rng([53, style])
    picture = np.zeros((STOREYS * STOREY, BAYS * BAY, 3), np.uint8)
    window = _window(style)
    for storey in range(STOREYS):
        for bay in range(BAYS):
            cell = picture[storey * STOREY :, bay * BAY :][:STOREY, :BAY]
            cell[:] = window
            if rng.random() < 0.25:  # drawn curtains
                glass = cell[..., 1]
                glass[glass > 0] = np.minimum(glass[glass > 0] * np.uint8(2), 200)
    ground = picture[-STOREY:]
    if shops:
        _shop_front(ground, rng)
    else:
        for door in range(int(rng.integers(3)) * BAY, BAYS * BAY, 4 * BAY):
            ground[:, door : door + BAY] = _plain_cell()
            ground[16:, door + 22 : door + 50] = (0, 0, 150)
            ground[22:, door + 26 : door + 46] = (0, 60, 40)
    _plaster(picture, style, rng)
    return pyramid(picture)


def facade_window(storeys: int, bays: int, first: int) -> tuple[float, float, float, float]:
    """The part of a facade with so many storeys and bays, its ground floor at the bottom."""
    left = first % (BAYS - bays + 1)
    return left / BAYS, 1 - storeys / STOREYS, (left + bays) / BAYS, 1.0


def _plain_cell() -> NDArray[np.uint8]:
    """(STOREY, BAY, 3) of wall."""
    cell = np.zeros((STOREY, BAY, 3), np.uint8)
    cell[..., 0] = 225
    return cell


_WINDOWS = ((20, 52, 14, 56), (10, 62, 16, 52), (24, 48, 10, 60), (0, 72, 18, 50),
            (14, 58, 12, 58), (18, 54, 16, 54))  # fmt: skip


def _window(style: int) -> NDArray[np.uint8]:
    """(STOREY, BAY, 3) one storey of one bay."""
    cell = _plain_cell()
    kind = style % 6
    left, right, top, bottom = _WINDOWS[kind]
    cell[top - 3 : bottom + 3, max(left - 3, 0) : right + 3] = (0, 0, 215)  # frame
    fall = np.linspace(150, 80, bottom - top).astype(np.uint8)[:, None]
    cell[top:bottom, left:right] = 0
    cell[top:bottom, left:right, 1] = fall
    if kind != 3:
        middle = (left + right) // 2
        cell[top:bottom, middle - 1 : middle + 2] = (0, 0, 205)
    if kind in (0, 4):
        cell[top + 14 : top + 16, left:right] = (0, 0, 205)
    cell[bottom + 3 : bottom + 7, max(left - 5, 0) : right + 5] = (0, 0, 190)  # sill
    cell[bottom + 7 : bottom + 10, max(left - 5, 0) : right + 5, 0] = 170  # its shadow
    if kind == 1:  # balcony
        cell[bottom - 8 : bottom + 10, 4:68] = (0, 0, 120)
        cell[bottom - 4 : bottom + 7, 6:66:4] = (0, 0, 40)
    cell[:3, :, 0] = np.where(cell[:3, :, 0] > 0, 200, 0)
    return cell


def _shop_front(ground: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Shop windows below awnings and signs."""
    ground[:] = 0
    ground[..., 0] = 190
    for bay in range(BAYS):
        x = bay * BAY
        ground[20:66, x + 5 : x + 67] = (0, 0, 70)
        fall = np.linspace(200, 90, 40).astype(np.uint8)[:, None]
        ground[24:64, x + 8 : x + 64] = 0
        ground[24:64, x + 8 : x + 64, 1] = fall
        if rng.random() < 0.6:
            ground[6:18, x + 3 : x + 69] = (0, 0, int(rng.integers(120, 255)))


def _plaster(picture: NDArray[np.uint8], style: int, rng: np.random.Generator) -> None:
    """Bricks or plaster, and stains."""
    height, width = picture.shape[:2]
    wall = picture[..., 0].astype(np.float32)
    rough = noise(512, 6, 21 + style % 3)
    stain = np.tile(rough, (height // 512 + 1, width // 512 + 1))[:height, :width]
    wall *= 1 + 0.05 * stain
    if style % 3 == 0:  # courses of brick
        wall[::4] *= 0.93
        tone = rng.normal(1, 0.05, (height // 4 + 1, width // 9 + 1)).astype(np.float32)
        wall *= tone.repeat(4, 0).repeat(9, 1)[:height, :width]
    picture[..., 0] = _bytes(wall)


def _layers(first: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3) a texture whose first channel is given."""
    picture = np.zeros((*first.shape, 3), np.uint8)
    picture[..., 0] = _bytes(first)
    return picture


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(values, 0, 255).astype(np.uint8)
