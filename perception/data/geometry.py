"""Where an augmented image looks: one homography for pixels, labels, boxes and calibration.

Scale, crop, padding, flip, rotation and perspective become one 3x3 matrix from the pixels of the
original to those of the sample (continuous coordinates, docs/coordinates.md). Everything is moved
by that matrix once: labels cannot drift from their image, and pixels are interpolated only once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.data.batch import DenseTarget, Sample, SampleBoxes, Target
from perception.labels import IGNORE_INDEX
from perception.tasks import Kind

Matrix = NDArray[np.float64]  # (3, 3)
ScaleOf = Literal["pixels", "contain", "cover"]
FILL = (124, 116, 104)  # colour outside the image: the mean of ImageNet


@dataclass(frozen=True)
class View:
    """What `draw_view` may do."""

    scale: tuple[float, float] = (0.5, 2.0)  # drawn log-uniformly
    scale_of: ScaleOf = "pixels"  # what scale 1 means, see `base`
    flip: float = 0.5  # probability of mirroring left to right
    rotate: float = 0.0  # largest angle, degrees
    perspective: float = 0.0  # largest shift of a corner, share of the sample's size
    balance: float = 0.0  # probability that the crop is placed around a class drawn equally

    def base(self, size: tuple[int, int], out: tuple[int, int]) -> float:
        """Scale 1: original pixels; the whole image just inside `out`; `out` just covered."""
        ratios = out[0] / size[0], out[1] / size[1]
        return {"pixels": 1.0, "contain": min(ratios), "cover": max(ratios)}[self.scale_of]


STILL = View(scale=(1.0, 1.0), scale_of="contain", flip=0.0)


def draw_view(view: View, rng: np.random.Generator, sample: Sample, out: tuple[int, int]) -> Matrix:
    """A random matrix from the pixels of the sample to those of an image of size `out`."""
    height, width = sample.image.shape[:2]
    draws = rng.random(6)
    corners = rng.uniform(-1, 1, (4, 2))
    focus = _focus(sample, rng) if draws[0] < view.balance else None
    low, high = np.log(view.scale)
    scale = view.base((height, width), out) * float(np.exp(low + (high - low) * draws[1]))
    left = _offset(draws[2], scale * width, out[1], focus and scale * focus[0])
    top = _offset(draws[3], scale * height, out[0], focus and scale * focus[1])
    matrix: Matrix = np.array([[scale, 0, left], [0, scale, top], [0, 0, 1]], np.float64)
    if draws[4] < view.flip:
        matrix = np.array([[-1, 0, out[1]], [0, 1, 0], [0, 0, 1]], np.float64) @ matrix
    if view.rotate:
        matrix = _rotation(view.rotate * (2 * draws[5] - 1), out) @ matrix
    if view.perspective:
        matrix = _tilt(corners * view.perspective, out) @ matrix
    return matrix


def apply_view(
    matrix: Matrix, sample: Sample, out: tuple[int, int], *, min_visible: float, min_size: float
) -> Sample:
    """The sample seen through `matrix`, of size `out`; uncovered pixels are ignored.

    A box of which less than `min_visible` of its area is left, or which is narrower or lower than
    `min_size` pixels, becomes an ignored region; one that is outside goes.
    """
    pixel = _to_pixel_centres(matrix)

    def seen(target: Target) -> Target:
        if isinstance(target, SampleBoxes):
            size = sample.image.shape[:2]
            return move_boxes(target, matrix, size, out, min_visible, min_size)
        fill = (float("nan"),) if target.kind is Kind.VALUES else (IGNORE_INDEX,)
        return replace(target, array=_warp(target.array, pixel, out, cv2.INTER_NEAREST, fill))

    return Sample(
        sample.key,
        _warp_image(sample.image, matrix, out),
        targets={task: seen(target) for task, target in sample.targets.items()},
        projection=None if sample.projection is None else pixel @ sample.projection,
    )


def move_boxes(
    boxes: SampleBoxes,
    matrix: Matrix,
    size: tuple[int, int],
    out: tuple[int, int],
    min_visible: float,
    min_size: float,
) -> SampleBoxes:
    """Boxes clipped to the original image, moved (tight around their corners), clipped again."""
    before = _clip(boxes.xyxy, size)
    moved = _tight(before, matrix)
    after = _clip(moved, out)
    left = _area(after) / np.maximum(_area(moved), 1e-9)
    small = (after[:, 2:] - after[:, :2]).min(axis=1, initial=np.inf) < min_size
    kept = (_area(before) > 0) & (_area(after) > 0)
    ignore = boxes.ignore | (left < min_visible) | small
    return SampleBoxes(after, boxes.label, ignore)[kept]


def _focus(sample: Sample, rng: np.random.Generator) -> tuple[float, float] | None:
    """(x, y) on a class drawn equally from those in the sample; None: it has no labels."""
    label = _first_ids(sample)
    if label is not None:
        counts = np.bincount(label.ravel(), minlength=256)[:IGNORE_INDEX]
        present = np.flatnonzero(counts)
        if not len(present):
            return None
        c = rng.choice(present)
        position = np.flatnonzero(label.ravel() == c)[rng.integers(counts[c])]
        return float(position % label.shape[1]) + 0.5, float(position // label.shape[1]) + 0.5
    boxes = next((t for t in sample.targets.values() if isinstance(t, SampleBoxes)), None)
    if boxes is None or boxes.ignore.all():
        return None
    true = boxes[~boxes.ignore]
    box = rng.choice(true.xyxy[true.label == rng.choice(np.unique(true.label))])
    return float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2


def _first_ids(sample: Sample) -> NDArray[np.uint8] | None:
    """The ids of the first task with classes, else of the first mask."""
    for kind in (Kind.CLASSES, Kind.MASK):
        for target in sample.targets.values():
            if isinstance(target, DenseTarget) and target.kind is kind:
                return target.array
    return None


def _offset(draw: float, length: float, out: int, focus: float | None) -> float:
    """Where the scaled image of `length` starts in `out` pixels; `focus` stays inside."""
    low, high = sorted((0.0, out - length))
    if focus is not None and length > out:
        low, high = max(low, -focus), min(high, out - focus)
    offset = low + (high - low) * draw
    return float(np.clip(np.round(offset), np.ceil(low), np.floor(high))) if high > low else low


def _rotation(degrees: float, out: tuple[int, int]) -> Matrix:
    """About the centre of `out`."""
    turned = cv2.getRotationMatrix2D((out[1] / 2, out[0] / 2), degrees, 1.0)
    return np.vstack([turned, [0, 0, 1]])


def _tilt(shifts: NDArray[np.float64], out: tuple[int, int]) -> Matrix:
    """Moves the four corners of `out` by shares of its size."""
    size = np.array([out[1], out[0]], np.float64)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
    moved = corners + shifts * size
    found = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
    return np.asarray(found, np.float64)


def _to_pixel_centres(matrix: Matrix) -> Matrix:
    """The same map for coordinates in which pixel centres are integers (OpenCV, KITTI's P2)."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]], np.float64)
    return np.linalg.inv(half) @ matrix @ half


def _warp_image(
    image: NDArray[np.uint8], matrix: Matrix, out: tuple[int, int]
) -> NDArray[np.uint8]:
    """Bilinear; the seen part is shrunk first where pixels would be skipped."""
    height, width = image.shape[:2]
    outline = np.array([[0, 0], [out[1], 0], [out[1], out[0]], [0, out[0]]], np.float64)
    inverse: Matrix = np.linalg.inv(matrix).astype(np.float64)
    corners = _project(outline, inverse)
    x1, y1 = np.maximum(np.floor(corners.min(0)) - 2, 0).astype(int)
    x2, y2 = np.minimum(np.ceil(corners.max(0)) + 2, (width, height)).astype(int)
    if x2 <= x1 or y2 <= y1:
        return np.full((*out, 3), FILL, np.uint8)
    seen = image[y1:y2, x1:x2]
    shift = np.array([[1, 0, x1], [0, 1, y1], [0, 0, 1]], np.float64)
    matrix = matrix @ shift
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2] / matrix[2, 2]))))
    if scale < 0.8:
        h, w = max(1, round(seen.shape[0] * scale)), max(1, round(seen.shape[1] * scale))
        factors = np.diag([seen.shape[1] / w, seen.shape[0] / h, 1.0])
        seen = np.asarray(cv2.resize(seen, (w, h), interpolation=cv2.INTER_AREA), np.uint8)
        matrix = matrix @ factors
    return _warp(seen, _to_pixel_centres(matrix), out, cv2.INTER_LINEAR, FILL)


