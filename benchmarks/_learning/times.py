"""What it takes to reach a return: steps and seconds, over the seeds, and the ratio of two series' seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks._learning import stats
from benchmarks._learning.data import Runs


class Times(NamedTuple):
    """Medians over the seeds of a series; infinite where half of the seeds never get there.

    Seconds are those of the seeds that were made on the environment's machine, and not a number if there are none.
    """

    seeds: int
    reached: int  #: seeds that get there
    steps: float
    seconds: float
    seconds_at_least: float  #: the median if each seed that never gets there got there right after its last step
    whole_run: float  #: seconds


class Ratio(NamedTuple):
    """Of the reference's seconds to another series'; not a number where the reference does not get there."""

    value: float
    is_bound: bool  #: the ratio is this or less, as the other's runs end before half of them get there


def times(runs: Runs, env: str, series: str, level: float) -> Times:
    """What a series takes to reach a return.

    :param runs: the stored runs
    :param env: Gymnasium id
    :param series: name of the series
    :param level: the return
    """
    curves = runs.curves.query("env == @env and series == @series")
    by_seed = [curve.sort_values("step") for _, curve in curves.groupby("seed")]
    steps = [stats.first_crossing(curve["step"], curve["eval_mean"], level) for curve in by_seed]
    timed = [curve for curve in by_seed if curve["seconds"].notna().all()]
    seconds = [stats.first_crossing(curve["seconds"], curve["eval_mean"], level) for curve in timed]
    whole = [curve["seconds"].iloc[-1] for curve in timed]
    return Times(
        seeds=len(by_seed),
        reached=int(np.isfinite(steps).sum()),
        steps=float(np.median(steps)),
        seconds=_median(seconds),
        seconds_at_least=_median(np.minimum(seconds, whole)),
        whole_run=_median(whole),
    )


def _median(values: Sequence[float] | np.ndarray) -> float:
    return float(np.median(values)) if len(values) else math.nan


def ratio(ours: Times, other: Times) -> Ratio:
    """The reference's seconds to a return over another series'.

    :param ours: of the reference
    :param other: of the other series
    """
    if not math.isfinite(ours.seconds) or not other.seconds_at_least:
        return Ratio(math.nan, False)
    return Ratio(ours.seconds / other.seconds_at_least, math.isinf(other.seconds))
