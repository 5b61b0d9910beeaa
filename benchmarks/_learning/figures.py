"""Plots of the stored runs. Figures are made without pyplot: no display, no state left behind."""

from __future__ import annotations

from pathlib import Path

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
    colours = _colours(names)
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(13, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        by_step, by_second, final = figure.subplots(1, 3, width_ratios=(4, 4, 3))
        for name in names:
            _curves(
                by_step,
                by_second,
                runs.curves.query("env == @env and series == @name"),
                repetitions,
                name,
                colours,
            )
        _finals(final, {name: runs.scores(env, name).to_numpy() for name in names}, repetitions, colours)
        for axes in (by_step, by_second, final):
            if threshold is not None:
                axes.axhline(threshold, color="0.3", linestyle=":", linewidth=1)
        by_step.set(title=env, xlabel="environment steps", ylabel="return (deterministic)")
        by_step.xaxis.set_major_formatter(EngFormatter(sep=""))
        by_second.set(title="the same over time", xlabel=f"seconds of training ({runs.clock})")
        final.set(title="finished agents", ylabel="return (deterministic)")
        _legend(figure, by_step, "IQM, 95% interval")
        figure.savefig(path, dpi=120)


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
    colours = _colours(runs.series_of(env, reference))  # of all, so that a series has one colour in both figures
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2)
        for name in filter(set(curves["series"]).__contains__, colours):
            for axes, column in zip(panels, LOGGED, strict=True):
                _spread(axes, curves.query("series == @name"), column, name, colours[name])
        panels[0].set(title=f"{env}: temperature", xlabel="environment steps", ylabel="ent_coef", yscale="log")
        panels[1].set(title="entropy of the policy", xlabel="environment steps", ylabel="nats")
        for axes in panels:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        _legend(figure, panels[0], "median, range of seeds")
        figure.savefig(path, dpi=120)
    return True


def _colours(names: list[str]) -> dict[str, tuple]:
    return dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))


def _legend(figure: Figure, axes: Axes, title: str) -> None:
    """One legend for all panels, below them, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=4)


def _spread(axes: Axes, curves: pd.DataFrame, column: str, name: str, colour: tuple) -> None:
    """Median over the seeds, and from the smallest to the largest."""
    by_step = curves.dropna(subset=[column]).groupby("step")[column].agg(["median", "min", "max"])
    n_seeds = curves.dropna(subset=[column])["seed"].nunique()
    axes.plot(by_step.index, by_step["median"], color=colour, label=f"{name} ({n_seeds} seeds)")
    axes.fill_between(by_step.index, by_step["min"], by_step["max"], color=colour, alpha=0.2, linewidth=0)


def _curves(
    by_step: Axes,
    by_second: Axes,
    curves: pd.DataFrame,
    repetitions: int,
    name: str,
    colours: dict[str, tuple],
) -> None:
    """One series in both panels; over time, each evaluation stands at the median of the seeds' clocks."""
    table = curves.pivot(index="seed", columns="step", values="eval_mean")
    if table.isna().any(axis=None):
        raise ValueError(f"{name}: the seeds were evaluated at different steps; run them again with one --eval-every.")
    estimate = stats.iqm_curve(table.to_numpy(), repetitions)
    seconds = curves.pivot(index="seed", columns="step", values="seconds").median().to_numpy()
    for axes, positions in ((by_step, table.columns.to_numpy()), (by_second, seconds)):
        axes.plot(positions, estimate.value, color=colours[name], label=f"{name} ({len(table)} seeds)")
        axes.fill_between(positions, estimate.low, estimate.high, color=colours[name], alpha=0.2, linewidth=0)


def _finals(axes: Axes, scores: dict[str, np.ndarray], repetitions: int, colours: dict[str, tuple]) -> None:
    """Every seed as a point, the interquartile mean with its interval beside it."""
    for position, (name, values) in enumerate(scores.items()):
        middle = stats.iqm(values, repetitions)
        axes.scatter(np.full(len(values), position - 0.15), values, color=colours[name], alpha=0.6, s=25)
        error = [[float(middle.value - middle.low)], [float(middle.high - middle.value)]]
        axes.errorbar(
            position + 0.15,
            float(middle.value),
            error,
            color=colours[name],
            marker="s",
            capsize=4,
            linestyle="none",
        )
    axes.set_xticks([])  # names of series are long: the colours tell
    axes.set_xlim(-0.6, len(scores) - 0.4)
