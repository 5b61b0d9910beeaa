"""Plots of the stored runs. Figures are made without pyplot: no display, no state left behind."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
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
from PIL import Image  # comes with matplotlib
from scipy.spatial.distance import cdist

from benchmarks._learning import stats
from benchmarks._learning.data import Runs
from benchmarks._learning.plans import Experiment
from benchmarks._learning.settings import LOGGED
from benchmarks._learning.tables import gaps

Palette = dict[str, tuple]  #: by series
COLOURS = 64


def environment(runs: Runs, env: str, threshold: float | None, reference: str, repetitions: int, path: Path) -> None:
    """Learning curves over steps and over seconds, and the final return of every seed."""
    palette = colours(runs.series_of(env, reference))
    with canvas(path, (13, 4.8)) as figure:
        by_step, by_second, final = figure.subplots(1, 3, width_ratios=(4, 4, 3))
        for name, colour in palette.items():
            ours = runs.of(env, name)
            seconds = ours.pivot(index="seed", columns="step", values="seconds").median().to_numpy()
            curve(by_step, ours, repetitions, name, colour)
            curve(by_second, ours, repetitions, name, colour, seconds)
        finals(final, {name: runs.scores(env, name).to_numpy() for name in palette}, repetitions, palette)
        for axes in (by_step, by_second, final):
            if threshold is not None:
                axes.axhline(threshold, color="0.3", linestyle=":", linewidth=1)
        over_steps(by_step, env, "return (deterministic)")
        by_second.set(title="the same over time", xlabel=f"seconds of training ({runs.clock})")
        final.set(title="finished agents", ylabel="return (deterministic)")
        legend(figure, by_step, "IQM, 95% interval")


def temperature(runs: Runs, env: str, reference: str, path: Path) -> bool:
    """The temperature and the policy's entropy over steps, of every series that logs them.

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


def ablation(experiment: Experiment, runs: Runs, env: str, repetitions: int, path: Path) -> None:
    """The panels that answer an ablation's question."""
    colour = colours(runs.series_of(env, experiment.reference))  # as in the figure of temperature and entropy
    palette = {name: colour[name] for name in experiment.names if name in colour}
    with canvas(path, (1 + 5.5 * len(experiment.panels), 4.8)) as figure:
        panels = figure.subplots(1, len(experiment.panels), squeeze=False)[0]
        for axes, name in zip(panels, experiment.panels, strict=True):
            PANELS[name](axes, experiment, runs, palette, repetitions)
        panels[0].set_title(f"{env}: {panels[0].get_title()}")
        legend(figure, panels[0], "95% intervals")


def _curves(axes: Axes, one: Experiment, runs: Runs, palette: Palette, repetitions: int) -> None:
    for series, colour in palette.items():
        curve(axes, runs.of(one.env, series), repetitions, one.titles[series], colour)
    over_steps(axes, "learning curves (IQM)", "return (deterministic)")


def _modes(axes: Axes, one: Experiment, runs: Runs, palette: Palette, repetitions: int) -> None:
    _curves(axes, one, runs, palette, repetitions)
    for series, colour in palette.items():
        curve(axes, runs.of(one.env, series), repetitions, "", colour, column="stochastic_mean", linestyle="--")
    over_steps(axes, "mean action, dashed: sample", "return")


def _seeds(axes: Axes, one: Experiment, runs: Runs, palette: Palette, repetitions: int) -> None:
    for series, colour in palette.items():
        scores = runs.of(one.env, series).pivot(index="step", columns="seed", values="eval_mean")
        first, *_ = axes.plot(scores.index, scores, color=colour, alpha=0.6, linewidth=1)
        first.set_label(one.titles[series])  # one entry of the legend for all seeds
    over_steps(axes, "each seed", "return (deterministic)")


def _finals(axes: Axes, one: Experiment, runs: Runs, palette: Palette, repetitions: int) -> None:
    finals(axes, {series: runs.scores(one.env, series).to_numpy() for series in palette}, repetitions, palette)
    axes.set(title="finished agents", ylabel="return (deterministic)")


def _gap(axes: Axes, one: Experiment, runs: Runs, palette: Palette, repetitions: int) -> None:
    finals(axes, {series: gaps(runs, one.env, series) for series in palette}, repetitions, palette)
    axes.axhline(0, color="0.3", linestyle=":", linewidth=1)
    axes.set(title="mean action minus sample, finished agents", ylabel="difference of returns")


