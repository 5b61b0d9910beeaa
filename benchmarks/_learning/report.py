"""Everything that is made from the stored runs: numbers, tables, plots."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._learning import figures, stats
from benchmarks._learning.data import Runs
from benchmarks._learning.estimators import gradient_table
from benchmarks._learning.markdown import Tables, markdown
from benchmarks._learning.milestones import milestone_table, summary
from benchmarks._learning.times import ratio, times
from benchmarks._output import write_atomically

Draw = Callable[[Runs, str, "ReportOptions", Path], None]


def draw_environment(runs: Runs, env: str, options: ReportOptions, path: Path) -> None:
    """The figure of an environment, unless ``ReportOptions.draw`` makes another."""
    figures.environment(runs, env, options.thresholds.get(env), options.reference, options.repetitions, path)


@dataclass(frozen=True)
class ReportOptions:
    """What a report is made of.

    :param out: where to write
    :param reference: the series that comes first, and that the others are compared with
    :param thresholds: the return that counts as learned, by environment
    :param milestones: steps whose returns get a table
    :param gradients: what ``benchmarks.gradients`` measured; its figures of the series' estimators get a table
    :param repetitions: bootstrap samples
    :param title: of the whole
    :param opening: markdown that goes before the environments
    :param draw: makes the figure of an environment
    """

    out: Path
    reference: str = "softac"
    thresholds: dict[str, float] = field(default_factory=dict)
    milestones: list[int] = field(default_factory=list)
    gradients: Path | None = None
    repetitions: int = 2000
    title: str = "Learning results"
    opening: str = ""
    draw: Draw = draw_environment


def write_report(runs: Runs, options: ReportOptions) -> list[Path]:
    """Write ``report.md``, its tables as CSV, and figures for each environment.

    :param runs: the stored runs
    :param options: what to make of them
    :return: the files written
    """
    tables = _tables(runs, options)
    options.out.mkdir(parents=True, exist_ok=True)
    written = [
        write_table(table, options.out / f"{name}.csv") for name, table in tables._asdict().items() if len(table)
    ]
    for env in sorted(runs.curves["env"].unique()):
        written += _figures(runs, str(env), options)
    written.append(options.out / "report.md")
    text = markdown(runs, tables, options.reference, options.title, options.opening)
    write_atomically(written[-1], text)
    return written


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV; the path, for the list of what was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.4f", lineterminator="\n")
    return path


def _tables(runs: Runs, options: ReportOptions) -> Tables:
    reference, repetitions = options.reference, options.repetitions
    final = final_table(runs, options.thresholds, reference, repetitions)
    return Tables(
        final,
        milestone_table(runs, options.milestones, reference, repetitions),
        improvement_table(runs, final, reference, repetitions),
        pd.DataFrame() if options.gradients is None else gradient_table(runs, options.gradients, reference),
    )


def _figures(runs: Runs, env: str, options: ReportOptions) -> list[Path]:
    stem = options.out / env.replace("/", "_")
    curves, temperature = stem.with_suffix(".png"), stem.with_name(f"{stem.name}_temperature.png")
    options.draw(runs, env, options, curves)
    return [curves, *([temperature] if figures.temperature(runs, env, options.reference, temperature) else [])]


def final_table(runs: Runs, levels: dict[str, float], reference: str, repetitions: int) -> pd.DataFrame:
    """One row for each environment and series: final return, interval, sample efficiency, time."""
    rows = []
    for env in sorted(runs.curves["env"].unique()):
        for series in runs.series_of(env, reference):
            rows.append(_final_row(runs, env, series, levels.get(env, math.nan), repetitions))
    return pd.DataFrame(rows)


def _final_row(runs: Runs, env: str, series: str, level: float, repetitions: int) -> dict[str, Any]:
    scores = runs.scores(env, series)
    episodes = runs.finals.query("env == @env and series == @series and mode == 'deterministic'")["return"]
    curves = runs.curves.query("env == @env and series == @series")
    heights = [stats.mean_height(c["step"], c["eval_mean"]) for _, c in curves.sort_values("step").groupby("seed")]
    taken = times(runs, env, series, level)
    budget = int(curves["step"].max())
    return {
        "env": env,
        "series": series,
        "steps": budget,
        **summary(scores, repetitions),
        "std_of_episodes": episodes.std(ddof=0),
        "stochastic_mean": runs.scores(env, series, "stochastic").mean(),
        "mean_over_training": float(np.mean(heights)),
        "threshold": level,
        "seeds_that_reached": taken.reached,
        "steps_to_threshold": taken.steps,
        "seconds_to_threshold": taken.seconds,
        "seconds": taken.whole_run,
        # What was stepped, not what was asked for: rollouts of several environments overshoot.
        "steps_per_second": curves.groupby("seed")["timesteps"].max().median() / taken.whole_run,
    }


def improvement_table(runs: Runs, final: pd.DataFrame, reference: str, repetitions: int) -> pd.DataFrame:
    """One row for each environment and series beside the reference."""
    rows = []
    for env, group in final.groupby("env"):
        by_series = group.set_index("series")
        if reference not in by_series.index:
            continue
        ours = by_series.loc[reference]
        for series, other in by_series.drop(reference).iterrows():
            chance = stats.probability_of_improvement(
                runs.scores(env, reference).to_numpy(), runs.scores(env, series).to_numpy(), repetitions
            )
            to_threshold = ratio(*(times(runs, env, name, ours["threshold"]) for name in (reference, series)))
            rows.append(
                {
                    "env": env,
                    "reference": reference,
                    "series": series,
                    "probability": float(chance.value),
                    "low": float(chance.low),
                    "high": float(chance.high),
                    "difference_of_means": ours["mean"] - other["mean"],
                    "ratio_of_seconds": ours["seconds"] / other["seconds"],
                    "ratio_of_seconds_to_threshold": to_threshold.value,
                    "ratio_is_bound": to_threshold.is_bound,
                }
            )
    return pd.DataFrame(rows)
