"""Mean and 95 % confidence interval over seeds."""

import math
from collections.abc import Sequence
from statistics import NormalDist, mean, stdev
from typing import NamedTuple

# Quantiles of Student's t at 0.975 for 1 to 10 degrees of freedom; beyond, the expansion below is exact to 4e-4.
_EXACT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


LEAST = 3
"""The fewest values that get an interval: for two, its half-width is 13 times their distance from the mean."""


class Interval(NamedTuple):
    """The mean of `n` values, and half the width of its 95 % interval (None for fewer than three values)."""

    mean: float
    half: float | None
    n: int


def interval(values: Sequence[float]) -> Interval:
    """The t-interval of the mean: mean +- t(0.975, n - 1) s / sqrt(n), s the sample standard deviation.

    The values are assumed to be independent draws from one normal distribution.
    """
    n = len(values)
    half = student_t(n - 1) * stdev(values) / math.sqrt(n) if n >= LEAST else None
    return Interval(mean(values), half, n)


def student_t(freedom: int) -> float:
    """The 0.975 quantile of Student's t, by its expansion about the normal quantile (Abramowitz, Stegun 26.7.5)."""
    if freedom <= len(_EXACT):
        return _EXACT[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))
