"""The report of the suite: targets and aggregates, then what every report has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks._learning import aggregates
from benchmarks._learning.data import Runs
from benchmarks._learning.report import ReportOptions, write_report, write_table
from benchmarks._learning.suite import Task, thresholds
from benchmarks._learning.targets import TARGETS, TIME_TARGETS, target_table, time_table
from benchmarks._output import table

TARGETS_TEXT = """\
## Targets

What {reference} should reach (`at least`) and aims at (`aim`), declared in `benchmarks/suite.yml`: the mean over the
seeds or the worst of them, at one evaluation, or at the worst of several. At the end of a run its final evaluation
counts, on the way the curve's, which has fewer episodes. `targets.csv` has the other series' rows.
"""
TIMES_TEXT = """\
## Time to the threshold

Median over the seeds of the seconds ({clock}) until an evaluation of {reference} first reaches the threshold, all but
evaluations included, over those of the series that `benchmarks/suite.yml` names; of the runs of one machine, which the
environment's part names. `>`, `<=`: half of that series' seeds never get there, and count as if they did right after
their last step.
"""
AGGREGATES_TEXT = """\
## Across environments: {series}

{envs}; all runs, whose numbers the table has in this order; environments weigh alike.{left_out}

Returns of finished agents, 0 for random actions and 1 at the environment's threshold, not clipped. Optimality gap: how
far below 1, on average. Intervals: percentiles of a bootstrap stratified by environment; with fewer than five runs on
an environment they are much too narrow. Probability: that {reference} is better, mean over environments. The curves lie
over the part of each environment's budget.

![aggregates]({stem}.png)
"""


TOO_LITTLE_TEXT = """\
## Across environments: {series}

Nothing yet: an aggregate takes two environments where each of them has at least two runs.
"""


def write_suite_report(tasks: list[Task], runs: Runs, options: ReportOptions) -> list[Path]:
    """Write the report of the suite.

    :param tasks: of the suite; what has no runs yet is left out
    :param runs: the stored runs
    :param options: as for any report
    :return: the files written
    """
    present = {env for env, _ in runs.metas}
    tasks = [task for task in tasks if task.env in present]
    opening, written = _targets(tasks, runs, options)
    tables = []
    for found in aggregates.scores(runs, tasks, options.reference):
        if not found.finals:
            opening += TOO_LITTLE_TEXT.format(series=", ".join(found.series)) + "\n"
            continue
        tables.append(aggregates.aggregate_table(found, options.reference, options.repetitions))
        path = options.out / f"{found.stem}.png"
        aggregates.draw(found, tables[-1], options.reference, options.repetitions, path)
        written.append(path)
        rows = table(aggregates.AGGREGATES, tables[-1].itertuples())
        opening += _aggregates_text(found, options.reference) + "\n" + rows + "\n"
    if tables:
        written.append(write_table(pd.concat(tables), options.out / "aggregates.csv"))
    # Figures are named after what they show: where runs were added, or have gone, an earlier report's stay behind.
    earlier = {options.out / "aggregates.csv", *options.out.glob("aggregate_*.png")}
    for stale in earlier.difference(written):
        stale.unlink(missing_ok=True)
    options = replace(options, title="The suite", thresholds=thresholds(tasks), opening=opening)
    return [*written, *write_report(runs, options)]


def _targets(tasks: list[Task], runs: Runs, options: ReportOptions) -> tuple[str, list[Path]]:
    """The parts about the targets, and their files; nothing if there are none."""
    text, written = "", []
    found = target_table(runs, tasks, options.reference, options.repetitions)
    if len(found):
        ours = found[found["series"] == options.reference]
        text += TARGETS_TEXT.format(reference=options.reference) + "\n" + table(TARGETS, ours.itertuples()) + "\n"
        written.append(write_table(found, options.out / "targets.csv"))
    found = time_table(runs, tasks, options.reference)
    if len(found):
        text += TIMES_TEXT.format(reference=options.reference, clock=runs.clock)
        text += "\n" + table(TIME_TARGETS, found.itertuples()) + "\n"
        written.append(write_table(found, options.out / "times.csv"))
    return text, written


def _aggregates_text(found: aggregates.Scores, reference: str) -> str:
    missing = f" Left out, for want of runs: {', '.join(found.left_out)}." if found.left_out else ""
    return AGGREGATES_TEXT.format(
        series=", ".join(found.series),
        envs=", ".join(found.envs),
        reference=reference,
        left_out=missing,
        stem=found.stem,
    )
