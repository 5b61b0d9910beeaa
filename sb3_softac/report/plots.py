"""Plots of the page, by Bokeh. Texts come from files and are plain: Bokeh takes ``$$`` in others for formulas."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sb3_softac.report.groups import Curve, Group, evaluation_curve, run_label, training_curve
from sb3_softac.report.run import Run
from sb3_softac.report.thinning import picked

if TYPE_CHECKING:
    from bokeh.plotting import figure

# Each is told from white and from nearly black; the dash tells groups apart without colours.
COLORS = ("#2f7ed8", "#e8590c", "#2f9e44", "#d6336c", "#9560e0", "#0c93a8", "#a87b00", "#788596")
DASHES = ("solid", "dashed", "dotted", "dotdash")
HEIGHT = 340  # pixels
MAX_EVALUATIONS = 150  # of a run, whose single episodes are drawn
TOOLS = "pan,box_zoom,reset,save"


class Plot(NamedTuple):
    """Plot of the page.

    :param figure: of Bokeh
    :param title: heading above it
    :param description: what it shows, for those who do not see it and for the caption
    """

    figure: "figure"
    title: str
    description: str


class Style(NamedTuple):
    """Look of a group in every plot."""

    color: str
    dash: str


def style(number: int) -> Style:
    """Look of the group of that number."""
    return Style(COLORS[number % len(COLORS)], DASHES[number // len(COLORS) % len(DASHES)])


def curves_plot(groups: Sequence[Group], of: str) -> Plot | None:
    """Learning curves of an environment's groups, with their intervals.

    :param groups: of one environment
    :param of: ``"evaluation"`` or ``"training"``
    :return: None if no group has returns of that kind
    """
    make = {"evaluation": evaluation_curve, "training": training_curve}[of]
    curves = {number: curve for number, group in enumerate(groups) if (curve := make(group)) is not None}
    if not curves:
        return None
    plot = _figure("environment steps", "return of an episode")
    entries = []
    for number, curve in curves.items():
        entries.append((groups[number].label, _draw_curve(plot, curve, style(number), groups[number].label)))
    _finish(plot, entries)
    meanings = dict.fromkeys(curve.meaning for curve in curves.values())
    what = "evaluation episodes" if of == "evaluation" else "training episodes, smoothed"
    ends = "; ".join(f"{groups[n].label}: {c.mean[0]:.4g} to {c.mean[-1]:.4g}" for n, c in curves.items())
    band = f" Band: {', '.join(filter(None, meanings))}." if any(meanings) else ""
    description = f"Mean return of {what}.{band} From first to last: {ends}."
    return Plot(plot, f"{of.capitalize()} returns", description)


def _draw_curve(plot: "figure", curve: Curve, look: Style, label: str) -> list[Any]:
    from bokeh.models import ColumnDataSource

    columns = {"x": curve.steps, "mean": curve.mean, "low": curve.low, "high": curve.high}
    source = ColumnDataSource({**columns, "label": [label] * len(curve.steps)})
    band = plot.varea(x="x", y1="low", y2="high", source=source, color=look.color, alpha=0.18)
    line = plot.line(x="x", y="mean", source=source, color=look.color, line_dash=look.dash, line_width=2.2)
    dots = plot.scatter(x="x", y="mean", source=source, color=look.color, size=5 if len(curve.steps) <= 60 else 0.1)
    tooltips = [("", "@label"), ("steps", "@x{0,0}"), ("mean", "@mean{0,0.00}")]
    _hover(plot, dots, [*tooltips, ("band", "@low{0,0.00} … @high{0,0.00}")] if curve.meaning else tooltips)
    return [band, line, dots]


def evaluations_plot(groups: Sequence[Group], of: str) -> Plot | None:
    """Every episode of the evaluations of an environment's groups.

    :param groups: of one environment
    :param of: ``"returns"`` or ``"lengths"``
    :return: None if the evaluations do not say it
    """
    plot, entries = _figure("environment steps", "return" if of == "returns" else "steps of the episode"), []
    for number, group in enumerate(groups):
        points = [_episodes(run, of) for run in group.runs]
        steps, values = (np.concatenate(each) for each in zip(*points, strict=True))
        if not len(steps):
            continue
        from bokeh.models import ColumnDataSource

        source = ColumnDataSource({"x": steps, "y": values, "label": [group.label] * len(steps)})
        dots = plot.scatter(x="x", y="y", source=source, color=style(number).color, alpha=0.55, size=6)
        _hover(plot, dots, [("", "@label"), ("steps", "@x{0,0}"), (of, "@y{0,0.00}")])
        entries.append((group.label, [dots]))
    if not entries:
        return None
    _finish(plot, entries)
    noun = "Return" if of == "returns" else "Length"
    return Plot(plot, f"{noun}s of evaluation episodes", f"{noun} of every evaluation episode: a point for each.")


def _episodes(run: Run, of: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a run's evaluation episodes, (N,) each."""
    values = None if run.evaluations is None else getattr(run.evaluations, of)
    if run.evaluations is None or values is None:
        return np.array([]), np.array([])
    kept = picked(len(values), MAX_EVALUATIONS)
    return np.repeat(run.evaluations.timesteps[kept], values.shape[1]), values[kept].ravel()


