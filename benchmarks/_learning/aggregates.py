"""Aggregates across environments, as rliable makes them from normalised scores."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from benchmarks._learning import figures, stats
from benchmarks._learning.data import Runs
from benchmarks._learning.suite import Task
from benchmarks._learning.targets import scores_by_step
from benchmarks._output import Columns, interval

# Parts of the budget at which learning curves of different lengths are laid over each other.
BUDGET = np.linspace(0, 1, 21)
MEASURES = ("iqm", "mean", "gap")


def _cell(key: str, row: Any) -> str:
    middle, low, high = (getattr(row, f"{key}{end}") for end in ("", "_low", "_high"))
    return interval(middle, low, high, 2)


AGGREGATES: Columns = (
    ("", lambda row: row.series),
    ("runs", lambda row: row.runs),
    *(
        (f"{title} [95% interval]", partial(_cell, key))
        for key, title in (
            ("iqm", "IQM"),
            ("mean", "mean"),
            ("gap", "optimality gap"),
            ("probability", "probability that it is beaten"),
        )
    ),
)


@dataclass(frozen=True)
class Scores:
    """Normalised scores of the reference and of the series that have runs on the same environments as it.

    :param groups: of the suite, with these environments
    :param series: the reference first
    :param envs: where all of the series have runs
    :param left_out: environments with runs, where only some of the series have any
    :param finals: of the finished agents, by series, for each of ``envs`` shape (its runs,); empty if there is too
        little to aggregate
    :param curves: the same over ``BUDGET``, shapes (runs, parts)
    """

    groups: tuple[str, ...]
    series: tuple[str, ...]
    envs: tuple[str, ...]
    left_out: tuple[str, ...]
    finals: dict[str, list[np.ndarray]]
    curves: dict[str, list[np.ndarray]]

    @property
    def stem(self) -> str:
        """Of the figure's file; a series is compared once in a group."""
        return "_".join(("aggregate", *self.groups, *self.series[1:2]))


_Tables = dict[tuple[str, str], pd.DataFrame]  # by environment and series; seeds by steps


def scores(runs: Runs, tasks: list[Task], reference: str) -> list[Scores]:
    """Scores to aggregate, for each list of algorithms: no series runs in both of two lists' environments.

    Each series is compared with the reference on all environments that the two share, together with the series that
    share the same: one that was run on little does not narrow the others' comparison. All runs count, however many each
    has. An aggregate takes at least two environments, and two runs on each, for one has no spread; else its ``finals``
    are empty.

    :param runs: the stored runs
    :param tasks: of the suite
    :param reference: the series that comes first
    """
    alike: dict[tuple[str, ...], list[Task]] = defaultdict(list)
    for task in tasks:
        alike[task.algorithms].append(task)
    return [found for group in alike.values() if len(group) > 1 for found in _by_overlap(runs, group, reference)]


def aggregate_table(found: Scores, reference: str, repetitions: int) -> pd.DataFrame:
    """One row for each series: IQM, mean, optimality gap, and the probability that the reference is better.

    :param found: normalised scores
    :param reference: the series that the others are compared with
    :param repetitions: bootstrap samples
    """
    rows = []
    for series, ours in found.finals.items():
        middle = stats.aggregates(ours, repetitions)
        row: dict[str, Any] = {"groups": " ".join(found.groups), "envs": len(found.envs), "series": series}
        row["runs"] = " ".join(str(len(runs)) for runs in ours)
        for k, name in enumerate(MEASURES):
            row |= {name: middle.value[k], f"{name}_low": middle.low[k], f"{name}_high": middle.high[k]}
        chance = [np.nan] * 3
        if reference in found.finals and series != reference:
            estimate = stats.mean_probability_of_improvement(found.finals[reference], ours, repetitions)
            chance = [float(x) for x in estimate]
        rows.append(row | dict(zip(("probability", "probability_low", "probability_high"), chance, strict=True)))
    return pd.DataFrame(rows)


