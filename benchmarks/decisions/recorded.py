"""A recorded update on a CPU: called from Python or by PyTorch's interpreter, with fixed places, with joined critics?

    python -m benchmarks.decisions.recorded

Answer: `results/recorded.md`. The interpreter takes 0.6 to 0.8 of the time of the same list in Python, more for larger
networks, and computes the same bits. Fixed places for results, and one product for both critics, each save a little
more. So `engines/traced.py` uses all three, and Python only where there is no such interpreter.

Each way replays updates of one agent on one batch, in short blocks by turns with the list in Python.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from typing import Any
from unittest.mock import patch

import torch as th
from torch import fx
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import _machine
from benchmarks._output import grid
from benchmarks._speed.case import Case
from benchmarks._speed.pairs import Calls, Plan, alternate
from sb3_softac import SoftAC
from sb3_softac.engines import passes, replays, traced
from sb3_softac.networks.blocks import MLP
from sb3_softac.networks.fused import products

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


def case(width: int, batch_size: int) -> Case:
    """A case of these sizes."""
    return Case(width=width, batch_size=batch_size)


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
        model = case(width, batch_size).build(SoftAC, {"engine": "traced", "learning_starts": UPDATES})
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


def share_of_arithmetic(width: int, batch_size: int) -> list[Any]:
    """Time that the products of an update would take at the rate of a large one, over the time of the whole update."""
    with patch.object(products, "onednn_is_faster", lambda dtype=None: False):  # whose calls are not counted
        model = case(width, batch_size).build(SoftAC, {"engine": "fused", "learning_starts": UPDATES})
        model.learn(UPDATES + 1, log_interval=None)
        with FlopCounterMode(display=False) as counter:
            model.train(1, batch_size)
    operations = counter.get_total_flops()
    a, b = th.randn(512, 512), th.randn(512, 512)
    large = Calls(lambda count: [a @ b for _ in range(count)] and None)
    update = recorded(width, batch_size, ())
    found = alternate({"update": Calls(lambda count: [update() for _ in range(count)] and None)}, large, "", PLAN)
    own = found["contenders"]["update"]
    # Speed over the large product's, times how many of those the update is.
    n_large = operations / (2 * 512**3)
    rate = 2 * 512**3 * own["reference_per_second"]["median"] / 1e9
    low, middle, high = (n_large * own["ratio"][name] for name in ("q1", "median", "q3"))
    return [width, batch_size, f"{operations / 1e6:.0f}", f"{rate:.0f}", f"{middle:.2f} ({low:.2f} to {high:.2f})"]


def recording(width: int, batch_size: int) -> list[Any]:
    """What it takes to record an update."""
    taken: list[float] = []

    def capture(self: traced.TraceCapture, function: Callable[[], None]) -> Callable[[], None]:
        started = time.process_time()
        replay = own(self, function)
        taken.append(1e3 * (time.process_time() - started))
        return replay

    own = traced.TraceCapture.capture
    with patch.object(traced.TraceCapture, "capture", capture):
        for _ in range(5):
            model = case(width, batch_size).build(SoftAC, {"engine": "traced", "learning_starts": 10})
            model.learn(50, log_interval=None)
    return [width, batch_size, f"{median(taken):.0f} ({min(taken):.0f} to {max(taken):.0f})"]


def main() -> None:
    """Measure on one thread, and print the tables."""
    th.set_num_threads(1)
    machine = _machine.machine()
    print("# A recorded update on a CPU\n")
    print(f"{machine['cpu']}, torch {th.__version__}, one thread; microseconds, and speed over the list in Python.\n")
    head = ("width", "batch", "way", "list in Python, us", "this way, us", "speed ratio")
    print(grid(head, (row for size in SIZES for row in measure(*size))))
    print("\n## Share of the arithmetic\n")
    print("Time of the products at the rate of one of 512 x 512 x 512, over the time of the whole update.\n")
    head = ("width", "batch", "MFLOP of products", "GFLOP/s of the large product", "share")
    print(grid(head, (share_of_arithmetic(*size) for size in SIZES)))
    print("\n## Recording\n")
    print(grid(("width", "batch", "CPU ms"), (recording(*size) for size in SIZES)))


if __name__ == "__main__":
    main()
