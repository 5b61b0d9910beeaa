"""The report of an ablation: its question, a figure with the panels that answer it, and the usual tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks._learning import figures, stats
from benchmarks._learning.ablations import Ablation
from benchmarks._learning.data import Runs
from benchmarks._learning.report import ReportOptions, write_report, write_table
from benchmarks._output import Columns, interval, table

TITLES = {
    "curves": "learning curves (IQM)",
    "seeds": "each seed",
    "modes": "mean action, dashed: sample",
    "gap": "mean action minus sample, finished agents",
    "finals": "finished agents",
}
GAPS: Columns = (
    ("", lambda row: row.series),
    ("seeds", lambda row: row.seeds),
    ("deterministic minus stochastic, IQM [95% interval]", lambda row: interval(row.gap, row.gap_low, row.gap_high)),
)
ABOVE: Columns = (
    ("", lambda row: row.series),
    ("seed", lambda row: row.seed),
    ("episodes", lambda row: row.episodes),
    ("at least {above:g}", lambda row: row.above),
)


@dataclass(frozen=True)
class Drawing:
    """What every panel takes: the runs, their ablation, colours, and the number of bootstrap samples."""

    runs: Runs
    ablation: Ablation
    palette: dict[str, tuple]
    repetitions: int

    def curves(self, series: str) -> pd.DataFrame:
        """The evaluations of a series."""
        return self.runs.curves[self.runs.curves["series"] == series]

    def scores(self, series: str, mode: str = "deterministic") -> np.ndarray:
        """Mean final return of each seed."""
        return self.runs.scores(self.ablation.experiment.env, series, mode).to_numpy()

    def gap(self, series: str) -> np.ndarray:
        """Deterministic minus stochastic final return of each seed."""
        return self.scores(series) - self.scores(series, "stochastic")


def write_ablation_report(ablation: Ablation, runs: Runs, options: ReportOptions) -> list[Path]:
    """Write the report of an ablation.

    :param ablation: what was asked
    :param runs: the runs that are there
    :param options: as for any report; title, opening, reference and figure are the ablation's
    :return: the files written
    """
    opening, written = _opening(ablation), []
    for name, columns, found in (
        ("gaps", GAPS, _gap_table(ablation, runs, options.repetitions)),
        ("above", ABOVE, _above_table(ablation, runs)),
    ):
        if len(found):
            written.append(write_table(found, options.out / f"{name}.csv"))
            titles = tuple((title.format(above=ablation.above), cell) for title, cell in columns)
            opening += "\n" + table(titles, found.itertuples())
    title, reference = f"Ablation: {ablation.name}", ablation.reference
    options = replace(options, reference=reference, title=title, opening=opening, draw=partial(draw, ablation))
    return [*written, *write_report(runs, options)]


def draw(ablation: Ablation, runs: Runs, env: str, options: ReportOptions, path: Path) -> None:
    """The figure of an ablation: a panel for each quantity.

    :param ablation: says which
    :param runs: the runs that are there
    :param env: its environment
    :param options: of the report
    :param path: of the PNG
    """
    colours = figures.colours(runs.series_of(env, options.reference))  # as in the figure of temperature and entropy
    palette = {name: colours[name] for name in ablation.names if name in colours}
    drawing = Drawing(runs, ablation, palette, options.repetitions)
    panels: dict[str, Callable[[Axes, Drawing], None]] = {
        "curves": _curves,
        "seeds": _seeds,
        "modes": _modes,
        "gap": _gap,
        "finals": _finals,
        "sweep": _sweep,
    }
    with figures.canvas(path, (1 + 5.5 * len(ablation.panels), 4.8)) as figure:
        axes = figure.subplots(1, len(ablation.panels), squeeze=False)[0]
        for one, panel in zip(axes, ablation.panels, strict=True):
            panels[panel](one, drawing)
        axes[0].set_title(f"{env}: {axes[0].get_title()}")
        figures.legend(figure, axes[0], "95% intervals")


def _curves(axes: Axes, drawing: Drawing) -> None:
    for series, colour in drawing.palette.items():
        figures.curve(axes, drawing.curves(series), drawing.repetitions, drawing.ablation.names[series], colour)
    figures.over_steps(axes, TITLES["curves"], "return (deterministic)")


def _modes(axes: Axes, drawing: Drawing) -> None:
    _curves(axes, drawing)
    for series, colour in drawing.palette.items():
        ours, column = drawing.curves(series), "stochastic_mean"
        figures.curve(axes, ours, drawing.repetitions, "", colour, column=column, linestyle="--")
    figures.over_steps(axes, TITLES["modes"], "return")


def _seeds(axes: Axes, drawing: Drawing) -> None:
    for series, colour in drawing.palette.items():
        label: str | None = drawing.ablation.names[series]
        for _, one in drawing.curves(series).groupby("seed"):
            axes.plot(one["step"], one["eval_mean"], color=colour, alpha=0.6, linewidth=1, label=label)
            label = None  # one entry of the legend for all seeds
    figures.over_steps(axes, TITLES["seeds"], "return (deterministic)")


def _finals(axes: Axes, drawing: Drawing) -> None:
    scores = {series: drawing.scores(series) for series in drawing.palette}
    figures.finals(axes, scores, drawing.repetitions, drawing.palette)
    axes.set(title=TITLES["finals"], ylabel="return (deterministic)")


def _gap(axes: Axes, drawing: Drawing) -> None:
    figures.finals(axes, {s: drawing.gap(s) for s in drawing.palette}, drawing.repetitions, drawing.palette)
    axes.axhline(0, color="0.3", linestyle=":", linewidth=1)
    axes.set(title=TITLES["gap"], ylabel="difference of returns")


def _sweep(axes: Axes, drawing: Drawing) -> None:
    """Final returns over what is swept; a series that is not on the axis is a band from end to end."""
    for series, colour in drawing.palette.items():
        scores = drawing.scores(series)
        middle = stats.iqm(scores, drawing.repetitions)
        place = drawing.ablation.places.get(series)
        if place is None:
            axes.axhline(float(middle.value), color=colour, linestyle="--")
            axes.axhspan(float(middle.low), float(middle.high), color=colour, alpha=0.12, linewidth=0)
            continue
        axes.scatter(np.full(len(scores), place), scores, color=colour, alpha=0.4, s=20)
        error = [[float(middle.value - middle.low)], [float(middle.high - middle.value)]]
        axes.errorbar(place, float(middle.value), error, color=colour, marker="s", capsize=4)
    axis, places = drawing.ablation.axis, sorted(drawing.ablation.places.values())
    axes.set(title=f"finished agents over {axis}", xlabel=axis, ylabel="return (deterministic)", xscale="log")
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()


def _opening(ablation: Ablation) -> str:
    """What is asked, and what the series are."""
    source = f"Source (v1: arXiv:1801.01290, v2: arXiv:1812.05905): {ablation.source}."
    return f"{ablation.question}\n\n{source}\n\nIn the figure:\n\n" + "".join(
        f"- {name}: {series}\n" for series, name in ablation.names.items()
    )


def _gap_table(ablation: Ablation, runs: Runs, repetitions: int) -> pd.DataFrame:
    """One row for each series: what the mean action gains over a sample; nothing if it is not asked."""
    if "gap" not in ablation.panels:
        return pd.DataFrame()
    drawing = Drawing(runs, ablation, {}, repetitions)
    rows = []
    for series in runs.series_of(ablation.experiment.env, ablation.reference):
        gap = drawing.gap(series)
        middle = stats.iqm(gap, repetitions)
        values = {"gap": float(middle.value), "gap_low": float(middle.low), "gap_high": float(middle.high)}
        rows.append({"series": series, "seeds": len(gap), "mean_gap": float(gap.mean()), **values})
    return pd.DataFrame(rows)


def _above_table(ablation: Ablation, runs: Runs) -> pd.DataFrame:
    """One row for each series and seed: how many final episodes reach ``above``; nothing if it is not asked."""
    if ablation.above is None:
        return pd.DataFrame()
    finals = runs.finals[runs.finals["mode"] == "deterministic"]
    grouped = finals.groupby(["series", "seed"])["return"]
    counts = grouped.agg(episodes="size", above=lambda returns: int((returns >= ablation.above).sum()))
    return counts.reset_index()