def draw(found: Scores, table: pd.DataFrame, reference: str, repetitions: int, path: Path) -> None:
    """Sample efficiency across environments, the aggregates, and the probabilities of improvement.

    :param found: normalised scores
    :param table: ``aggregate_table`` of them
    :param reference: the series that the others are compared with
    :param repetitions: bootstrap samples
    :param path: of the PNG
    """
    palette = figures.colours(list(found.finals))
    with figures.canvas(path, (17, 4.6)) as figure:
        panels = figure.subplots(1, 5, width_ratios=(5, 3, 3, 3, 3))
        for series, curves in found.curves.items():
            middle = stats.aggregate_curve(curves, repetitions)
            panels[0].plot(BUDGET, middle.value, color=palette[series], label=series)
            panels[0].fill_between(BUDGET, middle.low, middle.high, color=palette[series], alpha=0.2, linewidth=0)
        panels[0].set(title="IQM of the normalised return", xlabel="part of the budget")
        panels[0].xaxis.set_major_formatter(PercentFormatter(1))
        names = {"iqm": "IQM", "mean": "mean", "gap": "optimality gap (less is better)"}
        for axes, (column, title) in zip(panels[1:4], names.items(), strict=True):
            _intervals(axes, table, column, title, palette)
        _intervals(panels[4], table.dropna(subset=["probability"]), "probability", f"P({reference} better)", palette)
        panels[4].axvline(0.5, color="0.3", linestyle=":", linewidth=1)
        figures.legend(figure, panels[0], f"{len(found.envs)} environments, 95% interval")


def _intervals(axes: Axes, table: pd.DataFrame, column: str, title: str, palette: dict[str, tuple]) -> None:
    """A point with its interval for each series, the first on top."""
    for height, (_, row) in enumerate(table[::-1].iterrows()):
        middle, low, high = row[column], row[f"{column}_low"], row[f"{column}_high"]
        error = [[middle - low], [high - middle]]
        axes.errorbar(middle, height, xerr=error, color=palette[row["series"]], marker="s", capsize=4)
    axes.set(title=title)
    axes.set_yticks(range(len(table)), table["series"][::-1])


def _by_overlap(runs: Runs, tasks: list[Task], reference: str) -> list[Scores]:
    """What can be aggregated of tasks with the same algorithms, the most environments first."""
    tables = {
        (task.env, name): scores_by_step(runs, task.env, name)
        for task in tasks
        for name in runs.series_of(task.env, reference)
    }
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in sorted({name for _, name in tables} - {reference}):
        shared = [task.env for task in tasks if {(task.env, reference), (task.env, name)} <= tables.keys()]
        alike[tuple(shared)].append(name)
    overlaps = sorted(alike.items(), key=lambda item: (-len(item[0]), item[1]))
    return [_scores(tables, tasks, (reference, *names), envs) for envs, names in overlaps]


def _scores(tables: _Tables, tasks: list[Task], names: tuple[str, ...], envs: tuple[str, ...]) -> Scores:
    inside = [task for task in tasks if task.env in envs]
    curves = {name: [_normalised(tables[task.env, name], task) for task in inside] for name in names}
    if len(envs) < 2 or min(len(runs) for by_env in curves.values() for runs in by_env) < 2:
        curves = {}
    return Scores(
        tuple(dict.fromkeys(task.group for task in inside or tasks)),
        names,
        envs,
        tuple(task.env for task in tasks if task not in inside),
        {name: [runs[:, -1] for runs in by_env] for name, by_env in curves.items()},
        curves,
    )


def _normalised(table: pd.DataFrame, task: Task) -> np.ndarray:
    """Scores over ``BUDGET``, 0 for random actions and 1 at the threshold; straight lines between evaluations."""
    budget = table.columns.to_numpy() / table.columns[-1]
    normalised = (table.to_numpy() - task.random) / (task.threshold - task.random)
    return np.stack([np.interp(BUDGET, budget, row) for row in normalised])
