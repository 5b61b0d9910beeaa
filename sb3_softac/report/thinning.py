"""Fewer points of a long series, which still show how far it went."""

from typing import NamedTuple

import numpy as np


class Envelope(NamedTuple):
    """Series in equal parts.

    :param x: (N,), mean place of each part
    :param mean: (N,), mean value
    :param low: (N,), smallest value
    :param high: (N,), largest value
    """

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def envelope(x: np.ndarray, y: np.ndarray, n_points: int) -> Envelope:
    """Mean, smallest and largest value of equally long stretches of a series; the series itself if it is short.

    :param x: (L,), increasing
    :param y: (L,), finite
    :param n_points: largest number of stretches
    """
    if len(x) <= n_points:
        return Envelope(x, y, y, y)
    starts = np.linspace(0, len(x), n_points, endpoint=False).astype(int)
    counts = np.diff([*starts, len(x)])
    return Envelope(
        np.add.reduceat(x, starts) / counts,
        np.add.reduceat(y, starts) / counts,
        np.minimum.reduceat(y, starts),
        np.maximum.reduceat(y, starts),
    )


def picked(n_values: int, n_points: int) -> np.ndarray:
    """Indices of evenly spread values, the first and the last among them."""
    return np.unique(np.linspace(0, n_values - 1, min(n_values, n_points)).round().astype(int))
