"""What does it gain, and what does it do to learning, to train while the environments make their step?

python -m benchmarks.overlap speed              # two minutes, on an idle machine
python -m benchmarks.overlap learning           # ten minutes
python -m benchmarks.overlap speed --quick      # a look, into logs/overlap

Each study writes ``<name>.json`` and ``<name>.md``, after each row; those that are there already are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from benchmarks._observations import runs
from benchmarks._output import number, ratio_interval
from benchmarks._speed.pairs import Calls, Plan, alternate
from benchmarks._studies import Study, go_on
from benchmarks.observations import CURVES, middle_and_end
from sb3_softac import SoftAC

RESULTS = Path(__file__).resolve().parent / "results" / "overlap"
ENV = "Pendulum-v1"

# Speed

WARMUP = 200  # steps, beyond where the update is recorded
PLACES: dict[str, type[VecEnv]] = {"this process": DummyVecEnv, "a process of its own": SubprocVecEnv}
STEPS = {
    "does not wait": {},
    "waits 5 ms": {"waits": 5e-3},
    "waits 20 ms": {"waits": 20e-3},
    "computes 5 ms, in Python": {"computes": 5e-3},
}


class Slow(gym.Wrapper):
    """A simulator that is slow, once it is told so.

    :param env: a fast one
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.waits = 0.0  # seconds of a step, outside Python
        self.computes = 0.0  # seconds of a step, of the CPU

    def step(self, action: Any) -> Any:
        if self.waits:
            time.sleep(self.waits)
        end = time.thread_time() + self.computes
        while self.computes and time.thread_time() < end:
            pass
        return self.env.step(action)


def learner(place: str, step: str, overlap: bool, **arguments: Any) -> SoftAC:
    """An agent that has begun to learn, in an environment that has become slow since."""
    env = make_vec_env(ENV, 1, seed=0, wrapper_class=Slow, vec_env_cls=PLACES[place])
    model = SoftAC("MlpPolicy", env, seed=0, device="cpu", overlap=overlap, **arguments)
    model.learn(WARMUP)
    for name, seconds in STEPS[step].items():
        env.set_attr(name, seconds)
    return model


def learn(model: SoftAC, count: int) -> None:
    """Steps of the environment with their updates."""
    model.learn(count, reset_num_timesteps=False, log_interval=None)


def milliseconds(call: Callable[[], Any], count: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1e3 * median(times)


def measure_speed(quick: bool, rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Time of a step and of its update: alone, one after the other, and side by side."""
    # Long blocks: the first step of each `learn()` has nothing beside it, nor has the last training.
    plan = Plan(pairs=2 if quick else 5, warmup_pairs=0, block_seconds=0.3 if quick else 1.0)
    for step, place in product(STEPS, PLACES):
        if not any((row["step"], row["place"]) == (step, place) for row in rows):
            rows.append(speed(place, step, plan))
            yield rows


def speed(place: str, step: str, plan: Plan, **arguments: Any) -> dict[str, Any]:
    """One row of :func:`measure_speed`.

    :param place: of :data:`PLACES`
    :param step: of :data:`STEPS`
    :param plan: how much to measure
    :param arguments: of the agents
    """
    off, on = (learner(place, step, overlap, **arguments) for overlap in (False, True))
    found = alternate({"on": Calls(partial(learn, on))}, Calls(partial(learn, off)), "", plan)["contenders"]["on"]
    env, action = off.get_env(), np.zeros((1, 1), np.float32)
    step_alone = milliseconds(lambda: env.step(action), 10 * plan.pairs)
    update_alone = milliseconds(lambda: off.train(1, off.batch_size), 10 * plan.pairs)
    off.gradient_steps = 0
    count = 10 * plan.pairs
    row = {
        "step": step,
        "place": place,
        "step_alone": step_alone,
        "update_alone": update_alone,
        "acting": milliseconds(lambda: learn(off, count), 1) / count - step_alone,
        "off": 1e3 / found["reference_per_second"]["median"],
        "on": 1e3 / found["per_second"]["median"],
        "ratio": found["ratio"],
    }
    for model in (off, on):
        model.get_env().close()
    return row


# Learning

ARGUMENTS = {"learning_rate": 1e-3, "gamma": 0.98, "learning_starts": 200, "batch_size": 128}
SMALL = {"policy_kwargs": {"net_arch": [64, 64]}, "buffer_size": 20_000, "device": "cpu"}
ROLLOUTS = {
    "1 step, 1 update": {},
    "40 steps, 40 updates": {"train_freq": 40, "gradient_steps": 40},
}


def agent(rollout: str, overlap: bool, env: VecEnv, seed: int) -> SoftAC:
    """An agent that learns Pendulum."""
    return SoftAC("MlpPolicy", env, seed=seed, overlap=overlap, **ARGUMENTS | SMALL | ROLLOUTS[rollout])


def measure_learning(quick: bool, rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Curves with and without overlap."""
    make_env = runs.vec(lambda: gym.make(ENV))
    cases = {
        rollout: {
            f"`overlap={overlap}`": runs.Contender(partial(agent, rollout, overlap), make_env)
            for overlap in (False, True)
        }
        for rollout in ROLLOUTS
    }
    seeds, steps = (range(1), 800) if quick else (range(5), 4000)
    return runs.train_missing(cases, seeds, rows, steps=steps, every=400, n_episodes=10)


STUDIES = {
    "speed": Study(
        "A step with `overlap=True` takes the larger of two times, and not their sum",
        measure_speed,
        (
            ("a step of the environment", lambda row: row["step"]),
            ("in", lambda row: row["place"]),
            ("step", lambda row: number(row["step_alone"])),
            ("update", lambda row: number(row["update_alone"])),
            ("acting, storing", lambda row: number(row["acting"])),
            ("with the sum", lambda row: number(row["acting"] + row["step_alone"] + row["update_alone"])),
            ("with the larger", lambda row: number(row["acting"] + max(row["step_alone"], row["update_alone"]))),
            ("`overlap=False`", lambda row: number(row["off"])),
            ("`overlap=True`", lambda row: number(row["on"])),
            ("rate with / without", lambda row: ratio_interval(row["ratio"])),
        ),
        f"Milliseconds for a step of {ENV}, made slow, with one gradient step, one thread, networks and batches of "
        "256: each part alone; what both would take one after the other (sum) and side by side (larger); and what was "
        "measured: medians of blocks in turn, and the ratio of rates of neighbouring blocks with its 95 % interval. "
        "Above 1, overlap saves time. An environment in this process makes its step in a thread: one that computes in "
        "Python has to share the interpreter with the training.",
    ),
    "learning": Study(
        "What `overlap=True` does to learning",
        measure_learning,
        (("between two trainings", lambda row: row["case"]), ("", lambda row: row["contender"]), *CURVES),
        f"{ENV}, 4000 steps, networks of 64, batches of 128, a learning rate of 0.001, a discount of 0.98, "
        "deterministic actions in 10 episodes after every 400 steps. Mean ± standard deviation over the seeds, from 0 "
        "on.",
        summary=middle_and_end,
    ),
}

if __name__ == "__main__":
    go_on(__doc__, STUDIES, RESULTS)
