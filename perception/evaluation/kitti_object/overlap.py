"""Overlap of boxes, pair by pair: in the image, on the ground plane, in 3D.

All functions take two arrays of equal length and return one number per pair; float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.structures import Float


@dataclass(frozen=True)
class Overlap:
    """One number per pair, each (P,)."""

    intersection: Float
    first: Float  # area or volume of the first box
    second: Float

    @property
    def iou(self) -> Float:
        """Intersection over union; 0 where there is no intersection."""
        union = self.first + self.second - self.intersection
        return _share(self.intersection, union)

    @property
    def over_second(self) -> Float:
        """Intersection over the size of the second box."""
        return _share(self.intersection, self.second)


@dataclass(frozen=True)
class Solid:
    """N boxes that stand on the ground plane."""

    size: Float  # (N, 3) height, width, length
    bottom: Float  # (N, 3) x, y, z of the centre of the bottom face; y points down
    angle: Float  # (N,) around y, radians

    def __getitem__(self, rows: Any) -> Solid:
        return Solid(self.size[rows], self.bottom[rows], self.angle[rows])

    @property
    def area(self) -> Float:
        """(N,) width times length; the product of two negative sides is positive."""
        return self.size[:, 1] * self.size[:, 2]

    @property
    def span(self) -> tuple[Float, Float]:
        """(N,) least and largest x that the box reaches in any position around its centre."""
        reach = np.hypot(self.size[:, 1], self.size[:, 2]) / 2
        return self.bottom[:, 0] - reach, self.bottom[:, 0] + reach


def image_overlap(first: Float, second: Float) -> Overlap:
    """Overlap of (P, 4) xyxy boxes of continuous coordinates."""
    width = np.minimum(first[:, 2], second[:, 2]) - np.maximum(first[:, 0], second[:, 0])
    height = np.minimum(first[:, 3], second[:, 3]) - np.maximum(first[:, 1], second[:, 1])
    shared = np.where((width > 0) & (height > 0), width * height, 0.0)
    return Overlap(shared, _area(first), _area(second))


def ground_overlap(first: Solid, second: Solid) -> Overlap:
    """Overlap of P pairs of rectangles in the (x, z) plane."""
    return Overlap(ground_intersection(first, second), first.area, second.area)


def solid_overlap(first: Solid, second: Solid) -> Overlap:
    """Overlap of P pairs of boxes in 3D."""
    (h1, y1), (h2, y2) = ((s.size[:, 0], s.bottom[:, 1]) for s in (first, second))
    shared_height = (np.minimum(y1, y2) - np.maximum(y1 - h1, y2 - h2)).clip(min=0)
    shared = ground_intersection(first, second) * shared_height
    return Overlap(shared, first.size.prod(1), second.size.prod(1))


def ground_intersection(first: Solid, second: Solid) -> Float:
    """(P,) area shared by two rectangles in the (x, z) plane, exact.

    A rectangle with exactly one side <= 0 shares nothing; two negative sides count as their sizes.
    """
    side1, side2 = np.abs(first.size[:, 1:]), np.abs(second.size[:, 1:])
    offset = first.bottom[:, ::2] - second.bottom[:, ::2]
    reach = np.hypot(*side1.T) + np.hypot(*side2.T)  # twice the sum of the circumscribed radii
    near = (first.area > 0) & (second.area > 0) & (4 * (offset**2).sum(1) < reach**2)
    shared = np.zeros(len(near))
    shared[near] = _clipped_area(
        side1[near],
        side2[near],
        _turned(offset[near], -second.angle[near]),
        first.angle[near] - second.angle[near],
    )
    return shared


def _clipped_area(side1: Float, side2: Float, centre: Float, angle: Float) -> Float:
    """Area of rectangles 1 (width, length, centre, angle) inside axis-parallel rectangles 2.

    At every x the shared height is the upper edge minus the lower edge of rectangle 1, both
    clamped to rectangle 2; so the area is the sum over the edges, run through in order, of the
    integral of the clamped edge. Continuous in every input: touching and equal edges are no
    special cases.
    """
    half_x, half_y = side2[:, 1:] / 2, side2[:, :1] / 2  # length lies along x when the angle is 0
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2  # clockwise: upper edges run right
    corners = side1[:, None, ::-1] * signs  # (P, 4, 2)
    corners = _turned(corners, angle[:, None]) + centre[:, None]
    x, y = corners[..., 0], corners[..., 1]
    x_next, y_next = np.roll(x, -1, 1), np.roll(y, -1, 1)
    left, right = np.clip(x, -half_x, half_x), np.clip(x_next, -half_x, half_x)
    start, end = _between(x, x_next, y, y_next, left), _between(x, x_next, y, y_next, right)
    breaks = [_share_along(start, end, level) for level in (-half_y, half_y)]
    low, high = np.minimum(*breaks), np.maximum(*breaks)
    at = [np.clip(start + t * (end - start), -half_y, half_y) for t in (0.0, low, high, 1.0)]
    mean = (at[0] + at[1]) * low + (at[1] + at[2]) * (high - low) + (at[2] + at[3]) * (1 - high)
    result: Float = ((right - left) * mean / 2).sum(1).clip(min=0)
    return result


def _between(x: Float, x_next: Float, y: Float, y_next: Float, at: Float) -> Float:
    """y of the edge (x, y) to (x_next, y_next) at the abscissa `at`."""
    return y + _share_along(x, x_next, at) * (y_next - y)


def _share_along(start: Float, end: Float, level: Float) -> Float:
    """How far from `start` to `end` the value `level` lies, 0..1; 0 where they are equal."""
    run = end - start
    with np.errstate(over="ignore"):
        share = np.divide(level - start, run, out=np.zeros_like(run), where=run != 0)
    return share.clip(0, 1)


def _turned(points: Float, angle: Float) -> Float:
    """(..., 2) points (x, z) turned by `angle` around y: (1, 0) goes to (cos, -sin)."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, z = points[..., 0], points[..., 1]
    return np.stack([cos * x + sin * z, cos * z - sin * x], axis=-1)


def _area(xyxy: Float) -> Float:
    return (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])


def _share(part: Float, whole: Float) -> Float:
    """part / whole, 0 where nothing is shared."""
    return np.divide(part, whole, out=np.zeros_like(part), where=(part > 0) & (whole != 0))
