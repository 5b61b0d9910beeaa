"""Gain of an average of the actor: one training, its actor and its averages at several rates evaluated side by side.

    python -m benchmarks.actor_average --env MountainCarContinuous-v0 --seeds 107-112 --steps 20000 --taus 3e-4 1e-3

An average leaves the training as it is, so that one run has the curves of all. Runs that are there already are kept.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from benchmarks import _machine
from benchmarks._learning import evaluation, training
from benchmarks._learning.hyperparams import parse_overrides
from benchmarks._learning.plans import Experiment, Series, parse_seeds, plan
from benchmarks._learning.settings import RunSettings
from benchmarks._output import number, table, write_atomically
from sb3_softac import SoftAC
from sb3_softac.updates.targets import WeightAverage

RESULTS = Path(__file__).resolve().parent / "results" / "actor_average"
ACTOR = "actor"  # the series that no average makes

STATISTICS = {"mean": "mean", "standard deviation": "std", "worst": "min"}


class Averages(BaseCallback):
    """Averages of a model's actor at several rates, evaluated with it.

    :param taus: steps of the averages, one for each step of the actor
    :param run: says when to evaluate, and over how many episodes
    :param eval_env: to evaluate in
    """

    model: SoftAC

    def __init__(self, taus: list[float], run: RunSettings, eval_env: VecEnv) -> None:
        super().__init__()
        self.taus, self.run, self.eval_env = taus, run, eval_env
        self.rows: list[dict[str, Any]] = []
        self._actor_steps = 0

    def _on_training_start(self) -> None:
        actor = self.model.actor
        self.actors = {ACTOR: actor} | {f"{tau:g}": _copy(actor) for tau in self.taus}

    def _on_step(self) -> bool:
        self._follow()
        if self.num_timesteps % self.run.eval_every == 0 and self.num_timesteps < self.run.steps:
            self._record(self.run.eval_episodes)
        return True

    def _on_training_end(self) -> None:
        self._follow()
        self._record(self.run.final_episodes)

    def _follow(self) -> None:
        """Catch up with the actor: where it steps several times between two calls, as if it had stood still before."""
        actor_steps = self.model._n_updates // self.model.policy_delay
        n_new, self._actor_steps = actor_steps - self._actor_steps, actor_steps
        for tau, average in zip(self.taus, list(self.actors.values())[1:], strict=True):
            if n_new:
                WeightAverage(self.model.actor, average, 1.0 - (1.0 - tau) ** n_new).step()

    def _record(self, n_episodes: int) -> None:
        for name, actor in self.actors.items():
            with acting(self.model, actor):
                played = evaluation.run_episodes(
                    self.model, self.eval_env, n_episodes, deterministic=True, first_seed=evaluation.CURVE_SEED
                )
            scores = [episode.score for episode in played]
            row = {"seed": self.run.seed, "step": self.num_timesteps, "tau": name, "episodes": n_episodes}
            self.rows.append(row | {"mean": round(np.mean(scores), 2), "worst": round(min(scores), 2)})


def _copy(actor: nn.Module) -> nn.Module:
    return deepcopy(actor).eval()


@contextmanager
def acting(model: SoftAC, actor: nn.Module) -> Iterator[None]:
    """Let another actor than its own act for a model."""
    own = model.policy.actor
    model.policy.actor = actor  # type: ignore[assignment]
    try:
        yield
    finally:
        model.policy.actor = own


def train(run: RunSettings, taus: list[float]) -> list[dict[str, Any]]:
    """Rows of one training."""
    env, eval_env, arguments = training.prepare(run)
    model = SoftAC(env=env, seed=run.seed, device=run.device, **arguments)
    averages = Averages(taus, run, eval_env)
    model.learn(run.steps, callback=averages)
    env.close()
    eval_env.close()
    return averages.rows


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean, spread and worst of the evaluations of each quarter, over the seeds, by the rate of the average."""
    # All four, each with its last step: no part alone is fair to slow averages and to fast ones.
    quarter = (4 * rows["step"] / rows["step"].max()).apply(math.ceil).rename("quarter")
    return rows.groupby([quarter, "tau"], sort=False)["mean"].agg(list(STATISTICS.values())).reset_index()