def _sweep(axes: Axes, one: Experiment, runs: Runs, palette: Palette, repetitions: int) -> None:
    """Final returns over what is swept; a series that is not on the axis is a band from end to end."""
    places = {series.name: series.x for series in one.series if series.x is not None}
    for series, colour in palette.items():
        scores = runs.scores(one.env, series).to_numpy()
        if series in places:
            axes.scatter(np.full(len(scores), places[series]), scores, color=colour, alpha=0.4, s=20)
            _middle(axes, places[series], scores, repetitions, colour)
            continue
        middle = stats.iqm(scores, repetitions)
        axes.axhline(float(middle.value), color=colour, linestyle="--")
        axes.axhspan(float(middle.low), float(middle.high), color=colour, alpha=0.12, linewidth=0)
    axes.set(title=f"finished agents over {one.axis}", xlabel=one.axis, ylabel="return (deterministic)", xscale="log")
    axes.set_xticks(sorted(places.values()), [f"{place:g}" for place in sorted(places.values())])
    axes.minorticks_off()


PANELS: dict[str, Callable[[Axes, Experiment, Runs, Palette, int], None]] = {
    "curves": _curves,
    "seeds": _seeds,
    "modes": _modes,
    "gap": _gap,
    "finals": _finals,
    "sweep": _sweep,
}


@contextmanager
def canvas(path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    """An empty figure in the common style, written to ``path`` when the block is done."""
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        stream = io.BytesIO()
        figure.savefig(stream, dpi=120)
    path.parent.mkdir(parents=True, exist_ok=True)
    with_palette(Image.open(stream)).save(path, optimize=True)


def with_palette(picture: Image.Image) -> Image.Image:
    """A plot in its most frequent colours, in a quarter of the bytes; edges have the nearest of them."""
    pixels = np.asarray(picture.convert("RGB")).astype(np.int32)
    codes, place, counts = np.unique(pixels @ [65536, 256, 1], return_inverse=True, return_counts=True)
    colours = np.stack([codes // 65536, codes // 256 % 256, codes % 256], axis=1)
    palette = colours[np.argsort(-counts, kind="stable")[:COLOURS]]
    nearest = cdist(colours, palette).argmin(axis=1).astype(np.uint8)
    indexed = Image.fromarray(nearest[place].reshape(pixels.shape[:2]))
    indexed.putpalette(palette.astype(np.uint8).tobytes())
    return indexed


def over_steps(axes: Axes, title: str, ylabel: str) -> None:
    """The labels of a panel over environment steps."""
    axes.set(title=title, xlabel="environment steps", ylabel=ylabel)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def colours(names: list[str]) -> Palette:
    """A colour for each series."""
    return dict(zip(names, sns.color_palette("colorblind" if len(names) <= 10 else "husl", len(names)), strict=True))


def legend(figure: Figure, axes: Axes, title: str) -> None:
    """One legend for all panels, below them, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=4)


def _spread(axes: Axes, curves: pd.DataFrame, column: str, name: str, colour: tuple) -> None:
    """Median over the seeds, and from the smallest to the largest."""
    curves = curves.dropna(subset=[column])
    by_step = curves.groupby("step")[column].agg(["median", "min", "max"])
    axes.plot(by_step.index, by_step["median"], color=colour, label=f"{name} ({curves['seed'].nunique()} seeds)")
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


def finals(axes: Axes, scores: dict[str, np.ndarray], repetitions: int, palette: Palette) -> None:
    """Every seed as a point, the interquartile mean with its interval beside it."""
    for position, (name, values) in enumerate(scores.items()):
        axes.scatter(np.full(len(values), position - 0.15), values, color=palette[name], alpha=0.6, s=25)
        _middle(axes, position + 0.15, values, repetitions, palette[name])
    axes.set_xticks([])  # names of series are long: the colours tell
    axes.set_xlim(-0.6, len(scores) - 0.4)


def _middle(axes: Axes, position: float, scores: np.ndarray, repetitions: int, colour: tuple) -> None:
    """The interquartile mean with its interval."""
    value, low, high = map(float, stats.iqm(scores, repetitions))
    style = {"marker": "s", "capsize": 4, "linestyle": "none"}
    axes.errorbar(position, value, [[value - low], [high - value]], color=colour, **style)
