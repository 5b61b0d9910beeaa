"""What does it gain, and cost, to prepare observations? Normalisation inside the policy, and images.

    python -m benchmarks.observations normalize cost pixels
    python -m benchmarks.observations normalize --quick        # a look, into logs/observations

Each study writes ``<name>.json`` and ``<name>.md``, after each training; those that are there already are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from benchmarks._observations import envs, runs
from benchmarks._output import Columns, number, ratio_interval
from benchmarks._speed.pairs import Calls, Plan, alternate
from benchmarks._studies import Study, go_on
from sb3_softac import SoftAC
from sb3_softac.networks.images import FastCNN

RESULTS = Path(__file__).resolve().parent / "results" / "observations"

SMALL = {"learning_rate": 1e-3, "batch_size": 128, "learning_starts": 500, "buffer_size": 20_000, "device": "cpu"}
NET = {"net_arch": [64, 64]}


# Normalisation


def pendulum(factors: tuple[float, ...]) -> gym.Env:
    """Pendulum in other units."""
    return envs.Rescaled(gym.make("Pendulum-v1"), factors)


def normalizing(env: VecEnv, seed: int, **policy_kwargs: Any) -> SoftAC:
    """A small agent."""
    return SoftAC("MlpPolicy", env, seed=seed, policy_kwargs=NET | policy_kwargs, **SMALL)


def vec_normalized(make: Callable[[int], VecEnv], n_envs: int) -> VecEnv:
    """Environments in a VecNormalize, whose statistics an evaluation takes over from the training."""
    return VecNormalize(make(n_envs), training=n_envs == 1, norm_reward=False)


UNITS = {"Pendulum-v1, numbers times 0.001, 1 and 1000": envs.UNEVEN, "Pendulum-v1": (1.0, 1.0, 1.0)}


def measure_normalization(quick: bool, rows: list[Any]) -> Iterator[list[Any]]:
    """Curves without and with normalisation, of each kind."""
    cases = {}
    for case, factors in UNITS.items():
        make = runs.vec(partial(pendulum, factors))
        cases[case] = {
            "as they are": runs.Contender(normalizing, make),
            "`normalize_obs=True`": runs.Contender(partial(normalizing, normalize_obs=True), make),
            "`VecNormalize(norm_reward=False)`": runs.Contender(normalizing, partial(vec_normalized, make)),
        }
    seeds, steps = (range(1), 1000) if quick else (range(5), 5000)
    return runs.train_missing(cases, seeds, rows, steps=steps, every=500, n_episodes=10)


COSTS = {
    "networks of 256, batches of 256": {},
    "networks of 64, batches of 128": SMALL | {"policy_kwargs": NET},
}


def measure_cost(quick: bool, rows: list[Any]) -> Iterator[list[Any]]:
    """Ratio of rates of learning with and without normalisation, in neighbouring blocks."""
    for case in COSTS.keys() - {row["case"] for row in rows}:
        ours, reference = (Calls(_learner(COSTS[case], normalize_obs)) for normalize_obs in (True, False))
        found = alternate({"ours": ours}, reference, "", Plan(pairs=4 if quick else 60))
        rows.append({"case": case, **found["contenders"]["ours"]})
        yield rows


def _learner(kwargs: dict[str, Any], normalize_obs: bool) -> Callable[[int], None]:
    policy_kwargs = kwargs.get("policy_kwargs", {}) | {"normalize_obs": normalize_obs}
    model = SoftAC("MlpPolicy", "Pendulum-v1", seed=0, **{"device": "cpu", **kwargs, "policy_kwargs": policy_kwargs})
    model.learn(700)  # beyond where the update is recorded

    def run(count: int) -> None:
        model.learn(count, log_interval=None, reset_num_timesteps=False)

    return run


# Images


PIXELS = {
    "learning_rate": 1e-3,
    "batch_size": 32,
    "gamma": 0.95,
    "ent_coef": "auto_0.1",
    "train_freq": 2,
    "learning_starts": 200,
    "buffer_size": 10_000,
    "device": "cpu",
}
PIXEL_NET = {"net_arch": [64, 64]}
PREPARED = {"share_features_extractor": "critic", "image_shift": 2, "features_extractor_class": FastCNN}


def pixel_agent(algorithm: type[Any], policy_kwargs: dict[str, Any], env: VecEnv, seed: int) -> BaseAlgorithm:
    """An agent that learns from images."""
    return algorithm("CnnPolicy", env, seed=seed, policy_kwargs=PIXEL_NET | policy_kwargs, **PIXELS)


def measure_pixels(quick: bool, rows: list[Any]) -> Iterator[list[Any]]:
    """Curves from images, beside Stable-Baselines3's SAC."""
    make_env = runs.vec(envs.PixelReach)
    contenders = {
        "SB3's SAC, `CnnPolicy`": runs.Contender(partial(pixel_agent, SAC, {}), make_env),
        "SoftAC, with all three": runs.Contender(partial(pixel_agent, SoftAC, PREPARED), make_env),
    }
    seeds, steps = (range(1), 500) if quick else (range(3), 4000)
    return runs.train_missing({"PixelReach": contenders}, seeds, rows, steps=steps, every=500, n_episodes=10)


