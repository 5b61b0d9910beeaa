"""What do demonstrations gain on the same budget of steps? A teacher learns, shows some episodes, and others learn.

    python -m benchmarks.offline                           # two environments, five seeds: half an hour
    python -m benchmarks.offline --quick                   # a look in a minute, into logs/offline

Writes ``<environment>.json`` and ``<environment>.md``. All ways have the same arguments, evaluations and seeds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from scipy import stats
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from benchmarks import _machine
from benchmarks._output import Columns, interval, number, publish, table
from sb3_softac import SoftAC, offline

RESULTS = Path(__file__).resolve().parent / "results" / "offline"
SEEDS = range(200, 205)
SPARSE = "UprightPendulum-v0"
TEACHER_SEED, DATA_SEED, EVALUATION_SEED = 1, 2, 10_000
EPISODES, EVALUATIONS = 10, 4
SCRATCH, SHOWN, NO_STEP = "from scratch", "`add_demonstrations`, half of each batch", "`learn_offline`, no step"


class Task(NamedTuple):
    """An environment, and the budget of steps in it.

    :param teacher: who shows how
    :param teacher_steps: steps that the teacher learns; 0 for a rule
    :param shown_steps: steps of the demonstrations
    :param steps: budget of those who learn
    :param updates: gradient steps for each step
    :param ways: of learning, among :data:`WAYS`
    :param arguments: of all agents
    """

    teacher: str
    teacher_steps: int
    shown_steps: int
    steps: int
    updates: int
    ways: tuple[str, ...]
    arguments: dict[str, Any]


class Upright(gym.RewardWrapper):
    """Pendulum with a sparse reward: 1 while it stands, within 18 degrees, and 0 else."""

    def reward(self, reward: Any) -> float:
        return float(np.cos(self.unwrapped.state[0]) > 0.95)


gym.register(SPARSE, entry_point=lambda: Upright(gym.make("Pendulum-v1")))

# Fast learners, as the budget is small: chosen by what the seeds 100 and 101 learnt from demonstrations.
ARGUMENTS: dict[str, Any] = {
    "learning_rate": 2e-3,
    "gamma": 0.98,
    "tau": 0.02,
    "batch_size": 128,
    "policy_kwargs": {"net_arch": [64, 64], "layer_norm": True},
}
TASKS = {
    SPARSE: Task(
        teacher="a SoftAC that learnt Pendulum-v1: the same steps, with rewards that are easy to learn from",
        teacher_steps=3_000,
        shown_steps=2_000,
        steps=600,
        updates=3,
        ways=(SCRATCH, SHOWN, NO_STEP),
        arguments=ARGUMENTS,
    ),
    "MountainCarContinuous-v0": Task(
        teacher="a rule: push the way that the car moves, with noise",
        teacher_steps=0,
        shown_steps=2_000,
        steps=800,
        updates=3,
        ways=(SCRATCH, SHOWN),
        arguments=ARGUMENTS | {"gamma": 0.99},
    ),
}


class Pusher:
    """Pushes the car of MountainCarContinuous-v0 the way that it moves."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(TEACHER_SEED)

    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        pushes = np.sign(observation[:, 1:]) + self.generator.normal(0.0, 0.5, (len(observation), 1))
        return np.clip(pushes, -1.0, 1.0).astype(np.float32), None


class Curve(BaseCallback):
    """Mean returns of deterministic actions while an agent learns.

    :param env_id: to evaluate in
    """

    def __init__(self, env_id: str) -> None:
        super().__init__()
        self.env = make_vec_env(env_id, n_envs=EPISODES)
        self.points: dict[int, float] = {}

    def _on_step(self) -> bool:
        self.points[self.num_timesteps] = evaluated(self.model, self.env)
        return True


def evaluated(model: Any, env: Any) -> float:
    """Mean return of one episode from each of the same ``EPISODES`` states."""
    env.seed(EVALUATION_SEED)
    returns, _ = evaluate_policy(model, env, n_eval_episodes=EPISODES, return_episode_rewards=True)
    return float(np.mean(returns))


