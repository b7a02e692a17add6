"""Means with a confidence interval, by the bootstrap, and whether they tell anything."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from quarterdeck.journal.quantile import quantile

LEVEL = 0.95
RESAMPLES = 2000
SEED = 20
ENOUGH = 10
"""Below so many observations the percentile bootstrap covers too little to be believed."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        n: Observations.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is not in the interval."""
        return self.low > 0 or self.high < 0

    @property
    def enough(self) -> bool:
        """Whether there are enough observations for the interval to be believed."""
        return self.n >= ENOUGH


def mean_interval(
    values: Sequence[float], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval | None:
    """Return the mean of independent observations with its percentile bootstrap interval.

    Of differences between pairs this is the paired bootstrap. Efron and Tibshirani (1993), chapter 13.

    Args:
        values: One value an observation; a difference where two things are compared on the same cases.
        level: Share of such intervals that hold the true mean, given enough observations.
        resamples: Samples drawn with replacement.
        seed: The same seed gives the same interval.

    Returns:
        The interval, or None when there are no values.
    """
    if not values:
        return None
    chance = random.Random(seed)
    n = len(values)
    means = [fsum(chance.choices(values, k=n)) / n for _ in range(resamples)]
    low, high = quantile(means, (1 - level) / 2), quantile(means, (1 + level) / 2)
    assert low is not None and high is not None
    return Interval(fsum(values) / n, low, high, n)
