"""KITTI road's bird's-eye view: the road plane in front of the car, 400 x 800 cells of 5 cm.

Follows the benchmark to the pixel, its 1-based coordinates, truncation and float32 cell centres
included (README.md). Column 0 is 10 m to the left, row 0 is 46 m ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

ROWS, COLUMNS = 800, 400
X_MIN, X_MAX, Z_MIN, Z_MAX, CELL = -10, 10, 6, 46, 0.05

# Centres of the cells in metres, rounded to float32 as the benchmark stores them.
_X = np.arange(X_MIN + CELL / 2, X_MAX, CELL).astype(np.float32).astype(np.float64)
_Z = np.arange(Z_MAX - CELL / 2, Z_MIN, -CELL).astype(np.float32).astype(np.float64)
_STRIPS = [slice(row, row + 80) for row in range(0, ROWS, 80)]  # small enough for the cache


@dataclass(frozen=True)
class BevCells:
    """Which pixel of an image each cell shows."""

    inside: NDArray[np.bool_]  # (800, 400) the cell lies in the image
    source: NDArray[np.int32]  # (cells inside,) row * width + column, 0-based

    def gather(self, image: NDArray[T]) -> NDArray[T]:
        """(800, 400, ...) view from above of an (H, W, ...) image; 0 outside of it."""
        flat = image.reshape(-1, *image.shape[2:])
        view = np.zeros((ROWS, COLUMNS, *image.shape[2:]), image.dtype)
        view[self.inside] = flat[self.source]
        return view


def road_to_image(
    projection: NDArray[np.float64],
    rectification: NDArray[np.float64],
    camera_to_road: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(3, 3) homography from (x, z, 1) on the road plane to 1-based image coordinates.

    `projection` is P2 (3, 4), `rectification` R0_rect (3, 3), `camera_to_road` Tr_cam_to_road
    (3, 4).

    Raises:
        numpy.linalg.LinAlgError: Tr_cam_to_road cannot be inverted.
    """
    rotation, pose = np.eye(4), np.eye(4)
    rotation[:3, :3] = rectification
    pose[:3] = camera_to_road
    return (projection @ rotation @ np.linalg.inv(pose))[:, [0, 2, 3]]


def cells_of(homography: NDArray[np.float64], size: tuple[int, int]) -> BevCells:
    """The pixels of an image of `size` (height, width) that the cells show."""
    height, width = size
    (a_x, a_z, a_1), (b_x, b_z, b_1), (c_x, c_z, c_1) = homography
    inside, sources = np.empty((ROWS, COLUMNS), bool), []
    with np.errstate(all="ignore"):  # cells on the horizon divide by zero; they are not inside
        for rows in _STRIPS:
            z = _Z[rows, None]
            depth = (c_z * z + c_1) + c_x * _X
            u = (a_z * z + a_1) + a_x * _X
            v = (b_z * z + b_1) + b_x * _X
            u /= depth
            v /= depth
            seen = (u >= 1) & (u <= width) & (v >= 1) & (v <= height)
            inside[rows] = seen
            if not seen.all():
                u, v = u[seen], v[seen]
            source = v.astype(np.int32).ravel()
            source *= width
            source += u.astype(np.int32).ravel()
            sources.append(source - (width + 1))
    return BevCells(inside, np.concatenate(sources))


def to_bev(image: NDArray[T], homography: NDArray[np.float64]) -> NDArray[T]:
    """(800, 400, ...) view from above of an (H, W, ...) image, same dtype; 0 outside the image."""
    return cells_of(homography, (image.shape[0], image.shape[1])).gather(image)


def to_image(
    view: NDArray[T], homography: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[T]:
    """(H, W, ...) image of `size` that shows an (800, 400, ...) view from above; 0 elsewhere.

    Not part of the benchmark; for pictures.
    """
    height, width = size
    v, u = np.mgrid[1 : height + 1, 1 : width + 1]
    with np.errstate(all="ignore"):
        x, z, scale = np.einsum(
            "ij,jhw->ihw", np.linalg.inv(homography), np.stack([u, v, np.ones_like(u)])
        )
        column = np.rint((x / scale - X_MIN) / CELL)
        row = np.rint(ROWS - (z / scale - Z_MIN) / CELL)
    inside = (column >= 1) & (column <= COLUMNS) & (row >= 1) & (row <= ROWS)
    image = np.zeros((height, width, *view.shape[2:]), view.dtype)
    image[inside] = view[row[inside].astype(int) - 1, column[inside].astype(int) - 1]
    return image
