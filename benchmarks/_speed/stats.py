"""The statistics of the tables: medians, with an interval that assumes nothing about the distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median with its 95% interval, quartiles and extremes."""
    low, high = median_interval(values)
    smallest, first, median, third, largest = np.percentile(values, (0, 25, 50, 75, 100))
    named = {"median": median, "low": low, "high": high, "q1": first, "q3": third, "min": smallest, "max": largest}
    return {name: round(float(value), 4) for name, value in named.items()}


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of the median from order statistics: the narrowest symmetric one that is wide enough.

    The k-th smallest and the k-th largest of n values enclose the median unless fewer than k values lie on one of its
    sides, of which the binomial distribution gives the probability. With fewer than six values no interval reaches
    95%: then the extremes are returned.
    """
    ordered = sorted(float(value) for value in values)
    n = len(ordered)
    k = 1
    while 2 * (k + 1) <= n and coverage(n, k + 1) >= confidence:
        k += 1
    return ordered[k - 1], ordered[n - k]


def coverage(n: int, k: int) -> float:
    """Probability that the k-th smallest and the k-th largest of n values enclose the median."""
    return 1.0 - 2.0 * sum(math.comb(n, i) for i in range(k)) / 2.0**n
