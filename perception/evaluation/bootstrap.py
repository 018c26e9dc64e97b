"""How far a score may be chance: intervals over resampled sets of images.

A set of as many images is drawn with replacement, many times, and scored; the interval holds the
middle 95 % of those scores. Two models are compared on the same draws (paired), which removes what
is common to both: an easy set is easy for both. Source: Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, chapter 13 (percentile intervals).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.run import Outcome

Headline = Callable[[NDArray[np.int64]], Mapping[str, float]]
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """Score of the second model minus the first, over the same draws."""

    first: float
    second: float
    low: float  # the middle 95 % of the differences
    high: float
    p: float  # two-sided: how often chance alone turns the sign round

    @property
    def value(self) -> float:
        """Second minus first."""
        return self.second - self.first

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def intervals_of(outcome: Outcome, *, draws: int, seed: int) -> dict[str, tuple[float, float]]:
    """(low, high) of every headline number that is defined."""
    headline = outcome.benchmark.resampler(outcome.records)
    drawn = _scores(headline, len(outcome.records), draws, seed)
    return {
        name: _interval(drawn[name])
        for name, value in outcome.result.headline.items()
        if np.isfinite(value) and np.isfinite(drawn[name]).any()
    }


def compare(
    first: tuple[Mapping[str, float], Headline],
    second: tuple[Mapping[str, float], Headline],
    *,
    images: int,
    draws: int,
    seed: int,
) -> dict[str, Difference]:
    """The differences of two models' headline numbers; each side is (numbers, resampler), with
    the records of both in one order of images.
    """
    a, b = (_scores(resampler, images, draws, seed) for _, resampler in (first, second))
    found = {}
    for name, value in first[0].items():
        other = second[0].get(name, np.nan)
        if not (np.isfinite(value) and np.isfinite(other)):
            continue
        difference = b[name] - a[name]
        low, high = _interval(difference)
        found[name] = Difference(value, other, low, high, _two_sided(difference))
    return found


def multiplicities(images: int, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each image is drawn, (images,), `draws` times."""
    generator = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.bincount(generator.integers(0, images, images), minlength=images)


def _scores(
    headline: Headline, images: int, draws: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """(draws,) values per name; NaN where a draw leaves a score undefined."""
    drawn: Sequence[Mapping[str, float]] = [
        headline(times) for times in multiplicities(images, draws, seed)
    ]
    names = dict.fromkeys(name for one in drawn for name in one)
    return {name: np.array([one.get(name, np.nan) for one in drawn]) for name in names}


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _two_sided(differences: NDArray[np.float64]) -> float:
    """Twice the share of draws on the rarer side of 0, counted with the observation itself."""
    known = differences[np.isfinite(differences)]
    rarer = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
    return min(1.0, 2 * (rarer + 1) / (len(known) + 1))
