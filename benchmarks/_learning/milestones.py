"""Returns on the way: at given steps, over the seeds."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from benchmarks._learning import stats
from benchmarks._learning.data import Runs


def milestone_table(runs: Runs, steps: list[int], reference: str, repetitions: int) -> pd.DataFrame:
    """One row for each environment, series and step.

    :param runs: the stored runs
    :param steps: where to look; the deterministic evaluations of the curves are read, so each must be one of theirs
    :param reference: the series that comes first
    :param repetitions: bootstrap samples
    :raises ValueError: no evaluation at a step
    """
    rows = []
    for env in sorted(runs.curves["env"].unique()):
        for series in runs.series_of(env, reference):
            curves = runs.curves.query("env == @env and series == @series")
            rows += [_row(curves[curves["step"] == step], env, series, step, repetitions) for step in steps]
    return pd.DataFrame(rows)


def _row(found: pd.DataFrame, env: str, series: str, step: int, repetitions: int) -> dict[str, Any]:
    if found.empty:
        raise ValueError(f"{env} {series} has no evaluation at step {step}; choose another for --milestones.")
    return {"env": env, "series": series, "step": step, **summary(found["eval_mean"], repetitions)}


def summary(scores: pd.Series, repetitions: int) -> dict[str, Any]:
    """What is told of one score for each seed.

    :param scores: a row for each seed
    :param repetitions: bootstrap samples
    """
    middle = stats.iqm(scores.to_numpy(), repetitions)
    return {
        "seeds": len(scores),
        "mean": scores.mean(),
        "std_of_seeds": scores.std(ddof=1) if len(scores) > 1 else math.nan,
        "iqm": float(middle.value),
        "iqm_low": float(middle.low),
        "iqm_high": float(middle.high),
        "worst_seed": scores.min(),
        "best_seed": scores.max(),
    }
