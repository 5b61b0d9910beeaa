"""Memory and time of the replay buffer, beside Stable-Baselines3's.

    python -m benchmarks.replay

Memory: of buffers that are filled in processes of their own, bytes of the arrays when full, and growth of the resident
memory when the buffer is made, when it is half full, and when it is full. Time: `add()` and `sample()` in short blocks
by turns in one process, ratios of neighbouring blocks; above 1, SoftAC's buffer is the faster one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from benchmarks import _machine
from benchmarks._output import Columns, grid, number, publish, table
from benchmarks._speed.pairs import Calls, Plan, alternate
from sb3_softac.buffers import SingleCopyReplayBuffer

RESULTS = Path(__file__).resolve().parent / "results"
SPACES = {
    "17 numbers": spaces.Box(-1.0, 1.0, (17,)),
    "4 x 84 x 84 bytes": spaces.Box(0, 255, (4, 84, 84), np.uint8),
}
ACTIONS = spaces.Box(-1.0, 1.0, (6,))
BUFFERS = {"ours": SingleCopyReplayBuffer, "theirs": ReplayBuffer}
TRANSITIONS = {"17 numbers": 200_000, "4 x 84 x 84 bytes": 10_000}  # capacity, scaled down from a million
EPISODE = 200  # steps, then a time limit
BATCH = 256


class Timing(NamedTuple):
    """What is timed: `add`, `sample`, `sample of 3 steps`, or `20 batches` at once."""

    what: str
    observation: str
    n_envs: int


TIMINGS = [
    *(Timing("add", "17 numbers", n_envs) for n_envs in (1, 8, 64)),
    *(Timing("sample", "17 numbers", n_envs) for n_envs in (1, 8, 64)),
    Timing("20 batches", "17 numbers", 1),
    Timing("sample of 3 steps", "17 numbers", 1),
    *(Timing(what, "4 x 84 x 84 bytes", n_envs) for what in ("add", "sample") for n_envs in (1, 8)),
]


def main() -> None:
    """Measure, write `replay.json` and `replay.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40, help="of blocks for each ratio (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default: %(default)s)")
    parser.add_argument("--child", nargs=2, metavar=("BUFFER", "OBSERVATION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(memory(*options.child)))
        return
    th.set_num_threads(1)
    plan = Plan(pairs=options.pairs, block_seconds=0.05)
    load_at_start = _machine.load_average()
    result = {
        "settings": {"pairs": options.pairs, "batch": BATCH, "episode": EPISODE, "transitions": TRANSITIONS},
        "machine": _machine.machine(),
        "versions": _machine.versions(),
        "memory": {name: {buffer: memory_in_child(buffer, name) for buffer in BUFFERS} for name in SPACES},
        "time": [timing._asdict() | measure(timing, plan) for timing in TIMINGS],
        "load_average": {"start": load_at_start, "end": _machine.load_average()},
    }
    publish(options.out / "replay", result, report(result))


def steps(space: spaces.Box, n_envs: int, count: int) -> list[tuple[Any, ...]]:
    """Arguments of `add()`, as `learn()` gives them: random observations, episodes that end by a time limit."""
    random = np.random.default_rng(0)

    def observations() -> np.ndarray:
        shape = (n_envs, *space.shape)
        if space.dtype == np.uint8:
            return random.integers(0, 255, shape, dtype=np.uint8)
        return random.uniform(-1, 1, shape).astype(np.float32)

    age = random.integers(0, EPISODE, n_envs)
    made, obs = [], observations()
    for _ in range(count):
        age += 1
        done = age >= EPISODE
        age[done] = 0
        following = observations()
        next_obs = following.copy()
        if done.any():
            next_obs[done] = observations()[done]
        action = random.uniform(-1, 1, (n_envs, 6)).astype(np.float32)
        infos = [{"TimeLimit.truncated": bool(over)} for over in done]
        made.append((obs, next_obs, action, random.normal(size=n_envs), done, infos))
        obs = following
    return made


def memory_in_child(buffer: str, observation: str) -> dict[str, Any]:
    """:func:`memory` in a process of its own, which has allocated nothing before."""
    command = [sys.executable, "-m", "benchmarks.replay", "--child", buffer, observation]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory(buffer: str, observation: str) -> dict[str, Any]:
    """Bytes of the arrays of a full buffer, and growth of the resident memory until then."""
    space, capacity = SPACES[observation], TRANSITIONS[observation]
    made = steps(space, 1, 5 * EPISODE)
    before = resident_bytes()
    replay = BUFFERS[buffer](capacity, space, ACTIONS, "cpu")
    growth = {"made": resident_bytes() - before}
    for index, step in zip(range(capacity), cycle(made), strict=False):
        replay.add(*step)
        if index + 1 in (capacity // 2, capacity):
            growth["half full" if index + 1 < capacity else "full"] = resident_bytes() - before
    return {"array_bytes": array_bytes(replay), "resident_growth": growth}


def array_bytes(replay: ReplayBuffer) -> int:
    """Bytes that a buffer has allocated, with ours' spare slots."""
    if isinstance(replay, SingleCopyReplayBuffer):
        return replay.host_bytes() + sum(store.slots.data.nbytes for store in replay._stores.values())
    return sum(value.nbytes for value in vars(replay).values() if isinstance(value, np.ndarray))


def resident_bytes() -> int:
    """Memory of this process that is in use now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(timing: Timing, plan: Plan) -> dict[str, Any]:
    """Calls per second of both buffers, and the ratio, of buffers that are full."""
    space = SPACES[timing.observation]
    n_steps = {"n_steps": 3} if timing.what == "sample of 3 steps" else {}
    arguments = (TRANSITIONS[timing.observation], space, ACTIONS, "cpu", timing.n_envs)
    ours = SingleCopyReplayBuffer(*arguments, **n_steps)
    theirs = NStepReplayBuffer(*arguments, **n_steps) if n_steps else ReplayBuffer(*arguments)
    is_image = space.dtype == np.uint8
    made = steps(space, timing.n_envs, max(1, (1000 if is_image else 20_000) // timing.n_envs))
    for replay in (ours, theirs):
        for _, step in zip(range(replay.buffer_size), cycle(made), strict=False):
            replay.add(*step)
    result = alternate(
        {"ours": Calls(calling(timing.what, ours, made))}, Calls(calling(timing.what, theirs, made)), "", plan
    )
    return result["contenders"]["ours"]


def calling(what: str, replay: ReplayBuffer, made: list[tuple[Any, ...]]) -> Callable[[int], None]:
    """What is timed, as a function of the number of calls.

    :param what: of a :class:`Timing`
    :param replay: full
    :param made: steps to add
    """
    endless = cycle(made)

    def add(count: int) -> None:
        for step in islice(endless, count):
            replay.add(*step)

    def sample(count: int) -> None:
        for _ in range(count):
            replay.sample(BATCH)

    def sample_together(count: int) -> None:
        for start in range(0, count, 20):
            for _ in replay.sample_batches(min(20, count - start), BATCH):
                pass

    if what == "add":
        return add
    return sample_together if what == "20 batches" and isinstance(replay, SingleCopyReplayBuffer) else sample


MEMORY = ("observation", "transitions", "buffer", "arrays, full", "resident: made", "half full", "full")
TIME: Columns = (
    ("call", lambda row: row["what"]),
    ("observation", lambda row: row["observation"]),
    ("environments", lambda row: row["n_envs"]),
    ("ours, us", lambda row: number(1e6 / row["per_second"]["median"])),
    ("theirs, us", lambda row: number(1e6 / row["reference_per_second"]["median"])),
    ("speed ratio", lambda row: "{median:.2f} ({q1:.2f} to {q3:.2f})".format(**row["ratio"])),
)


def report(result: dict[str, Any]) -> str:
    """Memory and times in Markdown."""
    parts = [
        "# The replay buffer, beside Stable-Baselines3's\n",
        "Written by `python -m benchmarks.replay`. Memory in MB; ours over theirs in brackets.\n",
        grid(MEMORY, _memory_rows(result)),
        f"Time of a call, one thread; batches of {BATCH}, episodes of {EPISODE} steps. The speed ratio is the\n"
        "median of neighbouring blocks (and its quartiles); above 1, ours is the faster one.\n",
        table(TIME, result["time"]),
    ]
    return "\n".join(parts)


def _memory_rows(result: dict[str, Any]) -> Iterator[list[str]]:
    for observation, rows in result["memory"].items():
        for buffer, row in rows.items():
            growth = row["resident_growth"]
            sizes = row["array_bytes"], growth["made"], growth["half full"], growth["full"]
            shown = [f"{size / 1e6:.1f}" for size in sizes]
            if buffer == "ours":
                shown[0] += f" ({row['array_bytes'] / rows['theirs']['array_bytes']:.3f})"
                shown[-1] += f" ({growth['full'] / rows['theirs']['resident_growth']['full']:.3f})"
            yield [observation, str(result["settings"]["transitions"][observation]), buffer, *shown]


if __name__ == "__main__":
    main()
