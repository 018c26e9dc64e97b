"""Which frames a step sees: pure functions of (seed, step), so that resuming needs no state.

Every frame is seen once per epoch; classes and sizes are drawn equally often, in rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
LARGEST_TABLE = 1 << 22  # frames; beyond, an order is computed element by element
_BITS = (1 << 64) - 1


def batch_indices(seed: int, step: int, *, frames: int, batch_size: int) -> list[int]:
    """Frame indices of the batch of `step`: a new permutation in every epoch, none left out."""
    first = step * batch_size
    return [_draw(seed, first + i, frames) for i in range(batch_size)]


def balanced_indices(
    seed: int, step: int, *, frames_of_class: Sequence[Sequence[int]], batch_size: int
) -> list[int]:
    """Frame indices drawn by class, not by image: every class with frames equally often.

    `frames_of_class[c]` lists the frames that show class c; a class without frames takes no part.
    """
    pools = [pool for pool in frames_of_class if len(pool)]
    if not pools:
        raise ValueError("no class has a frame")
    chosen = []
    for n in range(step * batch_size, (step + 1) * batch_size):
        c = _draw(seed, n, len(pools))
        chosen.append(pools[c][_draw(seed + 1 + c, n // len(pools), len(pools[c]))])
    return chosen


def choice_of_step(seed: int, step: int, options: Sequence[T]) -> T:
    """One of the options (e.g. image sizes); equally often, in random order."""
    return options[_draw(seed, step, len(options))]


def sample_seed(seed: int, step: int, index: int) -> int:
    """Seed of the augmentation of sample `index` of a step."""
    return int(np.random.SeedSequence([seed, step, index]).generate_state(1)[0])


def _draw(seed: int, n: int, options: int) -> int:
    """The n-th element of an endless row of permutations of range(options)."""
    if options > LARGEST_TABLE:
        return scrambled(seed, n // options, n % options, options)
    return int(_permutation(seed, n // options, options)[n % options])


@lru_cache(maxsize=256)
def _permutation(seed: int, epoch: int, options: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch, options]).permutation(options)


def scrambled(seed: int, epoch: int, index: int, options: int) -> int:
    """Element `index` of a permutation of range(options) that is never written down.

    Four rounds of a Feistel network permute the numbers of 2k bits that cover the range; a number
    outside is sent through again until one inside comes out, less than four times on average.
    Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002, section 4.
    """
    half = max(1, ((options - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = _round_keys(seed, epoch, options)
    while True:
        left, right = index >> half, index & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        index = left << half | right
        if index < options:
            return index


@lru_cache(maxsize=256)
def _round_keys(seed: int, epoch: int, options: int) -> tuple[int, ...]:
    drawn = np.random.SeedSequence([seed, epoch, options]).generate_state(4, np.uint64)
    return tuple(int(key) for key in drawn)


def _mixed(value: int) -> int:
    """64 well mixed bits (the finaliser of splitmix64)."""
    value = (value + 0x9E3779B97F4A7C15) & _BITS
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _BITS
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _BITS
    return value ^ value >> 31
