"""The grid of cells behind FastBox: where cells lie and which of them answer for which box.

Cells have row-major order; the centre of cell (row i, column j) is ((j + 0.5) * cell, (i + 0.5) *
cell) in image pixels. The grid covers the image: ceil(H / cell) x ceil(W / cell).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from perception.errors import PerceptionError
from perception.models.layers import Size

IGNORE_MARGIN = 2.0  # pixels by which ignore regions are shrunk on every side


class Assignment(NamedTuple):
    """What each cell of one image is to answer."""

    box: Tensor  # (M,) int64 index of its box; 0 where not positive
    positive: Tensor  # (M,) bool
    ignore: Tensor  # (M,) bool: touches an ignore region and is not positive


def grid_size(size: Size, cell: int) -> Size:
    """(rows, columns) of cells that cover an image of `size`."""
    return (size[0] + cell - 1) // cell, (size[1] + cell - 1) // cell


def check_cell(cell: int, strides: Mapping[str, int], setting: str) -> None:
    """Raises a `PerceptionError` where features of one of the strides cannot meet the grid."""
    for name, stride in strides.items():
        if cell < 1 or (cell % stride and stride % cell):
            raise PerceptionError(
                f"{setting}.cell",
                str(cell),
                f"a multiple or a divisor of {stride}, the stride of {name}",
                "Use 8, 16 or 32.",
            )


def cell_centers(size: Size, cell: int, device: torch.device) -> Tensor:
    """(M, 2) float32 centres x, y of the cells of an image of `size`."""
    return points(*grid_size(size, cell), cell, device)


def points(rows: int, columns: int, cell: int, device: torch.device) -> Tensor:
    """(rows * columns, 2) float32 centres x, y of a grid of cells."""
    y = (torch.arange(rows, device=device, dtype=torch.float32) + 0.5) * cell
    x = (torch.arange(columns, device=device, dtype=torch.float32) + 0.5) * cell
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).flatten(0, 1)


def size_tensor(size: Size, like: Tensor) -> Tensor:
    """(2,) height, width as `like` is; filled, not copied, so that no traced graph freezes them."""
    return torch.stack([like.new_full((), side) for side in size])


def with_image(rows: Tensor) -> Tensor:
    """(N, M, C) -> (N * M, 1 + C): the number of its image before each row."""
    numbers = torch.arange(rows.shape[0], device=rows.device, dtype=rows.dtype)
    return torch.cat([numbers[:, None, None].expand(-1, rows.shape[1], 1), rows], 2).flatten(0, 1)


def to_grid(features: Tensor, stride: int, size: Size, cell: int) -> Tensor:
    """(N, C, h, w) features of `stride` pooled or resized to the grid (N, C, rows, columns)."""
    rows, columns = grid_size(size, cell)
    if stride < cell:
        features = F.avg_pool2d(features, cell // stride, ceil_mode=True, count_include_pad=False)
    elif stride > cell:
        features = F.interpolate(
            features, scale_factor=stride // cell, mode="bilinear", align_corners=False
        )
    return features[:, :, :rows, :columns]


def assign(centers: Tensor, cell: int, xyxy: Tensor, ignore: Tensor, *, focus: float) -> Assignment:
    """Gives each cell the box with the nearest centre among those it may answer for.

    A cell may answer for a box that overlaps it and whose centre is less than `focus` cells away
    along both axes. Boxes with `ignore` are for no cell; cells that touch one, shrunk by 2 pixels,
    are ignored unless they are positive.

    Args:
        centers: (M, 2) pixels.
        cell: side of a cell, pixels.
        xyxy: (K, 4) pixels.
        ignore: (K,) bool.
        focus: in cells.

    Source: MultiNet, 2018, section III-C (the closest centre wins).
    """
    none = torch.zeros(len(centers), dtype=torch.bool, device=centers.device)
    if not len(xyxy):
        return Assignment(none.long(), none, none)
    low, high = centers[:, None] - cell / 2, centers[:, None] + cell / 2  # (M, 1, 2)
    overlaps = ((xyxy[:, :2] < high) & (xyxy[:, 2:] > low)).all(-1)
    away = (centers[:, None] - (xyxy[:, :2] + xyxy[:, 2:]) / 2).abs()
    candidate = overlaps & (away < focus * cell).all(-1) & ~ignore
    distance, box = away.square().sum(-1).masked_fill(~candidate, float("inf")).min(1)
    positive = distance.isfinite()
    touched = (xyxy[:, :2] + IGNORE_MARGIN < high) & (xyxy[:, 2:] - IGNORE_MARGIN > low)
    ignored = (touched.all(-1) & ignore).any(1) & ~positive
    return Assignment(torch.where(positive, box, 0), positive, ignored)


def encode(xyxy: Tensor, reference: Tensor) -> Tensor:
    """(..., 4) boxes as (dx / w, dy / h, log w ratio, log h ratio) to reference (cx, cy, w, h)."""
    center, extent = reference[..., :2], reference[..., 2:]
    box = to_center(xyxy)
    ratio = box[..., 2:].clamp_min(1e-3) / extent
    return torch.cat([(box[..., :2] - center) / extent, ratio.log()], -1)


def decode(code: Tensor, reference: Tensor) -> Tensor:
    """The inverse of `encode`: (..., 4) xyxy; sizes change by at most e^±5."""
    center, extent = reference[..., :2], reference[..., 2:]
    center = center + code[..., :2] * extent
    half = code[..., 2:].clamp(-5.0, 5.0).exp() * extent / 2
    return torch.cat([center - half, center + half], -1)


def to_center(xyxy: Tensor) -> Tensor:
    """(..., 4) x1, y1, x2, y2 -> (..., 4) cx, cy, w, h."""
    low, high = xyxy[..., :2], xyxy[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """(..., 4), (..., 4) xyxy -> (...) IoU of each pair; 0 for empty boxes."""
    inside = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = inside.clamp_min(0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp_min(0).prod(-1) for box in (a, b)]
    return shared / (areas[0] + areas[1] - shared).clamp_min(1e-7)
