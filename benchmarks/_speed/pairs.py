"""Agents in turn, exactly one at work: what disturbs the machine disturbs neighbours alike, and their ratio stays."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from benchmarks._speed.stats import summary


class Worker(Protocol):
    """An agent in this process or in another."""

    def call(self, method: str, **arguments: Any) -> Any:
        """A method of :class:`~benchmarks._speed.agent.Agent`."""

    def close(self) -> None:
        """Give back what it holds."""


class Calls:
    """A function that is called again and again, in blocks: a worker of the benchmark of speed.

    :param function: makes a number of calls
    """

    def __init__(self, function: Callable[[int], None]) -> None:
        self._function = function

    def call(self, method: str, count: int) -> dict[str, float]:
        """Time a block."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._function(count)
        return {"count": count, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    def close(self) -> None:
        """Nothing is held."""


class Plan(NamedTuple):
    """How much is measured: ``pairs`` pairs of blocks a contender, after ``warmup_pairs`` that do not count.

    A block has as many updates or steps as the reference does in ``block_seconds``. ``seconds`` ends a measurement
    early, after at least two pairs: two torch threads beside a busy process can be a hundred times slower than alone,
    and what they measure then is worth no wait.
    """

    pairs: int = 40
    warmup_pairs: int = 3
    block_seconds: float = 0.4
    transitions: int = 5000
    repeats: int = 3
    seconds: float = 300.0


QUICK = Plan(pairs=8, warmup_pairs=1, block_seconds=0.12, transitions=1000, repeats=1, seconds=15.0)
#: of a sweep: many points, each with few short blocks
SWEEP = Plan(pairs=8, warmup_pairs=1, block_seconds=0.25, transitions=1000, repeats=0, seconds=90.0)


def alternate(contenders: dict[str, Worker], reference: Worker, measure: str, plan: Plan) -> dict[str, Any]:
    """Time blocks of each contender beside a block of the reference, in the order A B, B A, A B, ...

    A drift of the machine then favours neither.

    :param contenders: by name, all started
    :param reference: what each is compared with, started
    :param measure: ``"updates"`` or ``"learn"``
    :param plan: how much to measure
    """
    size = calibrate(reference, measure, plan.block_seconds)
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in contenders}
    started = time.perf_counter()
    for index in range(-plan.warmup_pairs, plan.pairs):
        complete = [len(measured) for measured in rows.values()]
        if min(complete) >= 2 and time.perf_counter() - started > plan.seconds:
            break
        for name, contender in contenders.items():
            ours, theirs = _pair(contender, reference, measure, size, contender_first=index % 2 == 0)
            if index >= 0:
                rows[name].append((_rate(ours), _rate(theirs), _rate(ours, "cpu") / _rate(theirs, "cpu")))
    return {"block": size, "contenders": {name: _described(measured, rows) for name, measured in rows.items()}}


def calibrate(reference: Worker, measure: str, block_seconds: float) -> int:
    """How many updates or steps the reference does in ``block_seconds``.

    :param reference: started
    :param measure: ``"updates"`` or ``"learn"``
    :param block_seconds: wanted
    """
    block = reference.call(measure, count=2)  # the first blocks of an agent are slow
    while block["wall"] < block_seconds / 4:
        block = reference.call(measure, count=math.ceil(2 * block["count"]))
    return max(1, round(block_seconds * _rate(block)))


def _pair(ours: Worker, theirs: Worker, measure: str, size: int, contender_first: bool) -> tuple[dict, dict]:
    if contender_first:
        return ours.call(measure, count=size), theirs.call(measure, count=size)
    second = theirs.call(measure, count=size)
    return ours.call(measure, count=size), second


def _rate(block: dict[str, float], clock: str = "wall") -> float:
    """Updates or steps a second; the clock of the CPU may not have ticked in a very short block."""
    return block["count"] / max(block[clock], 1e-9)


def _described(measured: list[tuple[float, ...]], everyone: dict[str, list[tuple[float, ...]]]) -> dict[str, Any]:
    """Rates and ratios of one contender, over the reference and over every other contender of the same round."""
    rates, reference_rates, cpu_ratios = (list(column) for column in zip(*measured, strict=True))
    ratios = [ours / theirs for ours, theirs in zip(rates, reference_rates, strict=True)]
    over = {
        name: summary([mine[0] / other[0] for mine, other in zip(measured, others, strict=True)])
        for name, others in everyone.items()
        if others is not measured
    }
    return {
        "pairs": len(measured),
        "per_second": summary(rates),
        "reference_per_second": summary(reference_rates),
        "ratio": summary(ratios),
        "cpu_time_ratio": summary(cpu_ratios),
        "ratios": [round(ratio, 4) for ratio in ratios],
        "over": over,
    }
