"""The targets of the suite against what was measured."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from benchmarks._learning.data import Runs
from benchmarks._learning.milestones import summary
from benchmarks._learning.suite import Target, Task
from benchmarks._learning.times import ratio, times
from benchmarks._output import Columns, bound, number

TARGETS: Columns = (
    ("", lambda row: row.env),
    ("", lambda row: f"{row.kind} {row.target:g}"),
    ("at step", lambda row: row.at if row.at == row.until else f"{row.at} to {row.until}"),
    ("asked", lambda row: "every seed" if row.every_seed else "mean over seeds"),
    ("seeds", lambda row: row.seeds),
    ("measured", lambda row: number(row.measured)),
    ("by", lambda row: f"{row.margin:+.1f}"),
    ("", lambda row: _met(row.met)),
    ("mean at the first step", lambda row: number(row.mean)),
    ("std of seeds", lambda row: number(row.std_of_seeds)),
    ("worst seed", lambda row: number(row.worst_seed)),
)

TIME_TARGETS: Columns = (
    ("", lambda row: row.env),
    ("threshold", lambda row: f"{row.threshold:g}"),
    ("seconds", lambda row: number(row.seconds)),
    ("seeds that reach it", lambda row: f"{row.reached} of {row.seeds}"),
    ("", lambda row: row.against),
    ("its seconds", lambda row: f"{'> ' if row.is_bound else ''}{number(row.other_seconds)}"),
    ("its seeds that reach it", lambda row: f"{row.other_reached} of {row.other_seeds}"),
    ("ratio", lambda row: bound(row.ratio, row.is_bound)),
    ("at most", lambda row: f"{row.at_most:g}, {_met(row.ratio <= row.at_most)}"),
    ("aim", lambda row: f"{row.aim:g}, {_met(row.ratio <= row.aim)}"),
)


def _met(met: bool) -> str:
    return "met" if met else "missed"


def target_table(runs: Runs, tasks: list[Task], reference: str, repetitions: int) -> pd.DataFrame:
    """One row for each target and each series that has runs, the reference first.

    :param runs: the stored runs
    :param tasks: of the suite
    :param reference: the series that the targets are for
    :param repetitions: bootstrap samples
    """
    return pd.DataFrame(
        [
            {"env": task.env, "series": series, **_row(scores_by_step(runs, task.env, series), target, repetitions)}
            for task in tasks
            for series in runs.series_of(task.env, reference)
            for target in task.targets
        ]
    )


def time_table(runs: Runs, tasks: list[Task], reference: str) -> pd.DataFrame:
    """One row for each environment that asks how soon the reference reaches the threshold, and has the runs.

    :param runs: the stored runs
    :param tasks: of the suite
    :param reference: the series that the targets are for
    """
    return pd.DataFrame(
        [
            _time_row(runs, task, reference)
            for task in tasks
            if task.time and {(task.env, reference), (task.env, task.time.against)} <= runs.metas.keys()
        ]
    )


def scores_by_step(runs: Runs, env: str, series: str) -> pd.DataFrame:
    """Deterministic return of each seed (row) at each evaluation (column).

    The last column is the finished agent's evaluation, which has more episodes than those on the way.
    """
    curves = runs.curves.query("env == @env and series == @series")
    scores = curves.pivot(index="seed", columns="step", values="eval_mean")
    scores[scores.columns[-1]] = runs.scores(env, series)
    return scores


def _row(scores: pd.DataFrame, target: Target, repetitions: int) -> dict[str, object]:
    asked = scores.loc[:, target.at : target.until]
    by_step = asked.min() if target.every_seed else asked.mean()
    measured = float(by_step.min())
    return {
        "kind": target.kind,
        "target": target.score,
        "at": target.at,
        "until": target.until,
        "every_seed": target.every_seed,
        **summary(scores[target.at], repetitions),
        "measured": measured,
        "margin": measured - target.score,
        "met": measured >= target.score,
    }


def _time_row(runs: Runs, task: Task, reference: str) -> dict[str, object]:
    assert task.time is not None
    ours, other = (times(runs, task.env, series, task.threshold) for series in (reference, task.time.against))
    found = ratio(ours, other)
    return {
        "env": task.env,
        "threshold": task.threshold,
        "seconds": ours.seconds,
        "reached": ours.reached,
        "seeds": ours.seeds,
        "other_seconds": other.seconds_at_least,
        "other_reached": other.reached,
        "other_seeds": other.seeds,
        "ratio": found.value,
        "is_bound": found.is_bound,
        **asdict(task.time),
    }
