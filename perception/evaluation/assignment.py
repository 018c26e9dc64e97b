"""Greedy assignment in turns, for all images of a data set and many thresholds at once.

Within an image pickers take their turn in order, and each takes one choice that is still free.
Pickers whose choices nobody else wants do not influence each other, so they all pick in the first
turn; only the others wait for their turn within the image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


def assign(
    picker: Rows, choice: Rows, image: Rows, left_out: Mask, reusable: Mask | None = None
) -> Mask:
    """Which of P pairs are taken at each of T thresholds, (P, T).

    Args:
        picker: (P,) who picks, grouped, best choice first; pickers of an image in their order.
        choice: (P,) what is picked; a choice belongs to one image.
        image: image of every picker, by its number; not decreasing over the pickers.
        left_out: (P, T) pairs that do not take part.
        reusable: (P,) pairs whose choice may be taken again and again.
    """
    taken = np.zeros_like(left_out)
    if not len(taken):
        return taken
    pickers, who, choices = np.unique(picker, return_inverse=True, return_counts=True)
    different, what = np.unique(choice, return_inverse=True)
    wish = np.arange(len(who)) - np.repeat(np.cumsum(choices) - choices, choices)
    step = _turns(who, what, image[pickers])[who] * (wish.max() + 1) + wish
    order = np.argsort(step, kind="stable")
    served = np.zeros((len(pickers), left_out.shape[1]), bool)
    busy = np.zeros((len(different), left_out.shape[1]), bool)
    for rows in np.split(order, np.flatnonzero(np.diff(step[order])) + 1):
        # In one step every picker and every choice occurs once.
        take = ~(left_out[rows] | served[who[rows]] | busy[what[rows]])
        taken[rows] = take
        served[who[rows]] |= take
        busy[what[rows]] |= take if reusable is None else take & ~reusable[rows, None]
    return taken


def _turns(who: Rows, what: Rows, image: Rows) -> Rows:
    """When each picker picks: 0 when no other has its choices, else in order, from 1."""
    contested = np.bincount(what)[what] > 1
    waits = np.bincount(who, weights=contested) > 0
    turns = np.zeros(len(image), np.int64)
    waiting = image[waits]
    turns[waits] = np.arange(len(waiting)) - np.searchsorted(waiting, waiting) + 1
    return turns
