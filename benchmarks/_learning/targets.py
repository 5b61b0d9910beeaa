"""The targets of the suite against what was measured."""

from __future__ import annotations

import pandas as pd

from benchmarks._learning.data import Runs
from benchmarks._learning.markdown import Columns, number
from benchmarks._learning.milestones import summary
from benchmarks._learning.suite import Target, Task

TARGETS: Columns = (
    ("", lambda row: row.env),
    ("", lambda row: f"{row.kind} {row.target:g}"),
    ("at step", lambda row: row.at if row.at == row.until else f"{row.at} to {row.until}"),
    ("asked", lambda row: "every seed" if row.every_seed else "mean over seeds"),
    ("seeds", lambda row: row.seeds),
    ("measured", lambda row: number(row.measured)),
    ("by", lambda row: f"{row.margin:+.1f}"),
    ("", lambda row: "met" if row.met else "missed"),
    ("mean at the first step", lambda row: number(row.mean)),
    ("std of seeds", lambda row: number(row.std_of_seeds)),
    ("worst seed", lambda row: number(row.worst_seed)),
)


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
