"""Denormal numbers in Adam's state: how many are there, and what do they cost an update?

    python -m benchmarks.decisions.denormals

Answer (Intel Xeon, Pendulum-v1, one thread; `results/intel/denormals.md`, and `default_learning_rate/` beside it):
after 5000 steps with a learning rate of 1e-3, 48 % of the means of the actor's gradients are denormal, and 40 % of the
critics'. Taking denormal numbers for zero makes SoftAC's updates 1.19 [1.15, 1.23] times as fast, SB3's SAC's 1.08
[1.07, 1.10] times; after 3000 steps with the default rate 1.10 [1.09, 1.11] and 1.05 [1.03, 1.06] times. So SoftAC
takes them for zero while it updates.

Both agents train while denormal numbers are kept; then updates are timed with and without them, in short blocks by
turns in one process, each from the same state.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from benchmarks import _machine
from benchmarks._output import grid, number, ratio_interval
from benchmarks._speed.pairs import Calls, Plan, alternate
from sb3_softac import SoftAC, softac

AGENTS = {"SoftAC": SoftAC, "Stable-Baselines3's SAC": SAC}
COLUMNS = ("agent", "denormal means of gradients: actor", "critics", "an update with them, ms", "ratio")
BATCH = 256


def measure(agent: type[OffPolicyAlgorithm], learning_rate: float, steps: int, pairs: int) -> list[str]:
    """Share of denormal numbers after some steps, and the ratio of the rates of updates."""
    with patch.object(softac, "denormals_as_zero", nullcontext):  # it is set by hand, for both agents alike
        model = agent("MlpPolicy", "Pendulum-v1", learning_rate=learning_rate, batch_size=BATCH, seed=0, device="cpu")
        model.learn(steps)
        optimizers = model.actor.optimizer, model.critic.optimizer
        moments = [[state["exp_avg"] for state in optimizer.state.values()] for optimizer in optimizers]
        shares = [f"{share_of_denormals(tensors):.0%}" for tensors in moments]
        workers = [Calls(updates(model, [*moments[0], *moments[1]], as_zero)) for as_zero in (True, False)]
        found: Any = alternate({"zero": workers[0]}, workers[1], "", Plan(pairs=pairs))["contenders"]["zero"]
    return [*shares, number(1e3 / found["reference_per_second"]["median"]), ratio_interval(found["ratio"])]


def share_of_denormals(tensors: list[th.Tensor]) -> float:
    """Of all numbers in some tensors."""
    numbers = th.cat([tensor.flatten() for tensor in tensors])
    return ((numbers != 0) & (numbers.abs() < th.finfo(numbers.dtype).tiny)).float().mean().item()


def updates(model: OffPolicyAlgorithm, tensors: list[th.Tensor], as_zero: bool) -> Callable[[int], None]:
    """Gradient steps, as a function of their number, from the moments as they are now."""
    kept = [tensor.clone() for tensor in tensors]

    def run(count: int) -> None:
        for tensor, start in zip(tensors, kept, strict=True):
            tensor.copy_(start)
        th.set_flush_denormal(as_zero)
        model.train(count, BATCH)
        th.set_flush_denormal(False)

    return run


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000, help="before it is measured (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of both (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=40, help="of blocks for each ratio (default: %(default)s)")
    options = parser.parse_args()
    th.set_num_threads(1)
    if not th.set_flush_denormal(True):
        raise SystemExit("This CPU cannot take denormal numbers for zero.")
    th.set_flush_denormal(False)
    rows = [
        [name, *measure(agent, options.learning_rate, options.steps, options.pairs)] for name, agent in AGENTS.items()
    ]
    print(f"# Denormal numbers\n\nPendulum-v1, {vars(options)}, one thread, {_machine.machine()['cpu']}.\n")
    print(grid(COLUMNS, rows))


if __name__ == "__main__":
    main()
