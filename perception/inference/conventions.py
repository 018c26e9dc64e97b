"""What exported detectors put out, as boxes, and how an image is laid into their input.

| convention | output | input |
|---|---|---|
| yolox | (N, 5 + C): offsets, log sizes, objectness, classes, at strides 8, 16, 32 | BGR, 0..255 |
| ultralytics | (4 + C, N): centres, sizes, classes (YOLOv8 and later) | RGB, 0..1 |
| yolov5 | (N, 5 + C): centres, sizes, objectness, classes | RGB, 0..1 |
| fastestdet | (5 + C, H, W): objectness, offsets, sizes, classes of every cell | BGR, 0..1 |
| end_to_end | (N, 6): corners, score, class, after suppression (YOLOv10, YOLO26) | RGB, 0..1 |

Images are scaled to fit the input and padded with grey 114: at the right and below (yolox), on all
sides (the others); fastestdet stretches them.
Source: YOLOX demo/ONNXRuntime; ultralytics examples/YOLOv8-ONNXRuntime; YOLOv5 export.py;
FastestDet utils/tool.py (handle_preds).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CONVENTIONS = ("yolox", "ultralytics", "yolov5", "fastestdet", "end_to_end")
GREY = 114
STRIDES = (8, 16, 32)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Letterbox:
    """How an image lies in the input: x of the input = x * scale[0] + left."""

    scale: tuple[float, float]  # of x and of y
    left: int
    top: int

    def undo(self, xyxy: Floats) -> Floats:
        """(N, 4) boxes of the input in pixels of the image."""
        scaled: Floats = (xyxy - [self.left, self.top] * 2) / [*self.scale, *self.scale]
        return scaled


@dataclass(frozen=True)
class Found:
    """N candidates in pixels of the input, before suppression."""

    xyxy: Floats  # (N, 4)
    score: Floats  # (N,)
    label: NDArray[np.int64]  # (N,) class number


def tell_convention(shape: tuple[int, ...], classes: int, size: tuple[int, int]) -> str | None:
    """The convention of an output of `shape` (without the batch); None: none of these.

    YOLOX and YOLOv5 differ in the order of magnitude of nothing but the number of rows: three
    boxes per cell in YOLOv5, one in YOLOX. `size` is the input's (height, width).
    """
    if len(shape) == 3 and shape[0] == 5 + classes:
        return "fastestdet"
    if len(shape) != 2:
        return None
    cells = sum((size[0] // s) * (size[1] // s) for s in STRIDES)
    if shape[1] == 5 + classes:
        return {cells: "yolox", 3 * cells: "yolov5"}.get(shape[0])
    if shape[0] == 4 + classes:
        return "ultralytics"
    return "end_to_end" if shape[1] == 6 else None


def lay_in(
    image: NDArray[np.uint8], size: tuple[int, int], convention: str
) -> tuple[NDArray[np.float32], Letterbox]:
    """(1, 3, H, W) network input of (height, width) `size` from (h, w, 3) RGB."""
    if convention == "fastestdet":
        stretched = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        scales = size[1] / image.shape[1], size[0] / image.shape[0]
        bgr = stretched[..., ::-1].astype(np.float32) / np.float32(255)
        return np.ascontiguousarray(bgr.transpose(2, 0, 1)[None]), Letterbox(scales, 0, 0)
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height = max(1, min(size[0], int(image.shape[0] * scale)))
    width = max(1, min(size[1], int(image.shape[1] * scale)))
    centred = convention != "yolox"
    top = (size[0] - height) // 2 if centred else 0
    left = (size[1] - width) // 2 if centred else 0
    canvas = np.full((*size, 3), GREY, np.float32)
    canvas[top : top + height, left : left + width] = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_LINEAR
    )
    values = canvas / 255 if centred else canvas[..., ::-1]
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None]), Letterbox(
        (scale, scale), left, top
    )


def decode(output: NDArray[np.float32], convention: str, size: tuple[int, int]) -> Found:
    """Candidates of an output without its batch; every one with its best class."""
    rows = output.astype(np.float64)
    if convention == "fastestdet":
        return _decode_cells(rows, size)
    if convention == "end_to_end":
        return Found(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))
    if convention == "ultralytics":
        rows = rows.T
        scores = rows[:, 4:]
    else:
        scores = rows[:, 4:5] * rows[:, 5:]
    centre, extent = rows[:, :2], rows[:, 2:4]
    if convention == "yolox":
        grid, stride = _cells(size)
        centre, extent = (centre + grid) * stride, np.exp(extent) * stride
    label = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), label]
    return Found(np.hstack([centre - extent / 2, centre + extent / 2]), best, label)


def _decode_cells(maps: Floats, size: tuple[int, int]) -> Found:
    """FastestDet's maps: one box per cell, its centre at most a cell away."""
    height, width = maps.shape[1:]
    rows, columns = np.mgrid[:height, :width]
    middle = (np.tanh(maps[1]) + columns) / width, (np.tanh(maps[2]) + rows) / height
    extent = [1 / (1 + np.exp(-m)) for m in maps[3:5]]
    scale = np.array([size[1], size[0]] * 2, np.float64)
    corners = [m - e / 2 for m, e in zip(middle, extent, strict=True)]
    corners += [m + e / 2 for m, e in zip(middle, extent, strict=True)]
    score = maps[0] ** 0.6 * maps[5:].max(axis=0) ** 0.4
    xyxy = np.stack(corners, axis=-1).reshape(-1, 4) * scale
    return Found(xyxy, score.ravel(), maps[5:].argmax(axis=0).ravel().astype(np.int64))


def _cells(size: tuple[int, int]) -> tuple[Floats, Floats]:
    """(N, 2) column and row, (N, 1) stride of every cell, finest stride first."""
    grids, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: size[0] // stride, : size[1] // stride]
        grids.append(np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float64))
        strides.append(np.full((rows.size, 1), float(stride)))
    return np.concatenate(grids), np.concatenate(strides)
