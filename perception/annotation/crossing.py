"""Do two edges of a polygon cross properly? Touching, sharing and overlapping are not crossing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from perception.structures import Float

_CHUNK = 256  # edges compared with all others at a time
_ROUNDING = 4e-15  # relative error bound of an orientation in float64
_MAX_EXACT = 500  # exact turns of one chunk; more is a drawing made to take time


def crosses_itself(points: Float) -> bool:
    """True where two edges of the closed polygon (N, 2) cross in a point inside both.

    Touching is told from crossing exactly, rounding or not. At most N²/2 comparisons, far fewer for
    an outline.
    """
    start = points
    end = np.roll(points, -1, axis=0)
    keep = (start != end).any(1)
    start, end = start[keep], end[keep]
    low, high = np.minimum(start, end), np.maximum(start, end)
    order = np.argsort(low[:, 0], kind="stable")
    start, end, low, high = start[order], end[order], low[order], high[order]
    for first in range(0, len(start), _CHUNK):
        last = min(first + _CHUNK, len(start))
        # edges are sorted by their left end: partners start before the right end of the chunk
        stop = int(np.searchsorted(low[:, 0], high[first:last, 0].max(), side="right"))
        i, j = np.nonzero(
            (low[None, first:stop, 0] <= high[first:last, None, 0])
            & (low[None, first:stop, 1] <= high[first:last, None, 1])
            & (low[first:last, None, 1] <= high[None, first:stop, 1])
        )
        i, j = i + first, j + first
        apart = np.abs(order[i] - order[j])  # neighbours share a corner: they cannot cross
        chosen = (i < j) & (apart > 1) & (apart < len(start) - 1)
        i, j = i[chosen], j[chosen]
        if len(i) and _proper(start[i], end[i], start[j], end[j]).any():
            return True
    return False


def _proper(a: Float, b: Float, c: Float, d: Float) -> NDArray[np.bool_]:
    """(K,) True where segment ab crosses segment cd in the inside of both; all (K, 2)."""
    one = _side(a, b, c) * _side(a, b, d)
    two = _side(c, d, a) * _side(c, d, b)
    return (one < 0) & (two < 0)


def _side(a: Float, b: Float, p: Float) -> NDArray[np.float64]:
    """(K,) sign of the turn a→b→p; where floats cannot tell, computed exactly."""
    left = (b[:, 0] - a[:, 0]) * (p[:, 1] - a[:, 1])
    right = (b[:, 1] - a[:, 1]) * (p[:, 0] - a[:, 0])
    sign = np.sign(left - right)
    unsure = np.nonzero(np.abs(left - right) <= _ROUNDING * (np.abs(left) + np.abs(right)))[0]
    if not len(unsure):
        return sign
    a, b, p = a[unsure], b[unsure], p[unsure]
    same = (p == a).all(1) | (p == b).all(1)  # no turn, and computed as such
    # products of whole numbers of this size are exact already
    whole = ((a == np.trunc(a)) & (b == np.trunc(b)) & (p == np.trunc(p))).all(1)
    for k in np.nonzero(~same & ~whole)[0][:_MAX_EXACT]:
        sign[unsure[k]] = _exact_side(a[k], b[k], p[k])
    return sign


def _exact_side(a: Float, b: Float, p: Float) -> int:
    (ax, ay), (bx, by), (px, py) = ([Fraction(float(v)) for v in q] for q in (a, b, p))
    turn = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
    return (turn > 0) - (turn < 0)
