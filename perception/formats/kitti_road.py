"""KITTI road label images: RGB, road (255, 0, 255), not road (255, 0, 0), unsure (0, 0, 0).

The benchmark reads red > 0 as "evaluated" and blue > 0 as "road". Ego-lane images (`um_lane_*`)
have the same colours. Source: devkit_road of the KITTI road benchmark, 2013.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.files import read_raster, write_image
from perception.formats.label_image import check_size
from perception.structures import RoadLabel

ROAD, NOT_ROAD, UNSURE = (255, 0, 255), (255, 0, 0), (0, 0, 0)


def read_label(
    path: Path, size: tuple[int, int] | None = None, *, lane: Path | None = None
) -> RoadLabel:
    """The label of one frame; `size` (height, width) is that of its image, `lane` a second file.

    Raises:
        PerceptionError: another size, no RGB image, or colours that are not the benchmark's.
    """
    red, blue = _channels(path, size)
    ego = None
    if lane is not None:
        lane_red, lane_blue = _channels(lane, red.shape)
        ego = lane_blue & lane_red
    return RoadLabel(road=blue & red, valid=red, lane=ego)


def write_label(path: Path, label: RoadLabel) -> None:
    """Writes the road image of a frame."""
    write_image(path, colours(label.road, label.valid))


def write_lane(path: Path, label: RoadLabel) -> None:
    """Writes the ego-lane image of a frame; `label.lane` must be there."""
    if label.lane is None:
        raise ValueError("the label has no lane")
    write_image(path, colours(label.lane, label.valid))


def colours(road: NDArray[np.bool_], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of two (H, W) masks."""
    image = np.zeros((*road.shape, 3), np.uint8)
    image[..., 0] = valid.view(np.uint8) * NOT_ROAD[0]
    image[..., 2] = (road & valid).view(np.uint8) * ROAD[2]
    return image


def _channels(
    path: Path, size: tuple[int, ...] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(H, W) bool: red > 0, blue > 0."""
    image = read_raster(path, lossless=True)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        kind = "grey" if image.ndim == 2 else f"{image.shape[2]} channels of {image.dtype}"
        raise PerceptionError(
            path,
            kind,
            "8-bit RGB: magenta road, red other, black unsure",
            "A palette image must be converted to RGB in these colours.",
        )
    if size is not None:
        check_size(path, image.shape, size)
    red, green, blue = (np.ascontiguousarray(image[..., c]) for c in range(3))
    one = np.uint8(1)  # 255 + 1 is 0: both allowed values become at most 1
    if green.any() or (red + one > 1).any() or (blue + one > 1).any() or (blue > red).any():
        foreign = ((image != 0) & (image != 255)).any(axis=2) | (green != 0) | (blue > red)
        row, column = np.argwhere(foreign)[0]
        raise PerceptionError(
            f"{path}: pixel x={column}, y={row}",
            f"RGB {image[row, column].tolist()}",
            "(255, 0, 255) road, (255, 0, 0) not road or (0, 0, 0) unsure",
            "Are red and blue swapped?"
            if image[row, column].tolist() == [0, 0, 255]
            else "Was the label saved as JPEG, or resized with interpolation?",
        )
    return red > 0, blue > 0
