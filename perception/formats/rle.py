"""COCO's run lengths of a mask: columns top to bottom, runs of 0 and 1 in turn, 0 first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def encode(mask: NDArray[np.bool_]) -> list[int]:
    """Uncompressed counts of an (H, W) mask."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    bounds = np.concatenate([[0], edges, [mask.size]])
    counts = np.diff(bounds).tolist()
    result: list[int] = counts[:-1] if counts[-1] == 0 and len(counts) > 1 else counts
    return result


def decode(counts: list[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) mask of uncompressed counts; raises `ValueError` where they do not fill `size`."""
    if sum(counts) != size[0] * size[1] or min(counts, default=0) < 0:
        raise ValueError(f"counts must add up to {size[0] * size[1]}, got {sum(counts)}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")
