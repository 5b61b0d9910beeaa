"""Everything that is made from the stored runs: numbers, tables, plots."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._learning import figures, stats
from benchmarks._learning.data import Runs, load
from benchmarks._learning.markdown import markdown
from benchmarks._learning.settings import write_atomically

# A return that counts as learned; --threshold changes it.
THRESHOLDS = {
    "Pendulum-v1": -200.0,
    "MountainCarContinuous-v0": 90.0,
    "LunarLanderContinuous-v3": 200.0,
    "BipedalWalker-v3": 280.0,
    "CartPole-v1": 475.0,
    "Acrobot-v1": -100.0,
    "LunarLander-v3": 200.0,
    "HalfCheetah-v4": 5000.0,
    "HalfCheetah-v5": 5000.0,
    "Hopper-v4": 2400.0,
    "Hopper-v5": 2400.0,
}


def write_report(
    results: Path,
    out: Path,
    thresholds: dict[str, float],
    reference: str,
    envs: list[str] | None,
    series: list[str] | None,
    repetitions: int,
) -> list[Path]:
    """Write ``report.md``, ``final.csv``, ``improvement.csv`` and a figure for each environment.

    :param results: folder of the results
    :param out: where to write
    :param thresholds: by environment; they go before ``THRESHOLDS``
    :param reference: the series that the others are compared with
    :param envs: only these environments
    :param series: only these series
    :param repetitions: bootstrap samples
    :return: the files written
    """
    runs = load(results, envs, series)
    levels = {**THRESHOLDS, **thresholds}
    out.mkdir(parents=True, exist_ok=True)
    final = final_table(runs, levels, reference, repetitions)
    improvement = improvement_table(runs, final, reference, repetitions)
    written = [out / "final.csv"]
    final.to_csv(written[0], index=False, float_format="%.4f", lineterminator="\n")
    if len(improvement):
        written.append(out / "improvement.csv")
        improvement.to_csv(written[-1], index=False, float_format="%.4f", lineterminator="\n")
    for env in sorted(runs.curves["env"].unique()):
        written.append(out / f"{env.replace('/', '_')}.png")
        figures.environment(runs, env, levels.get(env), reference, repetitions, written[-1])
    written.append(out / "report.md")
    write_atomically(written[-1], markdown(runs, final, improvement, reference))
    return written


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
    middle = stats.iqm(scores.to_numpy(), repetitions)
    curves = runs.curves.query("env == @env and series == @series")
    by_seed = [curve.sort_values("step") for _, curve in curves.groupby("seed")]
    steps = [stats.first_crossing(c["step"], c["eval_mean"], level) for c in by_seed]
    seconds = [stats.first_crossing(c["seconds"], c["eval_mean"], level) for c in by_seed]
    totals = [c["seconds"].iloc[-1] for c in by_seed]
    budget = int(curves["step"].max())
    return {
        "env": env,
        "series": series,
        "seeds": len(scores),
        "steps": budget,
        "mean": scores.mean(),
        "std_of_seeds": scores.std(ddof=1) if len(scores) > 1 else math.nan,
        "std_of_episodes": episodes.std(ddof=0),
        "iqm": float(middle.value),
        "iqm_low": float(middle.low),
        "iqm_high": float(middle.high),
        "worst_seed": scores.min(),
        "best_seed": scores.max(),
        "stochastic_mean": runs.scores(env, series, "stochastic").mean(),
        "mean_over_training": float(np.mean([stats.mean_height(c["step"], c["eval_mean"]) for c in by_seed])),
        "threshold": level,
        "seeds_that_reached": int(np.isfinite(steps).sum()),
        "steps_to_threshold": float(np.median(steps)),
        "seconds_to_threshold": float(np.median(seconds)),
        "seconds": float(np.median(totals)),
        "steps_per_second": budget / float(np.median(totals)),
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
            rows.append(
                {
                    "env": env,
                    "reference": reference,
                    "series": series,
                    "probability": float(chance.value),
                    "low": float(chance.low),
                    "high": float(chance.high),
                    "difference_of_means": ours["mean"] - other["mean"],
                    "ratio_of_seconds": _ratio(ours["seconds"], other["seconds"]),
                    "ratio_of_seconds_to_threshold": _ratio(
                        ours["seconds_to_threshold"], other["seconds_to_threshold"]
                    ),
                }
            )
    return pd.DataFrame(rows)


def _ratio(ours: float, other: float) -> float:
    """Not a number where either never got there: infinity over infinity says nothing."""
    return ours / other if math.isfinite(ours) and math.isfinite(other) and other else math.nan
