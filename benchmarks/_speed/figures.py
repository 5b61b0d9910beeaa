"""The measurements as plots; every function needs matplotlib, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks import _figures
from benchmarks._speed.markdown import MEASURES

#: (value of the axis, summary of what is drawn there), one line for each name
Lines = dict[str, list[tuple[float, dict[str, float]]]]


def ratios(content: dict[str, Any], path: Path) -> None:
    """Every pair's ratio as a point, beside the median and its interval: a panel for each measure and its threads.

    :param content: of ``speed.json`` or ``cases.json``
    :param path: of the PNG
    """
    panels: dict[tuple[int, str], list[tuple[str, dict[str, Any]]]] = {}
    for point in content["points"]:
        settings = point["settings"]
        for measure, measured in point.get("measures", {}).items():
            items = panels.setdefault((settings["threads"], measure), [])
            for name, found in measured["contenders"].items():
                items.append((name if settings["axis"] == "threads" else f"{settings['value']}, {name}", found))
    widest = max((len(items) for items in panels.values()), default=1)
    figure, grid = _figure(len(panels), columns=2, width=max(4.0, 1.0 + 0.7 * widest))
    for axes, ((threads, measure), items) in zip(grid, panels.items(), strict=False):
        for position, (_, found) in enumerate(items):
            ratio, spread, colour = found["ratio"], found["ratios"], f"C{position % 10}"
            places = [position + 0.15 + 0.25 * index / max(1, len(spread) - 1) for index in range(len(spread))]
            axes.plot(places, spread, ".", color=colour, alpha=0.5, markersize=4)
            axes.errorbar([position], [ratio["median"]], _errors([ratio]), fmt="o", color=colour)
        axes.set_xticks(range(len(items)), [label for label, _ in items], rotation=30, ha="right", fontsize=8)
        axes.set_title(f"{MEASURES[measure]}, {threads} thread{'s' if threads > 1 else ''}", fontsize=9)
        axes.set_ylabel("speed over the reference", fontsize=8)
        _from_zero(axes, line=1.0)
    _figures.save(figure, path)


def sweep(content: dict[str, Any], path: Path) -> None:
    """The ratio along each axis, with the interval of each median, and the cost of a transition by environments.

    :param content: of ``sweep.json``
    :param path: of the PNG
    """
    panels: dict[tuple[str, str], Lines] = {}
    for point in content["points"]:
        settings = point["settings"]
        axis, value, reference = settings["axis"], settings["value"], settings["reference"]["name"]
        for measure, measured in point.get("measures", {}).items():
            lines = panels.setdefault((axis, f"{MEASURES[measure]}, over {reference}"), {})
            for name, found in measured["contenders"].items():
                lines.setdefault(name, []).append((value, found["ratio"]))
                if axis == "n_envs":
                    costs = panels.setdefault((axis, "ms of one transition"), {})
                    costs.setdefault(name, []).append((value, _milliseconds(found["per_second"])))
                    theirs = costs.setdefault(reference, [])
                    if value not in dict(theirs):
                        theirs.append((value, _milliseconds(found["reference_per_second"])))
    figure, grid = _figure(len(panels), columns=3)
    for axes, ((axis, title), lines) in zip(grid, panels.items(), strict=False):
        for name, line in lines.items():
            values, found = [value for value, _ in line], [summary for _, summary in line]
            medians = [summary["median"] for summary in found]
            axes.errorbar(values, medians, _errors(found), fmt="o-", capsize=2, markersize=4, label=name)
        axes.set_xscale("log", base=2)
        ticks = sorted({value for line in lines.values() for value, _ in line})
        axes.set_xticks(ticks, [str(value) for value in ticks])
        axes.set_xlabel(axis)
        axes.set_title(title, fontsize=9)
        axes.legend(fontsize=7)
        _from_zero(axes, line=1.0 if "over" in title else None)
    _figures.save(figure, path)


def _milliseconds(rate: dict[str, float]) -> dict[str, float]:
    """Of one update or step: the highest rate is the lowest cost."""
    return {"median": 1e3 / rate["median"], "low": 1e3 / rate["high"], "high": 1e3 / rate["low"]}


def _errors(found: list[dict[str, float]]) -> list[list[float]]:
    return [[s["median"] - s["low"] for s in found], [s["high"] - s["median"] for s in found]]


def _figure(panels: int, columns: int, width: float = 3.6, height: float = 3.2) -> tuple[Figure, list[Any]]:
    columns = min(columns, max(1, panels))
    rows = max(1, -(-panels // columns))
    figure = _figures.empty(width * columns, height * rows)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in grid[max(1, panels) :]:
        unused.set_axis_off()
    return figure, grid


def _from_zero(axes: Any, line: float | None) -> None:
    if line is not None:
        axes.axhline(line, color="0.3", linestyle=":", linewidth=1)
    axes.set_ylim(bottom=0)
