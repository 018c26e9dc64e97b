"""The pinhole camera of the synthetic scenes, in KITTI's terms.

Scene frame: the rectified camera frame moved down to the ground: x right, y down, z forward,
metres, y = 0 on the road, origin below the camera. `P2` projects to pixels whose centres are
integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perception.structures import Calibration, Float

KITTI_SIZE = (375, 1242)  # (height, width) that the intrinsics below belong to
_FOCAL, _CX, _CY = 721.5377, 609.5593, 172.854
_BASELINES = {"P0": 0.0, "P1": -0.53715, "P2": 0.06217, "P3": -0.47055}  # metres along x
_VELO_TO_CAM = [[0, -1, 0, -0.004], [0, 0, -1, -0.076], [1, 0, 0, -0.272]]
_IMU_TO_VELO = [[1, 0, 0, -0.809], [0, 1, 0, 0.320], [0, 0, 1, -0.800]]


@dataclass(frozen=True)
class Camera:
    """A camera that looks along +z, level with the ground."""

    size: tuple[int, int]  # (height, width), pixels
    focal: float  # pixels
    cx: float  # principal point, pixels (centres are integers)
    cy: float  # also the row of the horizon
    height_m: float  # above the ground
    rectification: Float  # (3, 3) R0_rect: raw camera frame to rectified camera frame

    @property
    def shift_m(self) -> float:
        """How far camera 2, which takes the pictures, stands left of the frame's origin."""
        return _BASELINES["P2"]

    def project(self, points: Float) -> tuple[Float, Float]:
        """(..., 3) scene points to (..., 2) pixels and (...) depths in metres."""
        depth = points[..., 2]
        eye, center = self._eye_and_center
        pixels = points[..., :2] + eye
        pixels *= (self.focal / depth)[..., None]
        pixels += center
        return pixels, depth

    @cached_property
    def _eye_and_center(self) -> tuple[Float, Float]:
        """(2,) what points move by until the eye is the origin, and (2,) the principal point."""
        return np.array([self.shift_m, self.height_m]), np.array([self.cx, self.cy])

    def ground_rows(self, far_m: float) -> tuple[int, Float]:
        """First image row with ground nearer than `far_m`, and the depth of every row from it."""
        first = int(np.floor(self.cy + self.focal * self.height_m / far_m)) + 1
        first = min(max(first, 0), self.size[0])
        rows = np.arange(first, self.size[0])
        return first, self.focal * self.height_m / (rows.astype(np.float64) - self.cy)

    def calibration(self) -> Calibration:
        """All matrices of a KITTI calib file, `Tr_cam_to_road` included."""
        intrinsics = np.array([[self.focal, 0, self.cx], [0, self.focal, self.cy], [0, 0, 1.0]])
        matrices = {
            name: intrinsics @ np.hstack([np.eye(3), np.array([[shift], [0], [0]])])
            for name, shift in _BASELINES.items()
        }
        to_raw = self.rectification.T
        matrices["R0_rect"] = self.rectification
        matrices["Tr_velo_to_cam"] = to_raw @ np.array(_VELO_TO_CAM)
        matrices["Tr_imu_to_velo"] = np.array(_IMU_TO_VELO)
        matrices["Tr_cam_to_road"] = np.hstack(
            [self.rectification, np.array([[0.0], [-self.height_m], [0.0]])]
        )
        return Calibration(matrices)


def draw_camera(size: tuple[int, int], rng: np.random.Generator) -> Camera:
    """A camera with KITTI's field of view at any image size; a little different every time.

    The horizontal field of view is kept; the horizon stays at the same share of the height.
    """
    height, width = size
    scale = width / KITTI_SIZE[1]
    angles = rng.normal(0, 0.006, 3)
    return Camera(
        size,
        focal=_FOCAL * scale,
        cx=(_CX + 0.5 + rng.uniform(-4, 4)) * scale - 0.5,
        cy=(_CY + 0.5 + rng.uniform(-9, 9)) * height / KITTI_SIZE[0] - 0.5,
        height_m=1.65 + float(rng.uniform(-0.06, 0.06)),
        rectification=_rotation(*angles),
    )


def _rotation(a: float, b: float, c: float) -> Float:
    """(3, 3) rotation about x, then y, then z."""
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    result: Float = z @ y @ x
    return result