def metrics_plot(name: str, groups: Sequence[Group], metrics: dict[str, list[Any]]) -> Plot:
    """Plot of the first metric, into which the page's script puts the one that its reader chooses.

    :param name: of the plot; the source of its run of number n is called ``<name>-<n>``
    :param groups: of one environment
    :param metrics: for each key, for each run; see :func:`sb3_softac.report.series.metrics_of`
    """
    from bokeh.models import ColumnDataSource

    key = next(iter(metrics))
    plot = _figure("environment steps", key)
    plot.name = name
    entries, number_of_run = [], 0
    for number, group in enumerate(groups):
        look, drawn = style(number), []
        for run in group.runs:
            first = metrics[key][number_of_run] or {"steps": [], "mean": []}
            columns = {
                "x": first["steps"],
                "mean": first["mean"],
                "label": [run_label(group, run)] * len(first["mean"]),
            }
            columns |= {end: first.get(end, first["mean"]) for end in ("low", "high")}
            source = ColumnDataSource(columns, name=f"{name}-{number_of_run}")
            band = plot.varea(x="x", y1="low", y2="high", source=source, color=look.color, alpha=0.18)
            line = plot.line(x="x", y="mean", source=source, color=look.color, line_dash=look.dash, line_width=1.6)
            dots = plot.scatter(x="x", y="mean", source=source, color=look.color, size=3)
            _hover(plot, dots, [("", "@label"), ("at", "@x{0,0.[00]}"), ("value", "@mean{0,0.[00000]}")])
            drawn += [band, line, dots]
            number_of_run += 1
        entries.append((group.label, drawn))
    _finish(plot, entries)
    return Plot(plot, "Any metric", "The metric that is chosen above. Band: smallest and largest value of a stretch.")


def _figure(x_label: str, y_label: str) -> "figure":
    from bokeh.models import BasicTicker, NumeralTickFormatter, PlainText
    from bokeh.plotting import figure

    plot = figure(
        height=HEIGHT, sizing_mode="stretch_width", tools=TOOLS, toolbar_location="above", min_border_right=12
    )
    plot.xaxis.axis_label = PlainText(text=x_label)
    plot.yaxis.axis_label = PlainText(text=y_label)
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0.[00]a")
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0.[00000]a")
    plot.xaxis.ticker = BasicTicker(desired_num_ticks=5)
    plot.toolbar.logo = None
    plot.toolbar.active_drag = None  # a finger on the plot scrolls the page
    plot.background_fill_color = plot.border_fill_color = plot.outline_line_color = None
    return plot


def _hover(plot: "figure", drawn: Any, tooltips: list[tuple[str, str]]) -> None:
    from bokeh.models import HoverTool

    plot.add_tools(HoverTool(renderers=[drawn], tooltips=tooltips, visible=False))


def _finish(plot: "figure", entries: Iterable[tuple[str, list[Any]]]) -> None:
    """Add the legend below the plot: a click hides a group."""
    from bokeh.core.properties import value
    from bokeh.models.annotations import Legend, LegendItem

    items = [LegendItem(label=value(label), renderers=drawn) for label, drawn in entries]
    legend = Legend(
        items=items,
        click_policy="hide",
        location="left",
        background_fill_alpha=0,
        border_line_alpha=0,
        spacing=2,
    )
    plot.add_layout(legend, "below")
