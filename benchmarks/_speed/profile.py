"""Where the time of one environment step goes, for several agents in turn."""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median
from typing import Any

from benchmarks import _machine
from benchmarks._speed.pairs import Plan, Worker, calibrate
from benchmarks._speed.points import Point, Start, start_all
from benchmarks._speed.timers import PARTS


def profile_all(points: list[Point], plan: Plan, start: Start) -> dict[str, Any]:
    """Content of ``profile.json``.

    :param points: one for each number of threads
    :param plan: rounds (``pairs``) and their length
    :param start: makes the agents
    """
    rows: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    versions: dict[str, str] = {}
    load_at_start = _machine.load_average()
    for point in points:
        with ExitStack() as stack:
            workers, _, left_out = start_all(point, plan._replace(repeats=1), start, stack)
            refused |= left_out
            if not workers:
                continue
            workers = {point.reference.name: workers.pop("reference"), **workers}
            versions |= {name: v for worker in workers.values() for name, v in worker.call("versions").items()}
            rows += _in_turn(workers, point.threads, plan)
    return {
        "settings": [point.settings(plan) for point in points],
        "rows": rows,
        "refused": refused,
        "versions": versions,
        "machine": _machine.machine(),
        "load_average": {"start": load_at_start, "end": _machine.load_average()},
    }


def _in_turn(workers: dict[str, Worker], threads: int, plan: Plan) -> list[dict[str, Any]]:
    steps = {name: calibrate(worker, "learn", plan.block_seconds) for name, worker in workers.items()}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for _ in range(plan.pairs):
        for name, worker in workers.items():
            rounds[name].append(worker.call("profile", steps=steps[name]))
    return [{"contender": name, "threads": threads, **middle(found)} for name, found in rounds.items()]


def middle(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over several breakdowns of one agent.

    :param rounds: of :func:`breakdown`
    """
    return {
        "parts": {part: round(median(r["parts"][part] for r in rounds), 4) for part in PARTS},
        **{key: round(median(r[key] for r in rounds), 4) for key in ("step_ms", "step_without_timers_ms")},
    }
