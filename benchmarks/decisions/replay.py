"""The replay buffer: memory and time, beside Stable-Baselines3's.

    python -m benchmarks.decisions.replay

Answer (`results/replay.md`; AMD EPYC, one thread): each observation once takes 0.504 of the memory for images of
4 x 84 x 84 bytes, 0.596 for 17 numbers. `sample()` is 2.3 to 2.7 times as fast for numbers, 3.4 times for 20 batches
at once, 2.1 times with three-step returns, 2.1 and 6.5 times for images; `add()` is slower, 0.85 to 0.97 times. So
SoftAC's own buffer is the default.

Memory (Linux): of buffers that are filled in processes of their own, bytes of the arrays when full, and growth of the
resident memory when the buffer is made, half full, and full. Time: `add()` and `sample()` in short blocks by turns in
one process, ratios of neighbouring blocks; above 1, SoftAC's buffer is the faster one.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from benchmarks._output import grid, number
from benchmarks._speed.pairs import Calls, Plan, alternate
from sb3_softac.buffers import SingleCopyReplayBuffer

NUMBERS, IMAGES = "17 numbers", "4 x 84 x 84 bytes"
SPACES = {NUMBERS: spaces.Box(-1.0, 1.0, (17,)), IMAGES: spaces.Box(0, 255, (4, 84, 84), np.uint8)}
ACTIONS = spaces.Box(-1.0, 1.0, (6,))
BUFFERS = {"ours": SingleCopyReplayBuffer, "theirs": ReplayBuffer}
TRANSITIONS = {NUMBERS: 200_000, IMAGES: 10_000}  # capacity, scaled down from a million
EPISODE = 200  # steps, then a time limit
BATCH = 256
MEMORY = ("observation", "transitions", "buffer", "arrays, full", "resident: made", "half full", "full")
TIME = ("call", "observation", "environments", "ours, us", "theirs, us", "speed ratio")
#: call, observation, environments
TIMINGS = [
    *((what, NUMBERS, n_envs) for what in ("add", "sample") for n_envs in (1, 8, 64)),
    ("20 batches", NUMBERS, 1),
    ("sample of 3 steps", NUMBERS, 1),
    *((what, IMAGES, n_envs) for what in ("add", "sample") for n_envs in (1, 8)),
]


def main() -> None:
    """Measure, and print both tables."""
    th.set_num_threads(1)
    print("# The replay buffer, beside Stable-Baselines3's\n\nMemory in MB; ours over theirs in brackets.\n")
    print(grid(MEMORY, (row for observation in SPACES for row in memory_rows(observation))))
    print(f"Time of a call, one thread; batches of {BATCH}, episodes of {EPISODE} steps.\n")
    print(grid(TIME, ([*timing, *measure(*timing)] for timing in TIMINGS)))


def memory_rows(observation: str) -> list[list[str]]:
    """A row for each buffer, measured in a process of its own, which has allocated nothing before."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        found = {buffer: pool.submit(memory, buffer, observation).result() for buffer in BUFFERS}
    rows = {buffer: [f"{size / 1e6:.1f}" for size in sizes] for buffer, sizes in found.items()}
    for column in (0, -1):
        rows["ours"][column] += f" ({found['ours'][column] / found['theirs'][column]:.3f})"
    return [[observation, str(TRANSITIONS[observation]), buffer, *row] for buffer, row in rows.items()]


def memory(buffer: str, observation: str) -> list[int]:
    """Bytes of the arrays of a full buffer, and growth of the resident memory until it is made, half full, full."""
    space, capacity = SPACES[observation], TRANSITIONS[observation]
    made = steps(space, 1, 5 * EPISODE)
    before = resident_bytes()
    replay = BUFFERS[buffer](capacity, space, ACTIONS, "cpu")
    growth = [resident_bytes() - before]
    for _ in range(2):
        for step in islice(cycle(made), capacity // 2):
            replay.add(*step)
        growth.append(resident_bytes() - before)
    return [array_bytes(replay), *growth]


def array_bytes(replay: ReplayBuffer) -> int:
    """Bytes that a buffer has allocated, with ours' spare slots."""
    if isinstance(replay, SingleCopyReplayBuffer):
        return replay.host_bytes() + sum(store.slots.data.nbytes for store in replay._stores.values())
    return sum(value.nbytes for value in vars(replay).values() if isinstance(value, np.ndarray))


def resident_bytes() -> int:
    """Memory of this process that is in use now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def steps(space: spaces.Box, n_envs: int, count: int) -> list[tuple[Any, ...]]:
    """Arguments of `add()`, as `learn()` gives them: random observations, episodes that end by a time limit."""
    random = np.random.default_rng(0)
    high = 255 if space.dtype == np.uint8 else 1
    age = random.integers(0, EPISODE, n_envs)
    made, obs = [], random.uniform(0, high, (n_envs, *space.shape)).astype(space.dtype)
    for _ in range(count):
        age = (age + 1) % EPISODE
        done = age == 0
        following, last = (random.uniform(0, high, obs.shape).astype(space.dtype) for _ in range(2))
        next_obs = np.where(done.reshape(-1, *[1] * len(space.shape)), last, following)
        action = random.uniform(-1, 1, (n_envs, 6)).astype(np.float32)
        infos = [{"TimeLimit.truncated": bool(over)} for over in done]
        made.append((obs, next_obs, action, random.normal(size=n_envs), done, infos))
        obs = following
    return made


def measure(what: str, observation: str, n_envs: int) -> list[str]:
    """Microseconds of a call of both buffers, which are full, and the ratio of the speeds with its quartiles."""
    space = SPACES[observation]
    n_steps = {"n_steps": 3} if what == "sample of 3 steps" else {}
    arguments = (TRANSITIONS[observation], space, ACTIONS, "cpu", n_envs)
    ours = SingleCopyReplayBuffer(*arguments, **n_steps)
    theirs = NStepReplayBuffer(*arguments, **n_steps) if n_steps else ReplayBuffer(*arguments)
    made = steps(space, n_envs, max(1, (1000 if space.dtype == np.uint8 else 20_000) // n_envs))
    for replay in (ours, theirs):
        for step in islice(cycle(made), replay.buffer_size):
            replay.add(*step)
    workers = [Calls(partial(call, what, replay, cycle(made))) for replay in (ours, theirs)]
    found = alternate({"ours": workers[0]}, workers[1], "", Plan(block_seconds=0.05))["contenders"]["ours"]
    rates = [number(1e6 / found[whose]["median"]) for whose in ("per_second", "reference_per_second")]
    return [*rates, "{median:.2f} ({q1:.2f} to {q3:.2f})".format(**found["ratio"])]


def call(what: str, replay: ReplayBuffer, made: Iterator[tuple[Any, ...]], count: int) -> None:
    """Call a full buffer ``count`` times."""
    if what == "add":
        for step in islice(made, count):
            replay.add(*step)
    elif what == "20 batches" and isinstance(replay, SingleCopyReplayBuffer):
        for start in range(0, count, 20):
            for _ in replay.sample_batches(min(20, count - start), BATCH):
                pass
    else:
        for _ in range(count):
            replay.sample(BATCH)


if __name__ == "__main__":
    main()
