"""Plots of the stored runs. Figures are made without pyplot: no display, no state left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from benchmarks._learning import stats
from benchmarks._learning.data import Runs
from benchmarks._learning.settings import LOGGED


def environment(runs: Runs, env: str, threshold: float | None, reference: str, repetitions: int, path: Path) -> None:
    """Learning curves over steps and over seconds, and the final return of every seed.

    :param runs: the stored runs
    :param env: environment to draw
    :param threshold: drawn as a dotted line
    :param reference: the series that comes first
    :param repetitions: bootstrap samples
    :param path: of the PNG
    """
    names = runs.series_of(env, reference)
    palette = colours(names)
    with canvas(path, (13, 4.8)) as figure:
        by_step, by_second, final = figure.subplots(1, 3, width_ratios=(4, 4, 3))
        for name in names:
            ours = runs.curves.query("env == @env and series == @name")
            seconds = ours.pivot(index="seed", columns="step", values="seconds").median().to_numpy()
            curve(by_step, ours, repetitions, name, palette[name])
            curve(by_second, ours, repetitions, name, palette[name], seconds)
        finals(final, {name: runs.scores(env, name).to_numpy() for name in names}, repetitions, palette)
        for axes in (by_step, by_second, final):
            if threshold is not None:
                axes.axhline(threshold, color="0.3", linestyle=":", linewidth=1)
        over_steps(by_step, env, "return (deterministic)")
        by_second.set(title="the same over time", xlabel=f"seconds of training ({runs.clock})")
        final.set(title="finished agents", ylabel="return (deterministic)")
        legend(figure, by_step, "IQM, 95% interval")


def temperature(runs: Runs, env: str, reference: str, path: Path) -> bool:
    """The temperature and the policy's entropy over steps, of every series that logs them.

    :param runs: the stored runs
    :param env: environment to draw
    :param reference: the series that comes first
    :param path: of the PNG
    :return: whether there was anything to draw
    """
    curves = runs.curves.query("env == @env").dropna(subset=list(LOGGED), how="all")
    if curves.empty:
        return False
    palette = colours(runs.series_of(env, reference))  # of all, so that a series has one colour in both figures
    with canvas(path, (10, 4.4)) as figure:
        panels = figure.subplots(1, 2)
        for name in filter(set(curves["series"]).__contains__, palette):
            for axes, column in zip(panels, LOGGED, strict=True):
                _spread(axes, curves.query("series == @name"), column, name, palette[name])
        over_steps(panels[0], f"{env}: temperature", "ent_coef")
        panels[0].set_yscale("log")
        over_steps(panels[1], "entropy of the policy", "nats")
        legend(figure, panels[0], "median, range of seeds")
    return True


@contextmanager
def canvas(path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    """An empty figure in the common style, written to ``path`` when the block is done.

    :param path: of the PNG
    :param size: in inches
    """
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)


def over_steps(axes: Axes, title: str, ylabel: str) -> None:
    """The labels of a panel over environment steps."""
    axes.set(title=title, xlabel="environment steps", ylabel=ylabel)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def colours(names: list[str]) -> dict[str, tuple]:
    """A colour for each series."""
    return dict(zip(names, sns.color_palette("colorblind" if len(names) <= 10 else "husl", len(names)), strict=True))


def legend(figure: Figure, axes: Axes, title: str) -> None:
    """One legend for all panels, below them, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=4)


def _spread(axes: Axes, curves: pd.DataFrame, column: str, name: str, colour: tuple) -> None:
    """Median over the seeds, and from the smallest to the largest."""
    by_step = curves.dropna(subset=[column]).groupby("step")[column].agg(["median", "min", "max"])
    n_seeds = curves.dropna(subset=[column])["seed"].nunique()
    axes.plot(by_step.index, by_step["median"], color=colour, label=f"{name} ({n_seeds} seeds)")
    axes.fill_between(by_step.index, by_step["min"], by_step["max"], color=colour, alpha=0.2, linewidth=0)


def curve(
    axes: Axes,
    curves: pd.DataFrame,
    repetitions: int,
    name: str,
    colour: tuple,
    positions: np.ndarray | None = None,
    column: str = "eval_mean",
    **style: Any,
) -> None:
    """The learning curve of one series: interquartile mean of the seeds, with its interval.

    :param axes: where to draw
    :param curves: the evaluations of the series
    :param repetitions: bootstrap samples
    :param name: for the legend; empty: it is not there
    :param colour: of line and interval
    :param positions: of the evaluations on the horizontal axis; None: their steps
    :param column: the score
    :param style: of the line
    """
    table = curves.pivot(index="seed", columns="step", values=column)
    if table.isna().any(axis=None):
        raise ValueError(f"{name}: the seeds were evaluated at different steps; run them again with one --eval-every.")
    estimate = stats.iqm_curve(table.to_numpy(), repetitions)
    positions = table.columns.to_numpy() if positions is None else positions
    label = f"{name} ({len(table)} seeds)" if name else None
    axes.plot(positions, estimate.value, color=colour, label=label, **style)
    axes.fill_between(positions, estimate.low, estimate.high, color=colour, alpha=0.2, linewidth=0)


def finals(axes: Axes, scores: dict[str, np.ndarray], repetitions: int, palette: dict[str, tuple]) -> None:
    """Every seed as a point, the interquartile mean with its interval beside it."""
    for position, (name, values) in enumerate(scores.items()):
        middle = stats.iqm(values, repetitions)
        axes.scatter(np.full(len(values), position - 0.15), values, color=palette[name], alpha=0.6, s=25)
        error = [[float(middle.value - middle.low)], [float(middle.high - middle.value)]]
        axes.errorbar(
            position + 0.15,
            float(middle.value),
            error,
            color=palette[name],
            marker="s",
            capsize=4,
            linestyle="none",
        )
    axes.set_xticks([])  # names of series are long: the colours tell
    axes.set_xlim(-0.6, len(scores) - 0.4)
