"""Counting pixels by runs of equal values: label images are large and mostly flat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pair_codes(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """(pixels,) `256 * first + second` of two arrays of one shape."""
    codes = first.astype(np.uint16).ravel()
    codes <<= 8
    codes |= second.ravel()
    return codes


def run_starts(*columns: NDArray[np.integer]) -> NDArray[np.intp]:
    """Indices where any of the (pixels,) columns changes; 0 is the first."""
    if not len(columns[0]):
        return np.zeros(0, np.intp)
    changes = np.empty(len(columns[0]), bool)
    changes[0] = True
    np.not_equal(columns[0][1:], columns[0][:-1], out=changes[1:])
    for column in columns[1:]:
        changes[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changes)


def run_lengths(starts: NDArray[np.intp], pixels: int) -> NDArray[np.int64]:
    """How many pixels each run holds."""
    return np.diff(starts, append=pixels).astype(np.int64)


def tally(codes: NDArray[np.integer], weights: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """(bins,) sums of the integer weights by code; exact below 2^53."""
    return np.bincount(codes, weights=weights, minlength=bins).astype(np.int64)
