"""Any raster as polygons that Pillow draws back pixel for pixel.

A raster is cut into chains of rows: each row one run of pixels, each run overlapping the one above.
The polygon "left ends downwards, right ends upwards" covers exactly the pixels of its chain, so
circles, lines, points and masks with holes fit a format that knows only polygons.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Polygon = list[list[int]]


def polygons_of(mask: NDArray[np.bool_], *, x: int = 0, y: int = 0) -> list[Polygon]:
    """Polygons of integer points, at least 3 each, that together cover exactly `mask` (H, W).

    `x`, `y`: column and row of the first pixel of `mask`, added to all points.
    """
    rows, first, last = _runs(mask)
    chains: list[list[tuple[int, int, int]]] = []
    above: list[tuple[int, int, int]] = []  # (first, last, chain) of the row above
    here: list[tuple[int, int, int]] = []
    previous = -2
    k = 0
    for row, start, end in zip(rows.tolist(), first.tolist(), last.tolist(), strict=True):
        if row != previous:
            above = here if row == previous + 1 else []
            here, previous, k = [], row, 0
        while k < len(above) and above[k][1] < start:
            k += 1
        if k < len(above) and above[k][0] <= end:
            chain = above[k][2]
            k += 1  # a run continues one chain at most
        else:
            chain = len(chains)
            chains.append([])
        chains[chain].append((row + y, start + x, end + x))
        here.append((start, end, chain))
    return [_outline(chain) for chain in chains]


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], ...]:
    """Row, first and last column of every run of True, in reading order."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    rows, first = np.nonzero(change == 1)
    _, after = np.nonzero(change == -1)
    return rows, first, after - 1


def _outline(chain: list[tuple[int, int, int]]) -> Polygon:
    left = [[first, row] for row, first, _ in chain]
    right = [[last, row] for row, _, last in reversed(chain)]
    points = left + right
    return points if len(points) > 2 else [*points, points[-1][:]]
