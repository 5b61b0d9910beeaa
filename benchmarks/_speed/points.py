"""Points of measurement: some contenders and a reference, on one case, with one number of threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from benchmarks import _machine
from benchmarks._speed.case import Case
from benchmarks._speed.contenders import Contender, RefusedError
from benchmarks._speed.pairs import Plan, Worker, alternate

#: contender, case, transitions, threads -> started
Start = Callable[[Contender, Case, int, int], Worker]

BOTH = ("updates", "learn")
#: name of an axis -> the field of ``Case`` (``threads``: of ``Point``), what is measured, and the values
AXES: dict[str, tuple[str, tuple[str, ...], tuple[int, ...]]] = {
    "batch": ("batch_size", ("updates",), (64, 128, 256, 512, 1024, 2048, 4096)),
    "width": ("width", ("updates",), (64, 128, 256, 512, 1024)),
    "critics": ("critics", ("updates",), (1, 2, 3, 5, 10)),
    "n_envs": ("n_envs", ("learn",), (1, 2, 4, 8, 16, 32, 64)),
    "threads": ("threads", BOTH, (1, 2)),
}


@dataclass(frozen=True)
class Point:
    """One point of measurement.

    :param axis: what varies between the points of a file
    :param value: of this one
    :param case: sizes
    :param threads: of each agent
    :param contenders: each measured against the reference
    :param reference: what they are compared with
    :param measures: ``"updates"``, ``"learn"``
    """

    axis: str
    value: int | str
    case: Case
    threads: int
    contenders: tuple[Contender, ...]
    reference: Contender
    measures: tuple[str, ...] = BOTH

    def settings(self, plan: Plan) -> dict[str, Any]:
        """As in the JSON: a stored point of equal settings is this one."""
        return json.loads(json.dumps({**asdict(self), "plan": plan._asdict()}))


def sweep(axes: list[str], base: Point, few: bool = False) -> list[Point]:
    """A point for each value of each axis.

    :param axes: of ``AXES``
    :param base: all that does not vary
    :param few: the first and the middle value of each axis, for a quick look
    """
    points = []
    for axis in axes:
        if axis not in AXES:
            raise ValueError(f"Unknown axis {axis!r}; known are {', '.join(AXES)}.")
        field, measures, values = AXES[axis]
        for value in (values[0], values[len(values) // 2]) if few else values:
            varied = {"threads": value} if field == "threads" else {"case": replace(base.case, **{field: value})}
            points.append(replace(base, axis=axis, value=value, measures=measures, **varied))
    return points


def measure(point: Point, plan: Plan, start: Start) -> dict[str, Any]:
    """Start-up figures and paired rates; a contender that cannot take part is named and left out."""
    result: dict[str, Any] = {"settings": point.settings(plan)}
    available = _machine.usable_cores()
    if point.threads > available:
        return {**result, "skipped": f"{point.threads} threads on {available} usable core(s)"}
    load_at_start = _machine.load_average()
    with ExitStack() as stack:
        workers, startup, refused = start_all(point, plan, start, stack)
        if "reference" in refused:
            return {**result, "skipped": refused["reference"]}
        versions = {name: version for w in workers.values() for name, version in w.call("versions").items()}
        reference = workers.pop("reference")
        measured = {name: alternate(workers, reference, name, plan) for name in point.measures if workers}
    return {
        **result,
        "refused": refused,
        "startup": {role: _medians(rows) for role, rows in startup.items()},
        "measures": measured,
        "versions": versions,
        "machine": _machine.machine(),
        "load_average": {"start": load_at_start, "end": _machine.load_average()},
    }


def start_all(
    point: Point, plan: Plan, start: Start, stack: ExitStack
) -> tuple[dict[str, Worker], dict[str, list[dict[str, float]]], dict[str, str]]:
    """Start the reference and every contender, in turn and ``plan.repeats`` times; those of the last time stay.

    :param stack: closes them
    :return: who takes part, the start-up figures of each start, and the reasons of those who do not; nobody takes part
        without a reference
    """
    workers: dict[str, Worker] = {}
    startup: dict[str, list[dict[str, float]]] = {}
    refused: dict[str, str] = {}
    everyone = {"reference": point.reference, **{c.name: c for c in point.contenders}}
    for _ in range(max(1, plan.repeats)):
        for role, contender in everyone.items():
            if role in refused:
                continue
            if role in workers:
                workers.pop(role).close()
            try:
                worker = start(contender, point.case, plan.transitions, point.threads)
                stack.callback(worker.close)
                startup.setdefault(role, []).append(worker.call("startup"))
            except (RefusedError, RuntimeError) as error:
                refused[role] = str(error)
                if role == "reference":
                    return {}, {}, refused
                print(f"  left out: {error}", flush=True)
                continue
            workers[role] = worker
    return workers, startup, refused


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(median(row[key] for row in rows), 3) for key in rows[0]}
