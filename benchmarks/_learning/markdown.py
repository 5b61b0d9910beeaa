"""The report's texts, and the columns of its tables for reading."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from benchmarks._learning.data import Runs
from benchmarks._output import Columns, bound, interval, number

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
Plots that are not in the repository are made by the command of the report (`benchmarks/README.md`).
"""
ABLATION_TEXT = """\
{question}

Source (v1: arXiv:1801.01290, v2: arXiv:1812.05905): {source}.

In the figure:

{names}"""
TARGETS_TEXT = """\
## Targets

What {reference} should reach (`at least`) and aims at (`aim`), declared in `benchmarks/experiments.yml`: the mean over
the seeds or the worst of them, at one evaluation, or at the worst of several. At the end of a run its final evaluation
counts, on the way the curve's, which has fewer episodes. `targets.csv` has the other series' rows.

"""
TIMES_TEXT = """\
## Time to the threshold

Median over the seeds of the seconds ({clock}) until an evaluation of {reference} first reaches the threshold, all but
evaluations included, over those of the series that `benchmarks/experiments.yml` names; of the runs of one machine,
which the environment's part names. `>`, `<=`: half of that series' seeds never get there, and count as if they did
right after their last step.

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


def _number(name: str, digits: int = 1) -> Any:
    return lambda row: number(getattr(row, name), digits)


def _interval(middle: str, low: str, high: str, digits: int = 1) -> Any:
    return lambda row: interval(getattr(row, middle), getattr(row, low), getattr(row, high), digits)


def _met(met: bool) -> str:
    return "met" if met else "missed"


SERIES = ("", attrgetter("series"))
OVER_SEEDS: Columns = (
    ("mean", _number("mean")),
    ("std of seeds", _number("std_of_seeds")),
    ("IQM [95% interval]", _interval("iqm", "iqm_low", "iqm_high")),
    ("worst seed", _number("worst_seed")),
    ("best seed", _number("best_seed")),
)
RETURNS: Columns = (
    SERIES,
    ("seeds", attrgetter("seeds")),
    ("steps", attrgetter("steps")),
    *OVER_SEEDS,
    ("std of episodes", _number("std_of_episodes")),
    ("stochastic mean", _number("stochastic_mean")),
)
EFFICIENCY: Columns = (
    SERIES,
    ("threshold", _number("threshold", 0)),
    ("seeds that reached it", lambda row: f"{row.seeds_that_reached} of {row.seeds}"),
    ("steps to it", _number("steps_to_threshold", 0)),
    ("seconds to it", _number("seconds_to_threshold")),
    ("mean over training", _number("mean_over_training")),
    ("seconds, whole run", _number("seconds")),
    ("steps/s", _number("steps_per_second")),
)
COMPARISON: Columns = (
    ("", lambda row: f"{row.reference} against {row.series}"),
    ("probability of improvement [95% interval]", _interval("probability", "low", "high", 2)),
    ("difference of means", _number("difference_of_means")),
    ("seconds, ratio", _number("ratio_of_seconds", 2)),
    ("seconds to threshold, ratio", lambda row: bound(row.ratio_of_seconds_to_threshold, row.ratio_is_bound)),
)
MILESTONES: Columns = (SERIES, ("at step", attrgetter("step")), ("seeds", attrgetter("seeds")), *OVER_SEEDS)
GRADIENTS: Columns = (
    SERIES,
    ("estimator of the actor's gradient", lambda row: f"{row.agent}: {row.name}"),
    ("its variance, relative", lambda row: f"{row.relative_variance:.3g}"),
    ("cosine to the exact gradient", _number("cosine_of_mean", 3)),
    ("one update, ms", _number("update_ms")),
    ("ratio to v2's", _number("time_ratio", 2)),
)
GAPS: Columns = (
    SERIES,
    ("seeds", attrgetter("seeds")),
    ("deterministic minus stochastic, IQM [95% interval]", _interval("gap", "gap_low", "gap_high")),
)
ABOVE: Columns = (
    SERIES,
    ("seed", attrgetter("seed")),
    ("episodes", attrgetter("episodes")),
    ("at least {above:g}", attrgetter("above")),
)
TARGETS: Columns = (
    ("", attrgetter("env")),
    ("", lambda row: f"{row.kind} {row.target:g}"),
    ("at step", lambda row: row.at if row.at == row.until else f"{row.at} to {row.until}"),
    ("asked", lambda row: "every seed" if row.every_seed else "mean over seeds"),
    ("seeds", attrgetter("seeds")),
    ("measured", _number("measured")),
    ("by", lambda row: f"{row.margin:+.1f}"),
    ("", lambda row: _met(row.met)),
    ("mean at the first step", _number("mean")),
    ("std of seeds", _number("std_of_seeds")),
    ("worst seed", _number("worst_seed")),
)
TIMES: Columns = (
    ("", attrgetter("env")),
    ("threshold", lambda row: f"{row.threshold:g}"),
    ("seconds", _number("seconds")),
    ("seeds that reach it", lambda row: f"{row.reached} of {row.seeds}"),
    ("", attrgetter("against")),
    ("its seconds", lambda row: f"{'> ' if row.is_bound else ''}{number(row.other_seconds)}"),
    ("its seeds that reach it", lambda row: f"{row.other_reached} of {row.other_seeds}"),
    ("ratio", lambda row: bound(row.ratio, row.is_bound)),
    ("at most", lambda row: f"{row.at_most:g}, {_met(row.ratio <= row.at_most)}"),
    ("aim", lambda row: f"{row.aim:g}, {_met(row.ratio <= row.aim)}"),
)
AGGREGATES: Columns = (
    SERIES,
    ("runs", attrgetter("runs")),
    *(
        (f"{title} [95% interval]", _interval(key, f"{key}_low", f"{key}_high", 2))
        for key, title in (
            ("iqm", "IQM"),
            ("mean", "mean"),
            ("gap", "optimality gap"),
            ("probability", "probability that it is beaten"),
        )
    ),
)


def provenance(runs: Runs, env: str, reference: str) -> Iterable[str]:
    """Which settings, seeds, machines and versions are behind the numbers of an environment."""
    ours = runs.table[runs.table["env"] == env]
    by_series = {name: ours[ours["series"] == name] for name in runs.series_of(env, reference)}
    for name, group in by_series.items():
        first, settings = group.iloc[0], group.iloc[0]["settings"]
        yield (
            f"{name}: seeds {', '.join(map(str, sorted(group['seed'])))}; {settings['hyperparams_from']}; "
            f"evaluation every {settings['eval_every']} steps of {settings['eval_episodes']} episodes, "
            f"{settings['final_episodes']} at the end; {first['threads']} torch thread(s) on {first['device']}."
        )
    in_order = [row for group in by_series.values() for row in group.to_dict("records")]
    machines: dict[str, int] = {}
    versions: dict[str, dict[str, None]] = {}
    for row in in_order:
        machines[row["machine"]] = machines.get(row["machine"], 0) + 1
        for package, version in row["versions"].items():
            versions.setdefault(package, {})[version] = None
    for machine, n_runs in machines.items():
        left_out = "" if machine == runs.machines[env] else ", whose seconds are left out"
        yield f"Machine: {machine}; {n_runs} run(s){left_out}."
    packages = (f"{package} {' and '.join(found)}" for package, found in versions.items())
    yield f"Versions: {', '.join(packages)}."