def middle_and_end(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread over the seeds, of the mean of the curve and of its end."""
    found = []
    for case, contender in dict.fromkeys((row["case"], row["contender"]) for row in rows):
        own = [row for row in rows if (row["case"], row["contender"]) == (case, contender)]
        scores = np.array([[point["return"] for point in row["curve"]] for row in own])
        cpu = [1e3 * row["curve"][-1]["cpu"] / row["curve"][-1]["step"] for row in own]
        steps = [point["step"] for point in own[0]["curve"]]
        found.append({"case": case, "contender": contender, "scores": scores, "steps": steps, "cpu": np.median(cpu)})
    return found


def _spread(scores: np.ndarray) -> str:
    return f"{number(scores.mean())} ± {number(scores.std(ddof=1) if len(scores) > 1 else 0.0)}"


def _at(part: float) -> Callable[[Any], str]:
    return lambda row: _spread(row["scores"][:, round(part * len(row["steps"])) - 1])


CURVES: Columns = (
    ("seeds", lambda row: str(len(row["scores"]))),
    ("return, mean of the curve", lambda row: _spread(row["scores"].mean(axis=1))),
    ("at half of the steps", _at(0.5)),
    ("at the end", _at(1.0)),
    ("worst seed at the end", lambda row: number(row["scores"][:, -1].min())),
)
STUDIES = {
    "normalize": Study(
        "Running normalisation of observations",
        measure_normalization,
        (("environment", lambda row: row["case"]), ("observations", lambda row: row["contender"]), *CURVES),
        "Networks of 64, batches of 128, 5000 steps of the environment, deterministic actions in 10 episodes after "
        "every 500 steps. Mean ± standard deviation over the seeds, from 0 on.",
        summary=middle_and_end,
    ),
    "pixels": Study(
        "Learning from images",
        measure_pixels,
        (
            ("", lambda row: row["contender"]),
            *CURVES,
            ("CPU time of a step, ms", lambda row: number(row["cpu"])),
        ),
        "PixelReach: a ball with inertia is pushed to a target, seen in two frames of 36 x 36 pixels; episodes of 40 "
        "steps, reward minus the distance. Networks of 64, batches of 32, a learning rate of 0.001, a discount of "
        "0.95, an update after every second of 4000 steps, deterministic actions in 10 episodes after every 500. All "
        'three: `share_features_extractor="critic"`, `image_shift=2` and `FastCNN`. Mean ± standard deviation over the '
        "seeds, from 0 on. A step is one of the environment with its part of an update, on one thread.",
        summary=middle_and_end,
    ),
    "cost": Study(
        "Cost of `normalize_obs=True`",
        measure_cost,
        (
            ("", lambda row: row["case"]),
            ("steps a second without", lambda row: number(row["reference_per_second"]["median"], 0)),
            ("rate with / without", lambda row: ratio_interval(row["ratio"])),
            ("by CPU time", lambda row: ratio_interval(row["cpu_time_ratio"])),
        ),
        "Pendulum-v1, one thread, `learn()` with one update in each step. Medians of neighbouring blocks with their "
        "95 % intervals; below 1, normalisation costs time.",
    ),
}


def main() -> None:
    """Run studies, of which each writes after each training."""
    go_on(__doc__, STUDIES, RESULTS)


if __name__ == "__main__":
    main()
