"""How far a score may be chance: intervals over resampled sets of images.

A set of as many images is drawn with replacement, many times, and scored; the interval holds the
middle 95 % of those scores. Two models are compared on the same draws (paired), which removes what
is common to both: an easy set is easy for both. Source: Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, chapter 13 (percentile intervals).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.run import Outcome

Headline = Callable[[NDArray[np.int64]], Mapping[str, float]]
LEVEL = 0.95
FEWEST = 10  # images; of fewer, the draws say nothing about another set
TOO_FEW = f"too few images for an interval: {FEWEST} or more are needed"


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
    """(low, high) of every headline number that is defined; nothing below `FEWEST` images."""
    if len(outcome.records) < FEWEST:
        return {}
    headline = outcome.benchmark.resampler(outcome.records)
    drawn = _scores(headline, len(outcome.records), draws, seed)
    return {
        name: _interval(drawn[name], len(outcome.records))
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
    the records of both in one order of images. Below `FEWEST` images interval and p
    are NaN.
    """
    if images < FEWEST:
        undrawn = (math.nan, math.nan, math.nan)
        return {
            name: Difference(value, second[0][name], *undrawn)
            for name, value in first[0].items()
            if np.isfinite(value) and np.isfinite(second[0].get(name, np.nan))
        }
    a, b = (_scores(resampler, images, draws, seed) for _, resampler in (first, second))
    found = {}
    for name, value in first[0].items():
        other = second[0].get(name, np.nan)
        if not (np.isfinite(value) and np.isfinite(other)):
            continue
        difference = b[name] - a[name]
        low, high = _interval(difference, images)
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


def _interval(values: NDArray[np.float64], images: int) -> tuple[float, float]:
    tail = tail_of(images)
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def tail_of(images: int) -> float:
    """Share of the draws left out on either side: less than 2.5 % where images are few, as draws
    from few images spread too little. Source: Hesterberg, What Teachers Should Know About the
    Bootstrap, The American Statistician 69 (2015), expanded percentile interval.
    """
    normal, free = NormalDist(), images - 1
    z = normal.inv_cdf((1 + LEVEL) / 2)
    # Student's t of `free` degrees of freedom (Abramowitz and Stegun 26.7.5)
    t = (
        z
        + (z**3 + z) / (4 * free)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    )
    return normal.cdf(-t * math.sqrt(images / free))


def _two_sided(differences: NDArray[np.float64]) -> float:
    """Twice the share of draws on the rarer side of 0, counted with the observation itself."""
    known = differences[np.isfinite(differences)]
    rarer = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
    return min(1.0, 2 * (rarer + 1) / (len(known) + 1))
