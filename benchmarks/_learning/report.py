"""Everything that is made from the stored runs: tables, plots, and a text that has both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks._learning import aggregates, figures, markdown, tables
from benchmarks._learning.data import Runs
from benchmarks._learning.experiments import thresholds
from benchmarks._learning.plans import Experiment
from benchmarks._learning.settings import LOGGED
from benchmarks._output import Columns, table, write_atomically

Draw = Callable[[Runs, str, "ReportOptions", Path], None]


def draw_environment(runs: Runs, env: str, options: ReportOptions, path: Path) -> None:
    """The figure of an environment, unless ``ReportOptions.draw`` makes another."""
    figures.environment(runs, env, options.thresholds.get(env), options.reference, options.repetitions, path)


@dataclass(frozen=True)
class ReportOptions:
    """Options of a report.

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


class Part(NamedTuple):
    """A table of the report; nothing is written of an empty one."""

    name: str  #: of its CSV
    numbers: pd.DataFrame
    columns: tuple[Columns, ...]  #: of the tables for reading, each with all rows


def write_report(runs: Runs, options: ReportOptions) -> list[Path]:
    """Write ``report.md``, its tables as CSV, and figures for each environment.

    :param runs: the stored runs
    :param options: what to make of them
    :return: the files written
    """
    reference, repetitions = options.reference, options.repetitions
    final = tables.final_table(runs, options.thresholds, reference, repetitions)
    milestones = tables.milestone_table(runs, options.milestones, reference, repetitions)
    improvement = tables.improvement_table(runs, final, reference, repetitions)
    gradients = tables.gradient_table(runs, options.gradients, reference) if options.gradients else pd.DataFrame()
    parts = [
        Part("final", final, (markdown.RETURNS, markdown.EFFICIENCY)),
        Part("milestones", milestones, (markdown.MILESTONES,)),
        Part("improvement", improvement, (markdown.COMPARISON,)),
        Part("gradients", gradients, (markdown.GRADIENTS,)),
    ]
    written = [write_table(part.numbers, options.out / f"{part.name}.csv") for part in parts if len(part.numbers)]
    for env in sorted(runs.machines):
        written += _figures(runs, env, options)
    text = [f"# {options.title}\n", *filter(None, [options.opening]), markdown.LEGEND.format(clock=runs.clock)]
    for env in sorted(runs.machines):
        text += _environment(runs, env, parts, reference)
    write_atomically(options.out / "report.md", "\n".join(text))
    return [*written, options.out / "report.md"]


