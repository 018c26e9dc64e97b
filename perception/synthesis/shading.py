"""Light and air: how a surface colour becomes a pixel colour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perception.structures import Float
from perception.synthesis.world import Light

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Shader:
    """The light of one scene, ready for use."""

    light: Light

    @cached_property
    def tint(self) -> Float:
        """(3,) RGB gains."""
        return np.array(self.light.tint)

    @cached_property
    def horizon(self) -> Float:
        """(3,) RGB of the haze."""
        return np.array(self.light.horizon, np.float64)

    def lit(self, normals: Float) -> Float:
        """(N,) gain of surfaces with unit normals (N, 3), about 1 for ground in the open sun."""
        sun, share = self.light.sun, self.light.sunshine
        direct = np.maximum(normals @ sun, 0.0) / max(0.35, -sun[1])
        ambient = 0.78 - 0.22 * normals[:, 1]
        result: Float = self.light.brightness * (
            (1 - 0.5 * share) * ambient + 0.5 * share * np.minimum(direct, 1.35)
        )
        return result

    def lit_one(self, x: float, y: float, z: float) -> float:
        """`lit` of one unit normal."""
        light = self.light
        sx, sy, sz = light.sun.tolist()
        direct = min(max(x * sx + y * sy + z * sz, 0.0) / max(0.35, -sy), 1.35)
        half = 0.5 * light.sunshine
        result: float = light.brightness * ((1 - half) * (0.78 - 0.22 * y) + half * direct)
        return result

    @property
    def shadow(self) -> float:
        """What is left of the light in a cast shadow."""
        return 1 - 0.55 * self.light.sunshine

    def tinted(self, colors: Float) -> Float:
        """(..., 3) colours under the scene's tint."""
        return colors * self.tint

    def haze(self, depth: Float) -> Float:
        """Share of the haze in front of things at these depths."""
        return 1 - np.exp(-depth / self.light.haze_m)

    def veil(self, depth: float) -> float:
        """The same for one depth."""
        return 1 - math.exp(-depth / self.light.haze_m)

    def color(self, rgb: Color, gain: float, depth: float) -> Color:
        """One colour, lit and behind the haze."""
        veil = self.veil(depth)
        clear = 1 - veil
        t, h = self.light.tint, self.light.horizon
        return (
            min(255.0, rgb[0] * gain * t[0]) * clear + h[0] * veil,
            min(255.0, rgb[1] * gain * t[1]) * clear + h[1] * veil,
            min(255.0, rgb[2] * gain * t[2]) * clear + h[2] * veil,
        )

    def colors(self, rgb: Float, gain: Float, depth: float) -> Float:
        """(N, 3) colours of something at one depth, lit by (N,) gains and behind the haze."""
        veil = self.veil(depth)
        lit = np.minimum(rgb * gain[:, None] * self.tint, 255.0)
        return lit * (1 - veil) + self.horizon * veil

    def matrix(self, colors: Float, gain: float, depth: float) -> Float:
        """(3, C + 1) from C texture channels of 0..255 to RGB; colors (C, 3) stand at 255."""
        veil = self.veil(depth)
        matrix = np.empty((3, len(colors) + 1))
        matrix[:, :-1] = (colors * (gain * (1 - veil) / 255) * self.tint).T
        matrix[:, -1] = self.horizon * veil
        return matrix
