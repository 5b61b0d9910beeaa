"""What does it cost to have environments in Ray actors, beside Stable-Baselines3's processes?

    python -m benchmarks.simulators working_2 working_8 working_32 sleeping transport recovery
    python -m benchmarks.simulators working_2 --quick        # a look, into logs/simulators

Each study writes ``<name>.json`` and ``<name>.md``.
"""

from __future__ import annotations

import math
import os
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from benchmarks._machine import load_average, usable_cores
from benchmarks._output import Columns, number
from benchmarks._studies import Study, run
from sb3_softac.distributed import RayVecEnv, connect, memory

RESULTS = Path(__file__).resolve().parent / "results" / "simulators"
VECTOR, IMAGE = spaces.Box(-1.0, 1.0, (20,), np.float32), spaces.Box(0, 255, (84, 84, 4), np.uint8)
BLOCKS, BLOCK_SECONDS = 5, 0.25
MILLISECONDS = (0, 1, 10)

Make = Callable[[list[Callable[[], gym.Env]]], VecEnv]
Kinds = dict[str, tuple[Make, int]]  #: by name: what makes the environments, and how many of them step at once


class Lasting(gym.Env):
    """An environment whose step lasts as long as ``milliseconds`` says, and does nothing else.

    :param works: keep a core busy meanwhile; else sleep, as while another machine computes
    :param space: of the observations
    """

    action_space = spaces.Box(-1.0, 1.0, (6,), np.float32)
    milliseconds = 0.0

    def __init__(self, works: bool = True, space: spaces.Space = VECTOR) -> None:
        self._works = works
        self.observation_space = space
        self._obs = space.sample()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return self._obs, {}

    def step(self, action: np.ndarray) -> Any:
        if not self._works:
            time.sleep(self.milliseconds / 1e3)
        end = time.thread_time() + self.milliseconds / 1e3 if self._works else 0.0
        while time.thread_time() < end:
            pass
        return self._obs, 0.0, False, False, {}

    def process(self) -> int:
        """The process that this environment is in."""
        return os.getpid()


def ray_envs(envs_per_actor: int, fns: list[Callable[[], gym.Env]]) -> VecEnv:
    """Environments in Ray actors."""
    return RayVecEnv(fns, envs_per_actor=envs_per_actor)


def seconds_a_step(step: Callable[[], Any], blocks: int) -> list[float]:
    """Seconds that a step takes, of each block."""
    began = time.perf_counter()
    step()
    count = max(2, math.ceil(BLOCK_SECONDS / (time.perf_counter() - began)))
    found = []
    for _ in range(blocks):
        began = time.perf_counter()
        for _ in range(count):
            step()
        found.append((time.perf_counter() - began) / count)
    return found


def measured(envs: VecEnv, blocks: int) -> list[float]:
    """Seconds that a step of all environments takes, of each block."""
    actions = np.zeros((envs.num_envs, 6), np.float32)
    envs.reset()
    for _ in range(5):
        envs.step(actions)
    return seconds_a_step(lambda: envs.step(actions), blocks)


def measure_envs(cases: dict[int, Kinds], works: bool, quick: bool) -> list[dict[str, Any]]:
    """Seconds of a step, for each number of environments, each kind, and each length of a step.

    :param cases: kinds by the number of environments
    :param works: whether a step keeps a core busy
    """
    rows = []
    for n_envs, kinds in cases.items():
        for kind, (make, at_once) in kinds.items():
            with closing(make([partial(Lasting, works)] * n_envs)) as envs:
                for milliseconds in MILLISECONDS:
                    envs.set_attr("milliseconds", float(milliseconds))
                    seconds = measured(envs, 2 if quick else BLOCKS)
                    least = milliseconds / 1e3 * n_envs / at_once
                    row = {"envs": n_envs, "kind": kind, "milliseconds": milliseconds, "least": least}
                    rows.append(row | {"seconds": seconds, "load": load_average()})
    return rows


def measure_working(n_envs: int, quick: bool) -> list[dict[str, Any]]:
    """Environments that share the cores of this machine."""
    cores = usable_cores()
    without: Kinds = {"`DummyVecEnv`": (DummyVecEnv, 1), "`SubprocVecEnv`": (SubprocVecEnv, cores)}
    rows = measure_envs({n_envs: without}, works=True, quick=quick)  # before Ray's own processes are there
    kinds: Kinds = {"`RayVecEnv`": (partial(ray_envs, 1), cores)}
    if n_envs > cores:
        own = math.ceil(n_envs / cores)
        kinds["`RayVecEnv`, an actor for each core"] = (partial(ray_envs, own), cores)
    with connect(num_cpus=cores):
        return rows + measure_envs({n_envs: kinds}, works=True, quick=quick)


