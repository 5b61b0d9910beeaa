"""Aggregates across environments, as rliable makes them from normalised scores."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from benchmarks._learning import figures, stats
from benchmarks._learning.data import Runs
from benchmarks._learning.plans import Experiment

# Parts of the budget at which learning curves of different lengths are laid over each other.
BUDGET = np.linspace(0, 1, 21)
MEASURES = {"iqm": "IQM", "mean": "mean", "gap": "optimality gap (less is better)"}


@dataclass(frozen=True)
class Scores:
    """Normalised scores of the reference and of the series that have runs on the same environments as it.

    :param groups: of the suite, with these environments
    :param series: the reference first
    :param envs: where all of the series have runs
    :param left_out: environments with runs, where only some of the series have any
    :param curves: over ``BUDGET``, the finished agents last, by series, for each of ``envs`` shape (its runs, parts);
        empty if there is too little to aggregate
    """

    groups: tuple[str, ...]
    series: tuple[str, ...]
    envs: tuple[str, ...]
    left_out: tuple[str, ...]
    curves: dict[str, list[np.ndarray]]

    @property
    def finals(self) -> dict[str, list[np.ndarray]]:
        """Scores of the finished agents, for each environment shape (its runs,)."""
        return {name: [runs[:, -1] for runs in by_env] for name, by_env in self.curves.items()}

    @property
    def stem(self) -> str:
        """Of the figure's file; a series is compared once in a group."""
        return "_".join(("aggregate", *self.groups, *self.series[1:2]))


_Tables = dict[tuple[str, str], pd.DataFrame]  # by environment and series; seeds by steps


def scores(runs: Runs, experiments: list[Experiment], reference: str) -> list[Scores]:
    """Scores to aggregate, for each list of series: no series runs in both of two lists' environments.

    Each series is compared with the reference on all environments that the two share, together with the series that
    share the same: one that was run on little does not narrow the others' comparison. All runs count, however many each
    has. An aggregate takes at least two environments, and two runs on each, for one has no spread; else its ``curves``
    are empty.
    """
    alike: dict[tuple[str, ...], list[Experiment]] = defaultdict(list)
    for one in experiments:
        alike[one.names].append(one)
    return [found for group in alike.values() if len(group) > 1 for found in _by_overlap(runs, group, reference)]


def _by_overlap(runs: Runs, experiments: list[Experiment], reference: str) -> list[Scores]:
    """Scores of experiments with the same series, the most environments first."""
    envs = [one.env for one in experiments]
    tables = {(env, name): runs.steps(env, name) for env in envs for name in runs.series_of(env, reference)}
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in sorted({name for _, name in tables} - {reference}):
        alike[tuple(env for env in envs if {(env, reference), (env, name)} <= tables.keys())].append(name)
    overlaps = sorted(alike.items(), key=lambda item: (-len(item[0]), item[1]))
    return [_scores(tables, experiments, (reference, *names), shared) for shared, names in overlaps]


def _scores(tables: _Tables, experiments: list[Experiment], names: tuple[str, ...], envs: tuple[str, ...]) -> Scores:
    inside = [one for one in experiments if one.env in envs]
    curves = {name: [_normalised(tables[one.env, name], one) for one in inside] for name in names}
    if len(envs) < 2 or min(len(runs) for by_env in curves.values() for runs in by_env) < 2:
        curves = {}
    groups = dict.fromkeys(one.group for one in inside or experiments)
    return Scores(tuple(groups), names, envs, tuple(one.env for one in experiments if one not in inside), curves)


def _normalised(table: pd.DataFrame, one: Experiment) -> np.ndarray:
    """Scores over ``BUDGET``, 0 for random actions and 1 at the threshold; straight lines between evaluations."""
    assert one.threshold is not None
    budget = table.columns.to_numpy() / table.columns[-1]
    normalised = (table.to_numpy() - one.random) / (one.threshold - one.random)
    return np.stack([np.interp(BUDGET, budget, row) for row in normalised])


def aggregate_table(found: Scores, reference: str, repetitions: int) -> pd.DataFrame:
    """IQM, mean, optimality gap, and the probability that the reference is better, of each series."""
    rows = []
    for series, ours in found.finals.items():
        row: dict[str, Any] = {"groups": " ".join(found.groups), "envs": len(found.envs), "series": series}
        row["runs"] = " ".join(str(len(runs)) for runs in ours)
        middle = stats.aggregates(ours, repetitions)
        for k, name in enumerate(MEASURES):
            row |= {name: middle.value[k], f"{name}_low": middle.low[k], f"{name}_high": middle.high[k]}
        chance: Any = [np.nan] * 3
        if series != reference:
            chance = map(float, stats.mean_probability_of_improvement(found.finals[reference], ours, repetitions))
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
    palette = figures.colours(list(found.curves))
    with figures.canvas(path, (17, 4.6)) as figure:
        over_budget, *panels, better = figure.subplots(1, 5, width_ratios=(5, 3, 3, 3, 3))
        for series, curves in found.curves.items():
            middle = stats.aggregate_curve(curves, repetitions)
            over_budget.plot(BUDGET, middle.value, color=palette[series], label=series)
            over_budget.fill_between(BUDGET, middle.low, middle.high, color=palette[series], alpha=0.2, linewidth=0)
        over_budget.set(title="IQM of the normalised return", xlabel="part of the budget")
        over_budget.xaxis.set_major_formatter(PercentFormatter(1))
        for axes, (column, title) in zip(panels, MEASURES.items(), strict=True):
            _intervals(axes, table, column, title, palette)
        _intervals(better, table.dropna(subset=["probability"]), "probability", f"P({reference} better)", palette)
        better.axvline(0.5, color="0.3", linestyle=":", linewidth=1)
        figures.legend(figure, over_budget, f"{len(found.envs)} environments, 95% interval")


def _intervals(axes: Axes, table: pd.DataFrame, column: str, title: str, palette: figures.Palette) -> None:
    """A point with its interval for each series, the first on top."""
    for height, (_, row) in enumerate(table[::-1].iterrows()):
        middle, low, high = row[column], row[f"{column}_low"], row[f"{column}_high"]
        error = [[middle - low], [high - middle]]
        axes.errorbar(middle, height, xerr=error, color=palette[row["series"]], marker="s", capsize=4)
    axes.set(title=title)
    axes.set_yticks(range(len(table)), table["series"][::-1])
