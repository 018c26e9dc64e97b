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
    return int(_permutation(seed, n // options, options)[n % options])


@lru_cache(maxsize=256)
def _permutation(seed: int, epoch: int, options: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch, options]).permutation(options)
