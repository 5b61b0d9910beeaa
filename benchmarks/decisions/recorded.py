"""A recorded update on a CPU: called from Python or by PyTorch's interpreter, with fixed places, with joined critics?

    python -m benchmarks.decisions.recorded

Answer: `results/recorded.md`. The interpreter takes 0.6 to 0.8 of the time of the same list in Python, more for larger
networks, and computes the same bits. Fixed places for results, and one product for both critics, each save a little
more. So `engines/traced.py` uses all three, and Python only where there is no such interpreter.

Each way replays updates of one agent on one batch, in short blocks by turns with the list in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch as th
from torch import fx

from benchmarks import _machine
from benchmarks._output import grid
from benchmarks._speed.case import Case
from benchmarks._speed.pairs import Calls, Plan, alternate
from sb3_softac import SoftAC
from sb3_softac.engines import passes, replays, traced
from sb3_softac.networks.blocks import MLP

SIZES = ((64, 64), (64, 256), (256, 64), (256, 256))  #: width, batch
IN_PYTHON = "list in Python"
#: what is left out in each way
WAYS: dict[str, tuple[str, ...]] = {
    IN_PYTHON: ("interpreter", "places", "joined"),
    "interpreter": ("places", "joined"),
    "interpreter, fixed places": ("joined",),
    "interpreter, fixed places, joined critics": (),
}
UPDATES = 200  # before the measurement
PLAN = Plan(pairs=20, warmup_pairs=2, block_seconds=0.15)


def recorded(width: int, batch_size: int, without: tuple[str, ...]) -> Callable[[], None]:
    """The recorded update of an agent.

    :param width: units of each hidden layer
    :param batch_size: transitions in one gradient step
    :param without: what is left out
    """
    found: list[Callable[[], None]] = []

    def keep(graph: fx.Graph, values: dict[fx.Node, th.Tensor]) -> Callable[[], None]:
        in_python = "interpreter" in without
        found.append(replays.listed(graph, values) if in_python else replays.interpreted(graph, values))
        return found[-1]

    with ExitStack() as stack:
        stack.enter_context(patch.object(traced, "interpreted", keep))
        if "places" in without:
            stack.enter_context(patch.object(passes, "place", lambda graph, inputs: None))
        if "joined" in without:
            stack.enter_context(patch.object(MLP, "join"))
        model = Case(width=width, batch_size=batch_size).build(SoftAC, {"engine": "traced", "learning_starts": UPDATES})
        model.learn(2 * UPDATES, log_interval=None)
    return found[-1]


def measure(width: int, batch_size: int) -> list[list[Any]]:
    """A row for each way but the list in Python, with which it is compared."""

    def worker(without: tuple[str, ...]) -> Calls:
        replay = recorded(width, batch_size, without)
        return Calls(lambda count: [replay() for _ in range(count)] and None)

    workers = {way: worker(without) for way, without in WAYS.items()}
    reference = workers.pop(IN_PYTHON)
    found = alternate(workers, reference, "", PLAN)["contenders"]
    return [
        [
            width,
            batch_size,
            way,
            f"{1e6 / own['reference_per_second']['median']:.0f}",
            f"{1e6 / own['per_second']['median']:.0f}",
            "{median:.2f} ({q1:.2f} to {q3:.2f})".format(**own["ratio"]),
        ]
        for way, own in found.items()
    ]


def main() -> None:
    """Measure on one thread, and print the table."""
    th.set_num_threads(1)
    machine = _machine.machine()
    print("# A recorded update on a CPU\n")
    print(f"{machine['cpu']}, torch {th.__version__}, one thread; microseconds, and speed over the list in Python.\n")
    head = ("width", "batch", "way", "list in Python, us", "this way, us", "speed ratio")
    print(grid(head, (row for size in SIZES for row in measure(*size))))


if __name__ == "__main__":
    main()
