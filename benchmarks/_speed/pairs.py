"""Two agents in turn, in one process: what disturbs the machine disturbs both, and their ratio stays."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch as th

from benchmarks._speed.case import Case

Block = Callable[[], object]


class Plan(NamedTuple):
    """How much is measured: ``pairs`` pairs of blocks, after ``warmup_pairs`` that do not count.

    ``seconds`` ends a measurement early, after at least two pairs: two torch threads beside a busy process can be a
    hundred times slower than alone, and what they measure then is worth no wait.
    """

    pairs: int = 40
    warmup_pairs: int = 3
    updates_per_block: int = 50
    steps_per_block: int = 50
    transitions: int = 10_000
    seconds: float = 120.0


def measure(
    case: Case, contender: str, reference: str, plan: Plan, threads: int, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Updates per second and steps of ``learn()`` per second of both agents, at a number of torch threads.

    :param case: sizes
    :param contender: the algorithm whose speed is in question
    :param reference: the algorithm it is compared with
    :param plan: how much to measure
    :param threads: torch threads
    :param arguments: of the contender's constructor only
    """
    before = th.get_num_threads()
    th.set_num_threads(threads)
    try:
        return {
            "threads": threads,
            "updates": _updates(case, contender, reference, plan, arguments),
            "learn": _learn(case, contender, reference, plan, arguments),
        }
    finally:
        th.set_num_threads(before)


def _updates(case: Case, contender: str, reference: str, plan: Plan, arguments: dict[str, Any]) -> dict[str, Any]:
    """``train()`` alone, on a buffer that is filled already."""

    def block(model: Any) -> Block:
        return lambda: model.train(gradient_steps=plan.updates_per_block, batch_size=case.batch_size)

    ours = case.build_filled(contender, plan.transitions, **arguments)
    theirs = case.build_filled(reference, plan.transitions)
    return alternate(block(ours), block(theirs), plan, plan.updates_per_block, case.device)


def _learn(case: Case, contender: str, reference: str, plan: Plan, arguments: dict[str, Any]) -> dict[str, Any]:
    """The whole loop: act, store, sample, update."""

    def block(model: Any) -> Block:
        return lambda: model.learn(plan.steps_per_block, reset_num_timesteps=False)

    ours, theirs = case.build(contender, **arguments), case.build(reference)
    for model in (ours, theirs):  # past the random steps at the start, and past the first updates
        model.learn(model.learning_starts + 50)
    return alternate(block(ours), block(theirs), plan, plan.steps_per_block, case.device)


def alternate(ours: Block, theirs: Block, plan: Plan, size: int, device: str) -> dict[str, Any]:
    """Time blocks in the order A B, B A, A B, ...: a drift of the machine favours neither.

    :param ours: a block of the contender
    :param theirs: a block of the reference, of equal size
    :param plan: number of pairs
    :param size: updates or steps in a block
    :param device: waited for before each look at the clock
    """
    rows: list[tuple[float, ...]] = []
    started = time.perf_counter()
    for index in range(-plan.warmup_pairs, plan.pairs):
        if index % 2 == 0:
            first, second = _time(ours, device), _time(theirs, device)
        else:
            second, first = _time(theirs, device), _time(ours, device)
        if len(rows) >= 2 and time.perf_counter() - started > plan.seconds:
            break
        if index >= 0:
            rows.append((size / first[0], size / second[0], second[0] / first[0], second[1] / max(first[1], 1e-9)))
    contender, reference, ratios, cpu_ratios = (list(column) for column in zip(*rows, strict=True))
    return {
        "block": size,
        "pairs": len(rows),
        "contender_per_second": summary(contender),
        "reference_per_second": summary(reference),
        "ratio": summary(ratios),
        "cpu_time_ratio": summary(cpu_ratios),
        "ratios": [round(ratio, 4) for ratio in ratios],
    }


def summary(values: list[float]) -> dict[str, float]:
    """Median, quartiles and extremes."""
    low, first, median, third, high = np.percentile(values, (0, 25, 50, 75, 100))
    named = {"median": median, "q1": first, "q3": third, "min": low, "max": high}
    return {name: round(float(value), 4) for name, value in named.items()}


def _time(block: Block, device: str) -> tuple[float, float]:
    """Wall and CPU seconds of a block; the garbage of earlier blocks is collected before, none during it."""
    gc.collect()
    gc.disable()
    try:
        _wait(device)
        wall, cpu = time.perf_counter(), time.process_time()
        block()
        _wait(device)
        return time.perf_counter() - wall, time.process_time() - cpu
    finally:
        gc.enable()


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        th.cuda.synchronize(device)
