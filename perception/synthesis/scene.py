"""Drawing the 3D world of one frame: camera, light, road, what is beside it and who moves on it."""

from __future__ import annotations

import numpy as np

from perception.synthesis.actors import draw_actors
from perception.synthesis.camera import draw_camera
from perception.synthesis.road import draw_road
from perception.synthesis.surroundings import draw_props
from perception.synthesis.world import Light, Scene

CATEGORIES = ("um", "umm", "uu")


def frame_rng(seed: int, index: int) -> np.random.Generator:
    """The random numbers of frame `index`: a function of (seed, index) and nothing else."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))


def draw_scene(seed: int, index: int, size: tuple[int, int]) -> Scene:
    """The scene of frame `index`; `size` = (height, width) changes the picture, not the world."""
    rng = frame_rng(seed, index)
    category = CATEGORIES[int(rng.integers(3))]
    style = ("city", "suburb", "park")[int(rng.choice(3, p=[0.45, 0.35, 0.2]))]
    camera = draw_camera(size, rng)
    light = draw_light(rng)
    road = draw_road(category, rng)
    actors = draw_actors(road, rng)
    props = draw_props(road, style, rng)
    return Scene(camera, light, road, style, actors, props, int(rng.integers(2**31)))


def draw_light(rng: np.random.Generator) -> Light:
    """Clear day, bright clouds, overcast or dusk."""
    kind = ("clear", "clouds", "overcast", "dusk")[int(rng.choice(4, p=[0.4, 0.25, 0.2, 0.15]))]
    high = np.deg2rad(rng.uniform(8, 18) if kind == "dusk" else rng.uniform(25, 60))
    around = rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(high) * np.sin(around), -np.sin(high), np.cos(high) * np.cos(around)])
    table = {
        # sunshine, brightness, tint, zenith, horizon, clouds
        "clear": (0.9, 1.0, (1.03, 1.0, 0.96), (72, 122, 196), (186, 208, 228), 0.25),
        "clouds": (0.65, 0.97, (1.0, 1.0, 1.0), (104, 142, 190), (205, 214, 222), 0.75),
        "overcast": (0.1, 0.88, (0.98, 1.0, 1.02), (176, 184, 192), (214, 218, 220), 0.5),
        "dusk": (0.5, 0.72, (1.1, 0.98, 0.9), (92, 108, 150), (236, 190, 150), 0.4),
    }
    sunshine, brightness, tint, zenith, horizon, clouds = table[kind]
    return Light(
        sun, sunshine * float(rng.uniform(0.85, 1.05)),
        brightness * float(rng.uniform(0.9, 1.1)), tint, _varied(zenith, rng),
        _varied(horizon, rng), haze_m=float(np.exp(rng.uniform(np.log(180), np.log(900)))),
        clouds=float(np.clip(clouds + rng.normal(0, 0.15), 0, 1)),
        noise=float(rng.uniform(0.8, 3.0)), blur=float(rng.uniform(0.0, 0.7)),
    )  # fmt: skip


def _varied(color: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    """A colour with a little noise."""
    r, g, b = np.clip(np.array(color) + rng.normal(0, 6, 3), 0, 255).astype(int).tolist()
    return r, g, b
