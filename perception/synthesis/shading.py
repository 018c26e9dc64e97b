"""Light and air: how a surface colour becomes a pixel colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.structures import Float
from perception.synthesis.scene import Light


@dataclass(frozen=True)
class Shader:
    """The light of one scene, ready for use."""

    light: Light

    def lit(self, normals: Float) -> Float:
        """(N,) gain of surfaces with unit normals (N, 3), 1 for ground in the open sun."""
        sun, share = self.light.sun, self.light.sunshine
        up = -normals[:, 1]
        direct = np.maximum(normals @ sun, 0.0) / max(0.35, -sun[1])
        ambient = 0.78 + 0.22 * up
        return self.light.brightness * (
            (1 - 0.5 * share) * ambient + 0.5 * share * np.minimum(direct, 1.35)
        )

    @property
    def shadow(self) -> float:
        """What is left of the light in a cast shadow on the ground."""
        return 1 - 0.55 * self.light.sunshine

    def tinted(self, colors: Float) -> Float:
        """(..., 3) colours under the scene's tint."""
        return colors * np.array(self.light.tint)

    def haze(self, depth: Float | float) -> Float:
        """Share of the haze in front of something at this depth."""
        return 1 - np.exp(-np.asarray(depth) / self.light.haze_m)

    def color(
        self, rgb: Float | tuple[float, ...], gain: float, depth: float
    ) -> tuple[float, float, float]:
        """One colour, lit and behind the haze."""
        veil = float(self.haze(depth))
        r, g, b = (
            min(255.0, c * gain * t) * (1 - veil) + h * veil
            for c, t, h in zip(rgb, self.light.tint, self.light.horizon, strict=True)
        )
        return r, g, b

    def colors(self, rgb: Float, gain: Float, depth: Float) -> Float:
        """(N, 3) colours, lit by (N,) gains and behind the haze of (N,) depths."""
        veil = self.haze(depth)[:, None]
        lit = np.minimum(rgb * gain[:, None] * np.array(self.light.tint), 255.0)
        return lit * (1 - veil) + np.array(self.light.horizon) * veil

    def veiled(self, image: NDArray[np.float32], depth: float) -> NDArray[np.float32]:
        """A lit picture (.., .., 3) of something flat at one depth, behind the haze."""
        veil = np.float32(self.haze(depth))
        return image * (1 - veil) + np.array(self.light.horizon, np.float32) * veil