def _warp(
    image: NDArray[Any],
    pixel: Matrix,
    out: tuple[int, int],
    interpolation: int,
    fill: tuple[float, ...],
) -> NDArray[Any]:
    """Pixels of any number type, which they keep."""
    size, mode = (out[1], out[0]), cv2.BORDER_CONSTANT
    if np.array_equal(pixel[2], (0, 0, 1)):
        warped = cv2.warpAffine(
            image, pixel[:2], size, flags=interpolation, borderMode=mode, borderValue=fill
        )
    else:
        warped = cv2.warpPerspective(
            image, pixel, size, flags=interpolation, borderMode=mode, borderValue=fill
        )
    return np.asarray(warped)


def _project(points: NDArray[np.float64], matrix: Matrix) -> NDArray[np.float64]:
    """(N, 2) points through a homography."""
    moved = np.c_[points, np.ones(len(points))] @ matrix.T
    result: NDArray[np.float64] = moved[:, :2] / moved[:, 2:]
    return result


def _tight(xyxy: NDArray[np.float64], matrix: Matrix) -> NDArray[np.float64]:
    """(K, 4) boxes around the moved corners."""
    corners = xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
    moved = _project(corners, matrix).reshape(-1, 4, 2)
    return np.concatenate([moved.min(1), moved.max(1)], axis=1)


def _clip(xyxy: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    bound = np.array([size[1], size[0], size[1], size[0]], np.float64)
    return np.clip(xyxy, 0, bound)


def _area(xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.maximum(xyxy[:, 2] - xyxy[:, 0], 0) * np.maximum(
        xyxy[:, 3] - xyxy[:, 1], 0
    )
    return result
