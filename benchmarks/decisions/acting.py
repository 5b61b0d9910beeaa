"""What does `predict()` gain where an actor acts by its operations alone, and how fast is it beside SB3's SAC?

    python -m benchmarks.decisions.acting

Answer: `results/acting.md`. Most of the time of one action is spent around its operations, so `networks/direct.py` runs
those alone. PyTorch's interpreter, which replays recorded updates, was no faster for the dozen operations of an action.

Each way predicts for the same observations, in short blocks by turns with SB3's SAC, in CPU time.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import torch as th
from stable_baselines3 import SAC

from benchmarks import _machine
from benchmarks._output import grid
from benchmarks._speed.case import Case
from benchmarks._speed.pairs import Calls, Plan, alternate
from sb3_softac import SoftAC
from sb3_softac.networks import direct

WIDTHS = (64, 256)
ROWS = (1, 4, 16)  #: observations in one call
PLAN = Plan(pairs=20, warmup_pairs=2, block_seconds=0.08)


def predictor(model: Any, obs: np.ndarray, deterministic: bool, by_modules: bool = False) -> Calls:
    """Predictions, to be timed.

    :param model: an agent
    :param obs: observations
    :param deterministic: the mode, or a sample
    :param by_modules: call the modules of the actor
    """

    def predict(count: int) -> None:
        for _ in range(count):
            model.predict(obs, deterministic=deterministic)

    def plainly(count: int) -> None:
        with patch.object(direct.DirectActor, "__call__", lambda *_: None):
            predict(count)

    return Calls(plainly if by_modules else predict)


def measure(width: int, n_rows: int, deterministic: bool) -> list[Any]:
    """A row of the table."""
    case = Case(width=width)
    ours, theirs = (case.build(algorithm, {"buffer_size": 1}) for algorithm in (SoftAC, SAC))
    obs = np.random.default_rng(0).normal(size=(n_rows, *ours.observation_space.shape)).astype(np.float32)
    workers = {str(by_modules): predictor(ours, obs, deterministic, by_modules) for by_modules in (True, False)}
    found = alternate(workers, predictor(theirs, obs, deterministic), "", PLAN)["contenders"]
    ratios = ["{median:.2f} ({q1:.2f} to {q3:.2f})".format(**own["cpu_time_ratio"]) for own in found.values()]
    return [width, n_rows, "mode" if deterministic else "sample", *ratios]


def main() -> None:
    """Measure on one thread, and print the table."""
    th.set_num_threads(1)
    machine = _machine.machine()
    print("# Acting on a CPU\n")
    print(f"{machine['cpu']}, torch {th.__version__}, one thread; speed of `predict()` over SB3's SAC, in CPU time.\n")
    head = ("width", "observations", "action", "by its modules", "by its operations alone")
    sizes = [(width, rows, mode) for width in WIDTHS for rows in ROWS for mode in (True, False)]
    print(grid(head, (measure(*size) for size in sizes)))


if __name__ == "__main__":
    main()
