"""Procedural textures, made once per process from fixed numbers."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = tuple[float, float, float]


@lru_cache(maxsize=8)
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
    return total / total.std()


@lru_cache(maxsize=32)
def crown(variant: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A tree crown: (256, 256) shade around 1 and (256, 256) opacity 0..255."""
    rng = np.random.default_rng([37, variant])
    size = 256
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    field = np.full((size, size), -1.0, np.float32)
    shade = np.zeros((size, size), np.float32)
    blobs = 26
    for _ in range(blobs):
        angle, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1)) * 0.30
        cx, cy = 0.5 + far * np.cos(angle), 0.5 + far * 0.95 * np.sin(angle)
        r = rng.uniform(0.10, 0.19)
        distance = 1 - np.hypot(x - cx, y - cy) / r
        front = distance > 0
        light = 0.78 + 0.4 * (cy - y) / r + 0.15 * (cx - x) / r - 0.5 * (cy - 0.5)
        shade = np.where(front, 0.35 * shade + 0.65 * light.astype(np.float32), shade)
        field = np.maximum(field, distance)
    leaves = noise(256, 5, variant)
    fine = noise(256, 2, variant + 50)
    alpha = np.clip((field + 0.13 * leaves + 0.07 * fine) * 9, 0, 1)
    shade = np.clip(shade + 0.10 * leaves + 0.10 * fine, 0.25, 1.6)
    return shade.astype(np.float32), (alpha * 255).astype(np.uint8)
