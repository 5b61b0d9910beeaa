"""How many numbers in an agent's optimizers are denormal, and what they cost an update.

    python -m benchmarks.denormals

Trains SoftAC and Stable-Baselines3's SAC while denormal numbers are kept, then times updates with and without them, in
short blocks by turns in one process, each from the same state. Above 1: taking them for zero, which SoftAC does, is the
faster one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from benchmarks import _machine
from benchmarks._output import Columns, number, publish, ratio_interval, table
from benchmarks._speed.pairs import Calls, Plan, alternate
from sb3_softac import SoftAC, softac

RESULTS = Path(__file__).resolve().parent / "results"
AGENTS = {"SoftAC": SoftAC, "Stable-Baselines3's SAC": SAC}
BATCH = 256


def measure(agent: type[OffPolicyAlgorithm], settings: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Share of denormal numbers after some steps, and the ratio of the rates of updates.

    :param agent: algorithm
    :param settings: environment, learning rate, and steps before it is measured
    :param plan: how much to measure
    """
    with patch.object(softac, "denormals_as_zero", nullcontext):  # it is set by hand, for both agents alike
        arguments = {"learning_rate": settings["learning_rate"], "batch_size": BATCH}
        model = agent("MlpPolicy", settings["env"], **arguments, seed=0, device="cpu")
        model.learn(settings["steps"])
        moments = {"actor": moments_of(model.actor.optimizer), "critics": moments_of(model.critic.optimizer)}
        shares = {name: share_of_denormals(tensors) for name, tensors in moments.items()}
        tensors = [tensor for each in moments.values() for tensor in each]
        workers = [Calls(updates(model, tensors, as_zero)) for as_zero in (True, False)]
        return {"share": shares} | alternate({"zero": workers[0]}, workers[1], "", plan)["contenders"]["zero"]


def moments_of(optimizer: th.optim.Optimizer) -> list[th.Tensor]:
    """The means of gradients that Adam keeps."""
    return [state["exp_avg"] for state in optimizer.state.values()]


def share_of_denormals(tensors: list[th.Tensor]) -> float:
    """Of all numbers in some tensors."""
    numbers = th.cat([tensor.flatten() for tensor in tensors])
    smallest = th.finfo(numbers.dtype).tiny
    return round(((numbers != 0) & (numbers.abs() < smallest)).float().mean().item(), 4)


def updates(model: OffPolicyAlgorithm, tensors: list[th.Tensor], as_zero: bool) -> Callable[[int], None]:
    """Gradient steps, as a function of their number, from the moments as they are now.

    :param model: trained
    :param tensors: its moments
    :param as_zero: whether denormal numbers are taken for zero
    """
    kept = [tensor.clone() for tensor in tensors]

    def run(count: int) -> None:
        for tensor, start in zip(tensors, kept, strict=True):
            tensor.copy_(start)
        th.set_flush_denormal(as_zero)
        model.train(count, BATCH)
        th.set_flush_denormal(False)

    return run


COLUMNS: Columns = (
    ("agent", lambda item: item[0]),
    ("denormal means of gradients: actor", lambda item: f"{item[1]['share']['actor']:.0%}"),
    ("critics", lambda item: f"{item[1]['share']['critics']:.0%}"),
    ("an update with them, ms", lambda item: number(1e3 / item[1]["reference_per_second"]["median"])),
    ("ratio", lambda item: ratio_interval(item[1]["ratio"])),
)


def report(result: dict[str, Any]) -> str:
    """The rows in Markdown."""
    settings = result["settings"]
    lines = [
        "# Denormal numbers",
        "",
        f"Written by `python -m benchmarks.denormals`: {settings['env']}, {settings['steps']} steps, learning rate "
        f"{settings['learning_rate']:g}, batch {BATCH}, one thread, {result['machine']['cpu']}.",
        "The ratio of the rates of updates is the median of neighbouring blocks with its 95% interval; above 1, it is",
        "faster to take denormal numbers for zero, as SoftAC does.",
        "",
    ]
    return "\n".join(lines) + "\n" + table(COLUMNS, result["agents"].items())


def main() -> None:
    """Measure, write `denormals.json` and `denormals.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Pendulum-v1", help="Gymnasium id (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=5000, help="before it is measured (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of both (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=40, help="of blocks for each ratio (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default: %(default)s)")
    options = parser.parse_args()
    th.set_num_threads(1)
    if not th.set_flush_denormal(True):
        raise SystemExit("This CPU cannot take denormal numbers for zero.")
    th.set_flush_denormal(False)
    plan = Plan(pairs=options.pairs)
    load_at_start = _machine.load_average()
    settings = {name: value for name, value in vars(options).items() if name != "out"} | {"batch": BATCH}
    result = {
        "settings": settings,
        "machine": _machine.machine(),
        "versions": _machine.versions(),
        "agents": {name: measure(agent, settings, plan) for name, agent in AGENTS.items()},
        "load_average": {"start": load_at_start, "end": _machine.load_average()},
    }
    publish(options.out / "denormals", result, report(result))


if __name__ == "__main__":
    main()