def write_table(numbers: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV; the path, for the list of what was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers.to_csv(path, index=False, float_format="%.4f", lineterminator="\n")
    return path


def _figures(runs: Runs, env: str, options: ReportOptions) -> list[Path]:
    stem = options.out / env.replace("/", "_")
    curves, temperature = stem.with_suffix(".png"), stem.with_name(f"{stem.name}_temperature.png")
    options.draw(runs, env, options, curves)
    return [curves, *([temperature] if figures.temperature(runs, env, options.reference, temperature) else [])]


def _environment(runs: Runs, env: str, parts: list[Part], reference: str) -> list[str]:
    """The text about an environment."""
    stem = env.replace("/", "_")
    text = [f"## {env}\n", f"![learning curves of {env}]({stem}.png)\n"]
    if runs.curves.loc[runs.curves["env"] == env, list(LOGGED)].notna().any(axis=None):
        text.append(f"![temperature and entropy on {env}]({stem}_temperature.png)\n")
    for part in parts:
        ours = part.numbers.query("env == @env") if len(part.numbers) else part.numbers
        text += [table(columns, ours.itertuples()) for columns in part.columns if len(ours)]
    return [*text, "".join(f"- {line}\n" for line in markdown.provenance(runs, env, reference))]


def write_suite_report(experiments: list[Experiment], runs: Runs, options: ReportOptions) -> list[Path]:
    """Write the report of the suite: targets and aggregates, then what every report has.

    :param experiments: of the suite; what has no runs yet is left out
    :param runs: the stored runs
    :param options: as for any report
    :return: the files written
    """
    experiments = [one for one in experiments if one.env in runs.machines]
    reference = options.reference
    targets = tables.target_table(runs, experiments, reference, options.repetitions)
    times = tables.time_table(runs, experiments, reference)
    opening, written = "", []
    if len(targets):
        ours = targets[targets["series"] == reference]
        opening += markdown.TARGETS_TEXT.format(reference=reference) + table(markdown.TARGETS, ours.itertuples()) + "\n"
        written.append(write_table(targets, options.out / "targets.csv"))
    if len(times):
        opening += markdown.TIMES_TEXT.format(reference=reference, clock=runs.clock)
        opening += table(markdown.TIMES, times.itertuples()) + "\n"
        written.append(write_table(times, options.out / "times.csv"))
    text, files = _aggregates(aggregates.scores(runs, experiments, reference), options)
    # Figures are named after what they show: where runs were added, or have gone, an earlier report's stay behind.
    for stale in {options.out / "aggregates.csv", *options.out.glob("aggregate_*.png")}.difference(files):
        stale.unlink(missing_ok=True)
    options = replace(options, title="The suite", thresholds=thresholds(experiments), opening=opening + text)
    return [*written, *files, *write_report(runs, options)]


def _aggregates(scores: list[aggregates.Scores], options: ReportOptions) -> tuple[str, list[Path]]:
    """The part about the aggregates, and its files."""
    reference, repetitions = options.reference, options.repetitions
    text, files, numbers = "", [], []
    for found in scores:
        series = ", ".join(found.series)
        if not found.curves:
            text += markdown.TOO_LITTLE_TEXT.format(series=series)
            continue
        numbers.append(aggregates.aggregate_table(found, reference, repetitions))
        files.append(options.out / f"{found.stem}.png")
        aggregates.draw(found, numbers[-1], reference, repetitions, files[-1])
        missing = f" Left out, for want of runs: {', '.join(found.left_out)}." if found.left_out else ""
        envs = ", ".join(found.envs)
        text += markdown.AGGREGATES_TEXT.format(
            series=series, envs=envs, reference=reference, left_out=missing, stem=found.stem
        )
        text += table(markdown.AGGREGATES, numbers[-1].itertuples()) + "\n"
    if numbers:
        files.append(write_table(pd.concat(numbers), options.out / "aggregates.csv"))
    return text, files


def write_ablation_report(one: Experiment, runs: Runs, options: ReportOptions) -> list[Path]:
    """Write the report of an ablation: its question, a figure with the panels that answer it, and the usual tables.

    :param one: what was asked
    :param runs: the runs that are there
    :param options: as for any report; title, opening, reference and figure are the ablation's
    :return: the files written
    """
    names = "".join(f"- {title}: {name}\n" for name, title in one.titles.items())
    opening, written = markdown.ABLATION_TEXT.format(question=one.question, source=one.source, names=names), []
    if "gap" in one.panels:
        gaps = tables.gap_table(runs, one.reference, options.repetitions)
        opening += "\n" + table(markdown.GAPS, gaps.itertuples())
        written.append(write_table(gaps, options.out / "gaps.csv"))
    if one.above is not None:
        above = tables.above_table(runs, one.above)
        columns = tuple((title.format(above=one.above), cell) for title, cell in markdown.ABOVE)
        opening += "\n" + table(columns, above.itertuples())
        written.append(write_table(above, options.out / "above.csv"))
    title, draw = f"Ablation: {one.name}", partial(_draw_ablation, one)
    options = replace(options, reference=one.reference, title=title, opening=opening, draw=draw)
    return [*written, *write_report(runs, options)]


def _draw_ablation(one: Experiment, runs: Runs, env: str, options: ReportOptions, path: Path) -> None:
    figures.ablation(one, runs, env, options.repetitions, path)