def from_scratch(model: SoftAC, shown: offline.Data, task: Task, curve: Curve) -> None:
    model.learn(task.steps, EveryNTimesteps(task.steps // EVALUATIONS, curve))


def demonstrated(model: SoftAC, shown: offline.Data, task: Task, curve: Curve) -> None:
    model.add_demonstrations(shown, ratio=0.5)
    from_scratch(model, shown, task, curve)


def without_steps(model: SoftAC, shown: offline.Data, task: Task, curve: Curve) -> None:
    offline.fill_buffer(model, shown)
    updates = task.steps * task.updates
    model.learn_offline(updates, EveryNTimesteps(updates // EVALUATIONS, curve), log_interval=None)


WAYS: dict[str, Callable[[SoftAC, offline.Data, Task, Curve], None]] = {
    SCRATCH: from_scratch,
    SHOWN: demonstrated,
    NO_STEP: without_steps,
}


def measure(env_id: str, task: Task, seeds: Sequence[int]) -> dict[str, Any]:
    """Rows of one environment: the teacher's data, and the curve of each way and seed."""
    began = time.perf_counter()
    if task.teacher_steps:
        teacher: Any = made("Pendulum-v1", task, TEACHER_SEED, updates=1).learn(task.teacher_steps)
    else:
        teacher = Pusher()
    shown = offline.collect(teacher, env_id, task.shown_steps, seed=DATA_SEED)
    print(env_id, "teacher", shown.returns().round(1).tolist(), flush=True)
    whole = shown.returns()[:-1]  # the last one may be cut
    result: dict[str, Any] = {
        "env": env_id,
        "task": task._asdict() | {"arguments": repr(task.arguments)},
        "teacher": {"return": evaluated(teacher, make_vec_env(env_id, n_envs=EPISODES))},
        "shown": {"steps": shown.n_steps, "episodes": len(whole), "return": float(np.mean(whole))},
        "rows": [row(env_id, task, shown, way, seed) for seed in seeds for way in task.ways],
    }
    return result | {"minutes": (time.perf_counter() - began) / 60}


def made(env_id: str, task: Task, seed: int, updates: int) -> SoftAC:
    """An agent that makes so many gradient steps for each step."""
    return SoftAC("MlpPolicy", env_id, seed=seed, buffer_size=10_000, gradient_steps=updates, **task.arguments)


def row(env_id: str, task: Task, shown: offline.Data, way: str, seed: int) -> dict[str, Any]:
    """The curve of one training."""
    curve = Curve(env_id)
    WAYS[way](made(env_id, task, seed, task.updates), shown, task, curve)
    points = [[step, round(value, 2)] for step, value in curve.points.items()]
    print(env_id, seed, way, points, flush=True)
    return {"way": way, "seed": seed, "curve": points}


def with_interval(values: Sequence[float]) -> str:
    """The mean, with its 95 % interval by Student's distribution."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return number(mean)
    return interval(mean, *stats.t.interval(0.95, len(values) - 1, loc=mean, scale=stats.sem(values)))


def last(rows: list[dict[str, Any]], way: str, index: int = -1) -> list[float]:
    """Returns of a way at one of its evaluations, in the order of the seeds."""
    return [each["curve"][index][1] for each in rows if each["way"] == way]


def report(result: dict[str, Any]) -> str:
    """The summary in Markdown."""
    rows, task, shown = result["rows"], result["task"], result["shown"]
    seeds = sorted({each["seed"] for each in rows})
    scratch = last(rows, SCRATCH)
    parts = [f"{index}/{EVALUATIONS}" for index in range(1, EVALUATIONS + 1)]

    def gain(way: str) -> str:
        if way == SCRATCH:
            return ""
        return with_interval([a - b for a, b in zip(last(rows, way), scratch, strict=True)])

    columns: Columns = (
        ("way", lambda way: way),
        *(
            (f"after {part}", partial(lambda i, way: with_interval(last(rows, way, i)), i))
            for i, part in enumerate(parts)
        ),
        (f"gain over {SCRATCH}", gain),
        ("worst seed", lambda way: number(min(last(rows, way)))),
    )
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"# Demonstrations in {result['env']}\n\n"
        f"Written by `python -m benchmarks.offline`: {task['steps']:,} steps and {task['steps'] * task['updates']:,} "
        f"gradient steps, seeds {', '.join(map(str, seeds))}. Mean return of {EPISODES} episodes with deterministic "
        "actions, its mean over the seeds and the 95 % interval of that (Student's), after each quarter of the budget. "
        "Gains are differences of equal seeds.\n\n"
        f"The teacher is {task['teacher']} ({task['teacher_steps']:,} steps). It has a return of "
        f"{number(result['teacher']['return'])} here, and showed {shown['steps']:,} steps; the {shown['episodes']} "
        f"whole episodes among them have {number(shown['return'])}. `learn_offline` makes as many gradient steps, and "
        "no step in the environment.\n\n"
        f"{table(columns, task['ways'])}\n"
        f"- Arguments of all: `{task['arguments']}`.\n"
        f"- Machine: {result['machine']['cpu']}, one thread; {number(result['minutes'])} minutes.\n"
        f"- Versions: {versions}.\n"
    )


QUICK = {"teacher_steps": 600, "shown_steps": 400, "steps": 400}


def main() -> None:
    """Measure environments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--quick", action="store_true", help="fewer of everything, into logs/offline")
    parser.add_argument("--out", type=Path, help="folder of the results")
    options = parser.parse_args()
    th.set_num_threads(1)
    out = options.out or (Path("logs/offline") if options.quick else RESULTS)
    for env_id in options.envs:
        task = TASKS[env_id]._replace(**QUICK) if options.quick else TASKS[env_id]
        result = measure(env_id, task, SEEDS[:2] if options.quick else SEEDS)
        result |= {"machine": _machine.machine(), "versions": _machine.versions()}
        publish(out / env_id, result, report(result))


if __name__ == "__main__":
    main()
