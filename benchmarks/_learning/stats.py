"""The statistics of the tables, by rliable: interquartile means, bootstrap, probability of improvement.

Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", arXiv 2108.13264.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import scipy.stats
from rliable import library, metrics


class Estimate(NamedTuple):
    """A value and its 95% interval; arrays for a curve."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def iqm(scores: np.ndarray, repetitions: int = 2000) -> Estimate:
    """Interquartile mean over runs: the mean without the best and the worst quarter.

    :param scores: one per run, shape (runs,)
    :param repetitions: bootstrap samples
    """
    return _scalar(_bootstrap(_as_runs_by_tasks(scores), lambda x: np.array([metrics.aggregate_iqm(x)]), repetitions))


def aggregates(scores: np.ndarray, repetitions: int = 2000) -> Estimate:
    """Interquartile mean, mean and optimality gap (how far below 1, on average), over runs and environments.

    :param scores: normalised, shape (runs, environments); the bootstrap is stratified by environment
    :param repetitions: bootstrap samples
    :return: three values, each with its interval
    """
    functions = (metrics.aggregate_iqm, metrics.aggregate_mean, metrics.aggregate_optimality_gap)
    return _bootstrap(scores, lambda sample: np.array([function(sample) for function in functions]), repetitions)


def iqm_curve(scores: np.ndarray, repetitions: int = 2000) -> Estimate:
    """Interquartile mean over runs, and environments if there are any, at each evaluation.

    :param scores: shape (runs, evaluations) or (runs, environments, evaluations)
    :param repetitions: bootstrap samples
    """

    def pointwise(sample: np.ndarray) -> np.ndarray:
        # metrics.aggregate_iqm for all evaluations in one call: a loop takes a minute for a long curve
        return scipy.stats.trim_mean(sample.reshape(-1, sample.shape[-1]), proportiontocut=0.25, axis=0)

    scores = np.asarray(scores, dtype=float)
    return _bootstrap(scores.reshape(len(scores), -1, scores.shape[-1]), pointwise, repetitions)


def probability_of_improvement(scores: np.ndarray, others: np.ndarray, repetitions: int = 2000) -> Estimate:
    """P(a run of the first is better than a run of the second); a tie counts one half.

    :param scores: of the first, shape (runs,), or (runs, environments) for the mean over environments
    :param others: of the second; the number of runs may differ
    :param repetitions: bootstrap samples
    """
    with _seeded():
        values, intervals = library.get_interval_estimates(
            {"pair": [_as_runs_by_tasks(scores), _as_runs_by_tasks(others)]},
            lambda x, y: np.array([metrics.probability_of_improvement(x, y)]),
            reps=repetitions,
        )
    return _scalar(Estimate(values["pair"], *intervals["pair"]))


def first_crossing(positions: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    """The first position (step or second) whose score is at least the threshold, else infinity."""
    reached = np.flatnonzero(np.asarray(scores) >= threshold)
    return float(np.asarray(positions)[reached[0]]) if reached.size else math.inf


def mean_height(steps: np.ndarray, scores: np.ndarray) -> float:
    """Area under the learning curve by the trapezoidal rule, over its width: a return again."""
    steps, scores = np.asarray(steps, dtype=float), np.asarray(scores, dtype=float)
    area = np.sum(np.diff(steps) * (scores[1:] + scores[:-1]) / 2)  # numpy's own has two names in two versions
    return float(area / (steps[-1] - steps[0]))


def _as_runs_by_tasks(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores, dtype=float).reshape(len(scores), -1)


def _bootstrap(scores: np.ndarray, function: Callable[[np.ndarray], np.ndarray], repetitions: int) -> Estimate:
    with _seeded():
        values, intervals = library.get_interval_estimates({"series": scores}, function, reps=repetitions)
    return Estimate(values["series"], *intervals["series"])


def _scalar(estimate: Estimate) -> Estimate:
    return Estimate(*(np.asarray(part).reshape(()) for part in estimate))


@contextmanager
def _seeded() -> Iterator[None]:
    """Make rliable repeatable: it draws from numpy's global generator, whatever ``random_state`` says."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