def measure_sleeping(quick: bool) -> list[dict[str, Any]]:
    """Environments that would have cores of their own."""
    cases: dict[int, Kinds] = {}
    for n_envs in (16,) if quick else (16, 64, 256):
        cases[n_envs] = {"`RayVecEnv`, 16 to an actor": (partial(ray_envs, 16), n_envs // 16)}
        if n_envs == 16:
            cases[n_envs] |= {"`SubprocVecEnv`": (SubprocVecEnv, 16), "`RayVecEnv`": (partial(ray_envs, 1), 16)}
    with connect(num_cpus=usable_cores()):
        return measure_envs(cases, works=False, quick=quick)


def plain_calls(ray: Any, actors: list[Any], actions: np.ndarray) -> Callable[[], Any]:
    """Step by calls of Ray."""
    return lambda: ray.get([actor.step.remote(actions) for actor in actors])


@contextmanager
def compiled_graph(ray: Any, actors: list[Any], actions: np.ndarray) -> Iterator[Callable[[], Any]]:
    """Step by a compiled graph of Ray."""
    from ray.dag import InputNode, MultiOutputNode

    with InputNode() as given:
        nodes = MultiOutputNode([actor.step.bind(given) for actor in actors])
    graph = nodes.experimental_compile()
    yield lambda: ray.get(graph.execute(actions))
    graph.teardown()


def measure_transport(quick: bool) -> list[dict[str, Any]]:
    """Ways to ask actors for a step that takes no time."""
    n_actors, n_envs, blocks = 2 if quick else 4, 2, 2 if quick else BLOCKS
    rows: list[dict[str, Any]] = []
    with connect(num_cpus=usable_cores()) as ray:
        for name, space in {"20 numbers": VECTOR, "84 x 84 x 4 pixels": IMAGE}.items():
            fns = [partial(Lasting, True, space)] * n_envs
            actors = [ray.remote(DummyVecEnv).remote(fns) for _ in range(n_actors)]
            ray.get([actor.reset.remote() for actor in actors])
            actions, found = np.zeros((n_envs, 6), np.float32), {}
            found["calls of Ray"] = seconds_a_step(plain_calls(ray, actors, actions), blocks)
            with compiled_graph(ray, actors, actions) as step:
                found["compiled graph of Ray"] = seconds_a_step(step, blocks)
            for actor in actors:
                ray.kill(actor)
            with closing(ray_envs(n_envs, fns * n_actors)) as envs:
                found["`RayVecEnv`"] = measured(envs, blocks)
            no_memory = patch.object(memory.os, "memfd_create", side_effect=OSError)
            with no_memory, closing(ray_envs(n_envs, fns * n_actors)) as envs:
                found["`RayVecEnv`, observations over the socket"] = measured(envs, blocks)
            row = {"observation": name, "load": load_average()}
            rows += [row | {"way": way, "seconds": seconds} for way, seconds in found.items()]
    return rows


def measure_recovery(quick: bool) -> list[dict[str, Any]]:
    """Seconds of the step in which an actor is killed, and started anew."""
    rows = []
    with connect(num_cpus=usable_cores()), closing(ray_envs(1, [Lasting, Lasting])) as envs:
        envs.reset()
        for _ in range(1 if quick else 10):
            os.kill(envs.env_method("process", indices=1)[0], signal.SIGKILL)
            began = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                _, _, dones, _ = envs.step(np.zeros((2, 6), np.float32))
            seconds = time.perf_counter() - began
            rows.append({"seconds": seconds, "truncated": bool(dones[1]), "load": load_average()})
    return rows


def _spread(seconds: list[float], unit: float, digits: int) -> str:
    middle, low, high = statistics.median(seconds) * unit, min(seconds) * unit, max(seconds) * unit
    return f"{number(middle, digits)} ({number(low, digits)} to {number(high, digits)})"


def _rate(row: dict[str, Any]) -> str:
    return f"{row['envs'] / statistics.median(row['seconds']):,.0f}"


#: the number of processes that run or wait for a core, those of the study among them
LOAD = ("load of the machine", lambda row: number(row["load"]))
ENVS: Columns = (
    ("environments", lambda row: row["envs"]),
    ("a step takes", lambda row: f"{row['milliseconds']} ms"),
    ("in", lambda row: row["kind"]),
    ("environment steps a second", _rate),
    ("a step of all, ms", lambda row: _spread(row["seconds"], 1e3, 2)),
    ("of which overhead, ms", lambda row: number((statistics.median(row["seconds"]) - row["least"]) * 1e3, 2)),
    LOAD,
)
TIMED = f"Median, least and most of {BLOCKS} blocks of {BLOCK_SECONDS} s. Nothing is random: there are no seeds."
OVERHEAD = "Overhead is what goes beyond the time of the environments alone, shared among those that step at once."
STUDIES = {
    f"working_{n_envs}": Study(
        f"{n_envs} environments that share two cores",
        partial(measure_working, n_envs),
        ENVS,
        f"- Each step keeps a core busy for as long as it takes. {OVERHEAD}\n- {TIMED}",
        lambda rows: sorted(rows, key=lambda row: row["milliseconds"]),
    )
    for n_envs in (2, 8, 32)
} | {
    "sleeping": Study(
        "Environments as on other cores",
        measure_sleeping,
        ENVS,
        f"- A step sleeps, as if another core computed it; those of one actor step one after the other. {OVERHEAD}\n"
        f"- {TIMED}",
        lambda rows: sorted(rows, key=lambda row: (row["envs"], row["milliseconds"])),
    ),
    "transport": Study(
        "Ways to ask four actors of two environments for a step",
        measure_transport,
        (
            ("an observation", lambda row: row["observation"]),
            ("by", lambda row: row["way"]),
            ("a step of all, ms", lambda row: _spread(row["seconds"], 1e3, 2)),
            LOAD,
        ),
        f"- The steps themselves take no time.\n- {TIMED}",
    ),
    "recovery": Study(
        "An actor that is killed",
        measure_recovery,
        (
            ("killed", lambda row: f"{row['times']} times"),
            ("episode truncated", lambda row: f"{row['truncated']} times"),
            ("seconds until the next observation", lambda row: _spread(row["seconds"], 1.0, 1)),
            LOAD,
        ),
        "- Two actors with an environment each, of which one is killed by SIGKILL before a step.\n"
        "- Median, least and most.",
        lambda rows: [
            {
                "times": len(rows),
                "truncated": sum(row["truncated"] for row in rows),
                "seconds": [row["seconds"] for row in rows],
                "load": statistics.mean(row["load"] for row in rows),
            }
        ],
    ),
}


if __name__ == "__main__":
    run(__doc__, STUDIES, RESULTS)
