"""The tables of a report, as numbers; ``markdown`` has their columns for reading.

Each has a row for every environment and series unless it says something else, the reference first.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks._learning import stats
from benchmarks._learning.data import Runs
from benchmarks._learning.plans import Experiment, Target
from benchmarks._learning.settings import RunSettings

# The arguments of SoftAC that decide on the estimator of the actor's gradient.
ESTIMATOR = {
    "variant": "v2",
    "actor_gradient": "reparameterized",
    "baseline": "state_value",
    "n_action_samples": 1,
    "n_components": 1,
}


def final_table(runs: Runs, thresholds: dict[str, float], reference: str, repetitions: int) -> pd.DataFrame:
    """Final return with its interval, sample efficiency, and time."""
    levels = {env: thresholds.get(env, math.nan) for env in runs.machines}
    return pd.DataFrame([_final_row(runs, *pair, levels[pair[0]], repetitions) for pair in runs.pairs(reference)])


def _final_row(runs: Runs, env: str, series: str, level: float, repetitions: int) -> dict[str, Any]:
    curves = runs.of(env, series)
    heights = [stats.mean_height(one["step"], one["eval_mean"]) for _, one in curves.groupby("seed")]
    taken = times(runs, env, series, level)
    return {
        "env": env,
        "series": series,
        "steps": int(curves["step"].max()),
        **summary(runs.scores(env, series), repetitions),
        "std_of_episodes": runs.episodes(env, series)["return"].std(ddof=0),
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
    """The reference against each other series of an environment.

    :param runs: the stored runs
    :param final: ``final_table`` of them
    :param reference: the series that the others are compared with
    :param repetitions: bootstrap samples
    """
    ours = final[final["series"] == reference].set_index("env")
    others = final[(final["series"] != reference) & final["env"].isin(ours.index)]
    return pd.DataFrame([_improvement_row(runs, ours.loc[row.env], row, repetitions) for row in others.itertuples()])


def _improvement_row(runs: Runs, ours: pd.Series, other: Any, repetitions: int) -> dict[str, Any]:
    env, pair = other.env, (ours["series"], other.series)
    chance = stats.probability_of_improvement(*(runs.scores(env, name).to_numpy() for name in pair), repetitions)
    to_threshold = ratio(*(times(runs, env, name, ours["threshold"]) for name in pair))
    return {
        "env": env,
        "reference": ours["series"],
        "series": other.series,
        "probability": float(chance.value),
        "low": float(chance.low),
        "high": float(chance.high),
        "difference_of_means": ours["mean"] - other.mean,
        "ratio_of_seconds": ours["seconds"] / other.seconds,
        "ratio_of_seconds_to_threshold": to_threshold.value,
        "ratio_is_bound": to_threshold.is_bound,
    }


def milestone_table(runs: Runs, steps: list[int], reference: str, repetitions: int) -> pd.DataFrame:
    """Returns of the curve's deterministic evaluations at given steps.

    :raises ValueError: no evaluation at a step
    """
    rows = []
    for env, series in runs.pairs(reference):
        scores = runs.of(env, series).pivot(index="seed", columns="step", values="eval_mean")
        for step in steps:
            if step not in scores:
                raise ValueError(f"{env} {series} has no evaluation at step {step}; choose another for --milestones.")
            rows.append({"env": env, "series": series, "step": step, **summary(scores[step].dropna(), repetitions)})
    return pd.DataFrame(rows)


def gradient_table(runs: Runs, path: Path, reference: str) -> pd.DataFrame:
    """The series whose estimator of the actor's gradient ``benchmarks.gradients`` has measured.

    :param runs: the stored runs
    :param path: ``gradients.json``
    :param reference: the series that comes first
    """
    measured = json.loads(path.read_text(encoding="utf-8"))["rows"]
    settings = runs.table.drop_duplicates(["env", "series"]).set_index(["env", "series"])["settings"]
    rows = []
    for pair in runs.pairs(reference):
        run = RunSettings(**settings[pair])
        if run.algo == "softac":
            ours = estimator(run.hyperparams)
            rows += [
                dict(zip(("env", "series"), pair, strict=True)) | row for row in measured if estimator(row) == ours
            ]
    return pd.DataFrame(rows)


def estimator(hyperparams: dict[str, Any]) -> dict[str, Any]:
    """The arguments of SoftAC that decide on the estimator of the actor's gradient, with their defaults.

    :param hyperparams: constructor arguments; others are left out
    """
    policy_kwargs = hyperparams.get("policy_kwargs")
    given = {**hyperparams, **(policy_kwargs if isinstance(policy_kwargs, dict) else {})}
    chosen = {name: given.get(name, default) for name, default in ESTIMATOR.items()}
    if chosen["actor_gradient"] == "reparameterized":
        chosen["baseline"] = "none"  # it has none
    return chosen


def gap_table(runs: Runs, reference: str, repetitions: int) -> pd.DataFrame:
    """Deterministic minus stochastic final return: what the mean action gains over a sample."""
    rows = []
    for env, series in runs.pairs(reference):
        gap = gaps(runs, env, series)
        middle = stats.iqm(gap, repetitions)
        values = {"gap": float(middle.value), "gap_low": float(middle.low), "gap_high": float(middle.high)}
        rows.append({"series": series, "seeds": len(gap), "mean_gap": float(gap.mean()), **values})
    return pd.DataFrame(rows)


def gaps(runs: Runs, env: str, series: str) -> np.ndarray:
    """Deterministic minus stochastic final return of each seed."""
    return (runs.scores(env, series) - runs.scores(env, series, "stochastic")).to_numpy()


def above_table(runs: Runs, level: float) -> pd.DataFrame:
    """How many final episodes of each series and seed have a return of at least ``level``."""
    finals = runs.finals[runs.finals["mode"] == "deterministic"]
    above = finals["return"].ge(level).groupby([finals["series"], finals["seed"]])
    return above.agg(episodes="size", above="sum").reset_index()


def target_table(runs: Runs, experiments: list[Experiment], reference: str, repetitions: int) -> pd.DataFrame:
    """A row for each target of the suite and each series that has runs."""
    return pd.DataFrame(
        [
            {"env": one.env, "series": series, **_target_row(runs.steps(one.env, series), target, repetitions)}
            for one in experiments
            for series in runs.series_of(one.env, reference)
            for target in one.targets
        ]
    )


def _target_row(scores: pd.DataFrame, target: Target, repetitions: int) -> dict[str, Any]:
    asked = scores.loc[:, target.at : target.until]
    measured = float((asked.min() if target.every_seed else asked.mean()).min())
    return {
        "kind": target.kind,
        "target": target.score,
        "at": target.at,
        "until": target.until,
        "every_seed": target.every_seed,
        **summary(scores[target.at], repetitions),
        "measured": measured,
        "margin": measured - target.score,
        "met": measured >= target.score,
    }


def time_table(runs: Runs, experiments: list[Experiment], reference: str) -> pd.DataFrame:
    """A row for each environment that asks how soon the reference reaches the threshold, and has the runs."""
    return pd.DataFrame(
        [
            _time_row(runs, one, reference)
            for one in experiments
            if one.time and {reference, one.time.against} <= set(runs.series_of(one.env, reference))
        ]
    )


def _time_row(runs: Runs, one: Experiment, reference: str) -> dict[str, Any]:
    assert one.time is not None
    assert one.threshold is not None
    ours, other = (times(runs, one.env, series, one.threshold) for series in (reference, one.time.against))
    found = ratio(ours, other)
    return {
        "env": one.env,
        "threshold": one.threshold,
        "seconds": ours.seconds,
        "reached": ours.reached,
        "seeds": ours.seeds,
        "other_seconds": other.seconds_at_least,
        "other_reached": other.reached,
        "other_seeds": other.seeds,
        "ratio": found.value,
        "is_bound": found.is_bound,
        **vars(one.time),
    }


def summary(scores: pd.Series, repetitions: int) -> dict[str, Any]:
    """The statistics of one score for each seed."""
    middle = stats.iqm(scores.to_numpy(), repetitions)
    return {
        "seeds": len(scores),
        "mean": scores.mean(),
        "std_of_seeds": scores.std(),
        "iqm": float(middle.value),
        "iqm_low": float(middle.low),
        "iqm_high": float(middle.high),
        "worst_seed": scores.min(),
        "best_seed": scores.max(),
    }


class Times(NamedTuple):
    """Medians over the seeds of a series until it reaches a return; infinite where half of the seeds never get there.

    Seconds are those of the seeds that were made on the environment's machine, and not a number if there are none.
    """

    seeds: int
    reached: int  #: seeds that get there
    steps: float
    seconds: float
    seconds_at_least: float  #: the median if each seed that never gets there got there right after its last step
    whole_run: float  #: seconds


def times(runs: Runs, env: str, series: str, level: float) -> Times:
    """The steps and seconds that a series takes to reach a return."""
    by_seed = [curve for _, curve in runs.of(env, series).groupby("seed")]
    steps = [stats.first_crossing(curve["step"], curve["eval_mean"], level) for curve in by_seed]
    timed = [curve for curve in by_seed if curve["seconds"].notna().all()]
    seconds = [stats.first_crossing(curve["seconds"], curve["eval_mean"], level) for curve in timed]
    whole = [curve["seconds"].iloc[-1] for curve in timed]
    medians = [float(pd.Series(each, dtype=float).median()) for each in (seconds, np.minimum(seconds, whole), whole)]
    return Times(len(by_seed), int(np.isfinite(steps).sum()), float(np.median(steps)), *medians)


class Ratio(NamedTuple):
    """The reference's seconds over another series'; not a number where the reference does not get there."""

    value: float
    is_bound: bool  #: the ratio is this or less, as the other's runs end before half of them get there


def ratio(ours: Times, other: Times) -> Ratio:
    """The reference's seconds to a return over another series'."""
    if not math.isfinite(ours.seconds) or not other.seconds_at_least:
        return Ratio(math.nan, False)
    return Ratio(ours.seconds / other.seconds_at_least, math.isinf(other.seconds))
