"""Parameters of an optimizer as one flat tensor: do Adam and the moving average of the targets gain by it?

    python -m benchmarks.decisions.flat

Answer: `results/zen4/flat.md`. For two critics of 64 units, a flat tensor saves 14 us of an update's 885 us
(`results/zen4/recorded.md`); of 256 units 17 us of 6900 us. So parameters stay tensors of their
own: `parameters()`, checkpoints and what users do with them need no second layout.

Each way takes steps on its own copy of the parameters of twin critics, in short blocks by turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch as th

from benchmarks import _machine
from benchmarks._output import grid
from benchmarks._speed.case import Case
from benchmarks._speed.pairs import Calls, Plan, alternate
from sb3_softac import SoftAC

WIDTHS = (64, 256)
PLAN = Plan(pairs=20, warmup_pairs=2, block_seconds=0.1)


def adam(parameters: Sequence[th.Tensor]) -> Callable[[], Any]:
    """Steps of a fused Adam."""
    gradients, means, squares = ([th.rand_like(each) for each in parameters] for _ in range(3))
    counts = [th.ones(()) for _ in parameters]
    options = {"beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "eps": 1e-8, "amsgrad": False, "maximize": False}
    return lambda: th._fused_adam_(
        list(parameters), gradients, means, squares, [], counts, lr=th.tensor(3e-4, dtype=th.float64), **options
    )


def average(parameters: Sequence[th.Tensor]) -> Callable[[], Any]:
    """Steps of targets towards parameters."""
    targets = [each.clone() for each in parameters]
    return lambda: th._foreach_lerp_(targets, list(parameters), 0.005)


@th.no_grad()
def rows(width: int) -> list[list[Any]]:
    """One row for Adam and one for the average."""
    model = Case(width=width).build(SoftAC, {"buffer_size": 1})
    found = []
    for name, make in {"Adam": adam, "average of the targets": average}.items():
        own = [parameter.detach().clone() for parameter in model.critic.parameters()]
        flat = [th.cat([parameter.flatten() for parameter in own])]
        calls = {way: calls_of(make(each)) for way, each in {"own": own, "flat": flat}.items()}
        measured = alternate({"flat": calls["flat"]}, calls["own"], "", PLAN)["contenders"]["flat"]
        times = (1e6 / measured[which]["median"] for which in ("reference_per_second", "per_second"))
        found.append(
            [width, name, len(own), *(f"{each:.0f}" for each in times), "{median:.2f}".format(**measured["ratio"])]
        )
    return found


def calls_of(step: Callable[[], Any]) -> Calls:
    """A worker that takes steps."""
    return Calls(lambda count: [step() for _ in range(count)] and None)


def main() -> None:
    """Measure on one thread, and print the table."""
    th.set_num_threads(1)
    print(f"# One flat tensor\n\nTwin critics; {_machine.machine()['cpu']}, torch {th.__version__}, one thread.\n")
    head = ("width", "what", "tensors", "tensors of their own, us", "one flat tensor, us", "speed ratio")
    print(grid(head, (row for width in WIDTHS for row in rows(width))))


if __name__ == "__main__":
    main()
