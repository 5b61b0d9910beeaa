"""The tables for reading, with what was run and where."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pandas as pd

from benchmarks._learning.data import Runs, machine_name
from benchmarks._learning.settings import LOGGED
from benchmarks._output import Columns, bound, interval, number, table

LEGEND = """\
Final return: of the finished agent, deterministic unless said, over episodes that start alike for every
algorithm and seed. `mean`, `IQM` and `std of seeds` treat the mean of a seed's episodes as one observation;
intervals are stratified bootstrap over seeds (rliable). To a threshold: the first evaluation on the way
whose mean is at least it, median over seeds, `-` where half of the seeds never get there. `mean over
training`: the area under the learning curve divided by the budget. Seconds: {clock}, from before the
agent is built, without evaluation and imports, of the runs of one machine; a ratio below 1 means that the reference
is faster. `<=`: half of the other's seeds never get there, and count as if they did right after their last step.
Returns at a step, where there is a table of them, are those of the curve's deterministic evaluations.
Variances and times of gradients, where there are any, are measured by `benchmarks/gradients.py`, on frozen agents
and by turns in one process; unlike the seconds of the runs, they are not touched by what else the machine did.
"""

OVER_SEEDS: Columns = (
    ("mean", lambda row: number(row.mean)),
    ("std of seeds", lambda row: number(row.std_of_seeds)),
    ("IQM [95% interval]", lambda row: interval(row.iqm, row.iqm_low, row.iqm_high)),
    ("worst seed", lambda row: number(row.worst_seed)),
    ("best seed", lambda row: number(row.best_seed)),
)
RETURNS: Columns = (
    ("", lambda row: row.series),
    ("seeds", lambda row: row.seeds),
    ("steps", lambda row: row.steps),
    *OVER_SEEDS,
    ("std of episodes", lambda row: number(row.std_of_episodes)),
    ("stochastic mean", lambda row: number(row.stochastic_mean)),
)
EFFICIENCY: Columns = (
    ("", lambda row: row.series),
    ("threshold", lambda row: number(row.threshold, 0)),
    ("seeds that reached it", lambda row: f"{row.seeds_that_reached} of {row.seeds}"),
    ("steps to it", lambda row: number(row.steps_to_threshold, 0)),
    ("seconds to it", lambda row: number(row.seconds_to_threshold)),
    ("mean over training", lambda row: number(row.mean_over_training)),
    ("seconds, whole run", lambda row: number(row.seconds)),
    ("steps/s", lambda row: number(row.steps_per_second)),
)
COMPARISON: Columns = (
    ("", lambda row: f"{row.reference} against {row.series}"),
    (
        "probability of improvement [95% interval]",
        lambda row: interval(row.probability, row.low, row.high, 2),
    ),
    ("difference of means", lambda row: number(row.difference_of_means)),
    ("seconds, ratio", lambda row: number(row.ratio_of_seconds, 2)),
    ("seconds to threshold, ratio", lambda row: bound(row.ratio_of_seconds_to_threshold, row.ratio_is_bound)),
)

MILESTONES: Columns = (
    ("", lambda row: row.series),
    ("at step", lambda row: row.step),
    ("seeds", lambda row: row.seeds),
    *OVER_SEEDS,
)
GRADIENTS: Columns = (
    ("", lambda row: row.series),
    ("estimator of the actor's gradient", lambda row: f"{row.agent}: {row.name}"),
    ("its variance, relative", lambda row: f"{row.relative_variance:.3g}"),
    ("cosine to the exact gradient", lambda row: number(row.cosine_of_mean, 3)),
    ("one update, ms", lambda row: number(row.update_ms)),
    ("ratio to v2's", lambda row: number(row.time_ratio, 2)),
)


class Tables(NamedTuple):
    """What is told, in the order in which it is told; a table may be empty."""

    final: pd.DataFrame  #: as ``report.final_table`` makes it
    milestones: pd.DataFrame  #: ``milestones.milestone_table``
    improvement: pd.DataFrame  #: ``report.improvement_table``
    gradients: pd.DataFrame  #: ``estimators.gradient_table``


def markdown(runs: Runs, tables: Tables, reference: str, title: str, opening: str) -> str:
    """The report.

    :param runs: the stored runs
    :param tables: of these runs
    :param reference: the series that the others are compared with
    :param title: the headline
    :param opening: what goes before the environments
    """
    parts = [f"# {title}\n", *([opening] if opening else []), LEGEND.format(clock=runs.clock)]
    for env, group in tables.final.groupby("env"):
        stem = str(env).replace("/", "_")
        parts += [f"## {env}\n", f"![learning curves of {env}]({stem}.png)\n"]
        if runs.curves.loc[runs.curves["env"] == env, list(LOGGED)].notna().any(axis=None):
            parts.append(f"![temperature and entropy on {env}]({stem}_temperature.png)\n")
        parts += [table(RETURNS, group.itertuples()), table(EFFICIENCY, group.itertuples())]
        others = (MILESTONES, tables.milestones), (COMPARISON, tables.improvement), (GRADIENTS, tables.gradients)
        for columns, found in others:
            ours = found[found["env"] == env] if len(found) else found
            if len(ours):
                parts.append(table(columns, ours.itertuples()))
        parts.append("".join(f"- {line}\n" for line in _provenance(runs, str(env), reference)))
    return "\n".join(parts)


def _provenance(runs: Runs, env: str, reference: str) -> list[str]:
    """Which settings, seeds, machines and versions are behind the numbers."""
    lines: list[str] = []
    machines: Counter[str] = Counter()
    versions: dict[str, dict[str, None]] = {}
    for series in runs.series_of(env, reference):
        metas = runs.metas[env, series]
        first = metas[0]["settings"]
        seeds = ", ".join(str(seed) for seed in sorted(meta["settings"]["seed"] for meta in metas))
        lines.append(
            f"{series}: seeds {seeds}; {first['hyperparams_from']}; "
            f"evaluation every {first['eval_every']} steps of {first['eval_episodes']} episodes, "
            f"{first['final_episodes']} at the end; "
            f"{metas[0]['torch_threads']} torch thread(s) on {metas[0]['device']}."
        )
        for meta in metas:
            machines[machine_name(meta)] += 1
            for package, version in meta["versions"].items():
                versions.setdefault(package, {})[version] = None
    packages = ", ".join(f"{package} {' and '.join(found)}" for package, found in versions.items())
    return [*lines, *(_machine(name, n, runs.machines[env]) for name, n in machines.items()), f"Versions: {packages}."]


def _machine(name: str, n_runs: int, timed: str) -> str:
    return f"Machine: {name}; {n_runs} run(s){'' if name == timed else ', whose seconds are left out'}."
