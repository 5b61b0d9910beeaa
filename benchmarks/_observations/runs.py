"""Trainings that are compared: a curve for each seed, and what a step of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from benchmarks._learning.evaluation import CURVE_SEED, run_episodes

MakeEnv = Callable[[], gym.Env]


def curve(model: BaseAlgorithm, eval_env: VecEnv, steps: int, every: int, n_episodes: int) -> list[dict[str, float]]:
    """Returns of deterministic actions during a training, and the seconds that the training has taken.

    :param model: not yet trained
    :param eval_env: to evaluate in
    :param steps: of the environment
    :param every: steps between evaluations
    :param n_episodes: of an evaluation
    """
    rows, seconds, cpu = [], 0.0, 0.0
    for step in range(every, steps + 1, every):
        wall, used = time.perf_counter(), time.process_time()
        model.learn(every, reset_num_timesteps=False, log_interval=None)  # type: ignore[arg-type]
        seconds += time.perf_counter() - wall
        cpu += time.process_time() - used
        episodes = run_episodes(model, eval_env, n_episodes, deterministic=True, first_seed=CURVE_SEED)
        score = float(np.mean([episode.score for episode in episodes]))
        rows.append({"step": step, "return": round(score, 2), "seconds": round(seconds, 1), "cpu": round(cpu, 1)})
    return rows


class Contender(NamedTuple):
    """An agent in an environment.

    :param make: makes it, for environments and a seed
    :param make_env: makes as many environments as asked for
    """

    make: Callable[[VecEnv, int], BaseAlgorithm]
    make_env: Callable[[int], VecEnv]


def train_missing(
    cases: dict[str, dict[str, Contender]], seeds: range, rows: list[dict[str, Any]], **budget: int
) -> Iterator[list[dict[str, Any]]]:
    """Rows so far, after each training that was not among them.

    :param cases: contenders by name, by the name of the environment
    :param seeds: of the trainings
    :param rows: of an earlier call
    :param budget: of :func:`curve`
    """
    for case, contenders in cases.items():
        for seed in seeds:
            for name, (make, make_env) in contenders.items():
                row = {"case": case, "contender": name, "seed": seed}
                if any(row.items() <= other.items() for other in rows):
                    continue
                env, eval_env = make_env(1), make_env(budget["n_episodes"])
                env.seed(seed)
                rows.append(row | {"curve": curve(make(env, seed), eval_env, **budget)})
                yield rows


def vec(make: MakeEnv) -> Callable[[int], VecEnv]:
    """Copies of an environment, each with a Monitor.

    :param make: one of them
    """
    return lambda n_envs: make_vec_env(make, n_envs)