def report(stored: dict[str, Any]) -> str:
    """The summary in Markdown."""
    rows = pd.DataFrame(stored["rows"])
    seeds = ", ".join(str(seed) for seed in sorted(rows["seed"].unique()))
    settings = stored["settings"]
    columns = [("quarter", lambda row: row.quarter), ("`actor_tau`", lambda row: row.tau)]
    columns += [(title, partial(_cell, column)) for title, column in STATISTICS.items()]
    return (
        f"# An average of the actor: {settings['env']}\n\n"
        f"Written by `python -m benchmarks.actor_average`: seeds {seeds}, {settings['steps']} steps, "
        f"{settings['hyperparams_from']}, {stored['machine']['cpu']}. Over the seeds and the evaluations of each "
        f"quarter of the steps, each the mean of {settings['eval_episodes']} episodes, the last one of "
        f"{settings['final_episodes']}, with deterministic actions. The training is the same for all rows; `{ACTOR}`: "
        "the actor itself.\n\n"
    ) + table(columns, summary(rows).itertuples())


def _cell(column: str, row: Any) -> str:
    return number(getattr(row, column))


def main() -> None:
    """Train what is missing, and write the JSON after each seed; then the Markdown, of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", required=True, help="Gymnasium id")
    parser.add_argument("--seeds", nargs="+", required=True, help="of the training, such as 100-104")
    parser.add_argument("--steps", type=int, required=True, help="budget, and where the learning rate's schedule ends")
    parser.add_argument("--taus", nargs="+", type=float, required=True, help="rates of the averages")
    parser.add_argument("--eval-every", type=int, help="steps (default: a 20th of the budget)")
    parser.add_argument("--final-episodes", type=int, default=50, help="of the last evaluation (default: %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="on top of the zoo's entry")
    parser.add_argument("--label", default="", help="tells apart two settings of one environment")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default: %(default)s)")
    options = parser.parse_args()
    th.set_num_threads(1)
    series = Series("softac", options.label, parse_overrides(options.set, "softac"))
    episodes = {"eval_every": options.eval_every, "final_episodes": options.final_episodes}
    asked = Experiment(options.env, (series,), parse_seeds(options.seeds), options.steps, **episodes)
    runs = [without_average(run) for run in plan([asked], device="cpu")]
    path = options.out / f"{options.env}{options.label and '-' + options.label}.json"
    stored = read(path, runs[0], options.taus)
    done = {row["seed"] for row in stored["rows"]}
    for run in runs:
        if run.seed not in done:
            stored["rows"] += train(run, options.taus)
            write_atomically(path, json.dumps(stored, indent=1) + "\n")
    write_atomically(path.with_suffix(".md"), report(stored))
    print(report(stored))


def without_average(run: RunSettings) -> RunSettings:
    """A run of an agent without an average of its own, else the same."""
    hyperparams = {name: value for name, value in run.hyperparams.items() if name != "actor_tau"}
    return replace(run, hyperparams=hyperparams)


def read(path: Path, run: RunSettings, taus: list[float]) -> dict[str, Any]:
    """The content of a file, or its beginning.

    :param path: of a JSON
    :param run: with the settings of any seed
    :param taus: rates of the averages
    :raises SystemExit: it holds other settings
    """
    settings = {name: value for name, value in asdict(run).items() if name != "seed"} | {"taus": taus}
    if not path.exists():
        return {"settings": settings, "machine": _machine.machine(), "versions": _machine.versions(), "rows": []}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["settings"] != settings:
        raise SystemExit(f"{path.name} holds runs with other settings: give a --label, or another --out.")
    return stored


if __name__ == "__main__":
    main()
