"""The statistics of the tables, by rliable and arch: interquartile means, bootstrap, probability of improvement.

Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", arXiv 2108.13264.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import scipy.integrate
import scipy.stats
from arch.bootstrap import IndependentSamplesBootstrap
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


def aggregates(scores: Sequence[np.ndarray], repetitions: int = 2000) -> Estimate:
    """Interquartile mean, mean and optimality gap (how far below 1, on average), over runs and environments.

    :param scores: normalised, for each environment shape (its runs,); environments weigh alike, however many runs
    :param repetitions: bootstrap samples, stratified by environment
    :return: three values, each with its interval
    """
    functions = (metrics.aggregate_iqm, metrics.aggregate_mean, metrics.aggregate_optimality_gap)
    return _stratified(scores, lambda *sample: [function(_alike(sample)) for function in functions], repetitions)


def iqm_curve(scores: np.ndarray, repetitions: int = 2000) -> Estimate:
    """Interquartile mean over runs at each evaluation.

    :param scores: shape (runs, evaluations)
    :param repetitions: bootstrap samples
    """
    scores = np.asarray(scores, dtype=float)
    return _bootstrap(scores[:, None], lambda sample: _pointwise_iqm(sample[:, 0]), repetitions)


def aggregate_curve(scores: Sequence[np.ndarray], repetitions: int = 2000) -> Estimate:
    """Interquartile mean over runs and environments at each evaluation.

    :param scores: for each environment shape (its runs, evaluations); environments weigh alike
    :param repetitions: bootstrap samples, stratified by environment
    """
    return _stratified(scores, lambda *sample: _pointwise_iqm(np.concatenate(_alike(sample))), repetitions)


def probability_of_improvement(scores: np.ndarray, others: np.ndarray, repetitions: int = 2000) -> Estimate:
    """P(a run of the first is better than a run of the second); a tie counts one half.

    :param scores: of the first, shape (runs,)
    :param others: of the second; the number of runs may differ
    :param repetitions: bootstrap samples
    """
    both = [_as_runs_by_tasks(scores), _as_runs_by_tasks(others)]
    return _scalar(_bootstrap(both, lambda x, y: np.array([metrics.probability_of_improvement(x, y)]), repetitions))


def mean_probability_of_improvement(
    scores: Sequence[np.ndarray], others: Sequence[np.ndarray], repetitions: int = 2000
) -> Estimate:
    """P(a run of the first is better than a run of the second), mean over environments.

    :param scores: of the first, for each environment shape (its runs,)
    :param others: of the second, for the same environments
    :param repetitions: bootstrap samples, stratified by environment and by which of the two it is
    """

    def chance(*sample: np.ndarray) -> list[float]:
        pairs = zip(sample[: len(scores)], sample[len(scores) :], strict=True)
        return [np.mean([metrics.probability_of_improvement(x[:, None], y[:, None]) for x, y in pairs])]

    return _scalar(_stratified([*scores, *others], chance, repetitions))


def first_crossing(positions: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    """The first position (step or second) whose score is at least the threshold, else infinity."""
    reached = np.flatnonzero(np.asarray(scores) >= threshold)
    return float(np.asarray(positions)[reached[0]]) if reached.size else math.inf


def mean_height(steps: np.ndarray, scores: np.ndarray) -> float:
    """Area under the learning curve by the trapezoidal rule, over its width: a return again."""
    return float(scipy.integrate.trapezoid(scores, steps) / np.ptp(steps))


def _as_runs_by_tasks(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores, dtype=float).reshape(len(scores), -1)


def _bootstrap(
    scores: np.ndarray | list[np.ndarray], function: Callable[..., np.ndarray], repetitions: int
) -> Estimate:
    with _seeded():
        values, intervals = library.get_interval_estimates({"series": scores}, function, reps=repetitions)
    return Estimate(values["series"], *intervals["series"])


def _stratified(
    samples: Sequence[np.ndarray], function: Callable[..., Sequence[float] | np.ndarray], repetitions: int
) -> Estimate:
    """A function of several samples, which the bootstrap draws anew each by itself, as many of each as there are.

    rliable's own does so for as many runs of each environment.
    """
    samples = [np.asarray(sample, dtype=float) for sample in samples]

    def as_array(*drawn: np.ndarray) -> np.ndarray:
        return np.asarray(function(*drawn))

    bootstrap = IndependentSamplesBootstrap(*samples, seed=0)
    low, high = bootstrap.conf_int(as_array, reps=repetitions, size=0.95, method="percentile")
    return Estimate(as_array(*samples), low, high)


def _alike(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Samples of any sizes as one array of equal weights, (repeated runs, environments), then what a run has."""
    size = math.lcm(*map(len, samples))
    return np.stack([np.repeat(sample, size // len(sample), axis=0) for sample in samples], axis=1)


def _pointwise_iqm(curves: np.ndarray) -> np.ndarray:
    """``metrics.aggregate_iqm`` for all evaluations in one call: a loop takes a minute for a long curve."""
    return scipy.stats.trim_mean(curves, proportiontocut=0.25, axis=0)


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
