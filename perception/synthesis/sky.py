"""Sky, clouds and the skyline at the edge of the world."""

from __future__ import annotations

import cv2
import numpy as np

from perception.synthesis.canvas import Canvas, fixed, wide
from perception.synthesis.shading import Shader
from perception.synthesis.textures import noise, tile
from perception.synthesis.world import Scene


def paint_sky(canvas: Canvas, scene: Scene) -> None:
    """Fills the picture with sky: a gradient, and clouds on a plane high above."""
    height, width = canvas.image.shape[:2]
    light = scene.light
    bottom = min(max(round(scene.camera.cy) + 8, 1), height)
    share = np.clip(np.arange(bottom) / max(scene.camera.cy, 1), 0, 1)[:, None, None] ** 0.8
    zenith, horizon = np.array(light.zenith), np.array(light.horizon)
    colors = np.empty((height, 1, 3), np.uint8)  # a row has one colour
    colors[:] = np.clip(horizon * light.brightness, 0, 255)
    colors[:bottom] = np.clip((zenith * (1 - share) + horizon * share) * light.brightness, 0, 255)
    canvas.image[:] = wide(colors, width)
    canvas.region("sky", np.full((height, width), 255, np.uint8))
    if light.clouds < 0.08 or bottom < 8:
        return
    rows, columns = bottom // 3, width // 3  # clouds are soft: a third of the size will do
    scale = scene.camera.focal / 3
    up = (scene.camera.cy / 3 - np.arange(rows)) / scale + 0.05
    across = (np.arange(columns) - scene.camera.cx / 3) / scale
    far = (1 / np.maximum(up, 0.03)).astype(np.float32)[:, None]
    offset = scene.seed % 509
    x = (across.astype(np.float32)[None, :] * far) * 26 + offset
    y = np.broadcast_to(far * 26, x.shape).astype(np.float32)
    density = cv2.remap(tile(512, 7, 31), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    low = 188 - 120 * light.clouds
    alpha = np.clip((density.astype(np.float32) - low) / 70, 0, 0.92)
    alpha *= np.clip(up * 14, 0.1, 1).astype(np.float32)[:, None]
    cover = cv2.resize(alpha, (width, bottom), interpolation=cv2.INTER_LINEAR)
    white = np.array([238, 240, 243]) if light.sunshine > 0.3 else np.array([196, 200, 205])
    cloud = (0.75 * white + 0.25 * horizon) * light.brightness
    for channel in range(3):
        behind = colors[:bottom, :, channel].astype(np.float64)
        mixed = cover * (cloud[channel] - behind)
        mixed += behind
        canvas.image[:bottom, :, channel] = np.clip(mixed, 0, 255, out=mixed)


def paint_skyline(canvas: Canvas, scene: Scene, shader: Shader) -> None:
    """Distant hills, and woods before them, that hide the edge of the world."""
    height, width = canvas.image.shape[:2]
    scale = scene.camera.focal / 721.5
    x = np.arange(0, width + 6, 6)
    bottom = scene.camera.cy + scene.camera.focal * scene.camera.height_m / 200 + 1
    mask = np.zeros((height, width), np.uint8)
    rough = noise(512, 7, 5)
    for octave, (tall, swing, rgb, far) in enumerate(
        ((15, 7, (104, 118, 112), 520.0), (7, 3.2, (84, 104, 66), 240.0))
    ):
        profile = (
            rough[(scene.seed >> octave) % 512] + 0.5 * noise(512, 3, 6)[scene.seed % 512]
        ) / 1.2
        place = (x / scale / (6 - 4 * octave)).astype(int) % 512
        y = scene.camera.cy - scale * np.maximum(tall + swing * profile[place], 2)
        outline = np.concatenate([np.stack([x, y], 1), [[width + 6, bottom], [0, bottom]]])
        corners = fixed(outline)
        color = shader.color(rgb, scene.light.brightness, far)
        cv2.fillPoly(canvas.image, [corners], color, cv2.LINE_AA, 4)
        cv2.fillPoly(mask, [corners], 255, cv2.LINE_8, 4)
    canvas.region("vegetation", mask)
