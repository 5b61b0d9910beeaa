"""Results on disk, written after each point: a run that was stopped goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks._output import ratio_interval, write_atomically
from benchmarks._speed.pairs import Plan
from benchmarks._speed.points import Point, Start, measure

#: what tells the points of a file apart: a new one takes the place of an old one that has the same
KEY = ("axis", "value", "threads")


def run(points: list[Point], plan: Plan, start: Start, path: Path, force: bool = False) -> dict[str, Any]:
    """Measure the points that are not in the file yet.

    :param points: to be measured; others that are in the file stay there
    :param plan: how much to measure
    :param start: makes the agents
    :param path: of the JSON
    :param force: measure them again
    :return: the content of the file
    """
    content = read(path)
    for point in points:
        settings = point.settings(plan)
        print(f"{point.axis} {point.value}, {point.threads} thread(s)", flush=True)
        if not force and any(stored["settings"] == settings for stored in content["points"]):
            print("  measured before (--force measures again)", flush=True)
            continue
        measured = measure(point, plan, start)
        report(measured)
        content["points"] = sorted(
            [*(p for p in content["points"] if _key(p["settings"]) != _key(settings)), measured],
            key=lambda p: _place(_key(p["settings"])),
        )
        write(content, path)
    return content


def read(path: Path) -> dict[str, Any]:
    """The content of a file of results; no points where there is none, or one of an earlier form."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content if "points" in content else {"points": []}


def write(content: dict[str, Any], path: Path) -> None:
    """Replace the file in one go."""
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def _key(settings: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(settings[name] for name in KEY)


def _place(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Numbers in their order; the named cases stay in that of their measurement."""
    axis, value, threads = key
    return axis, value if isinstance(value, int) else 0, threads


def report(point: dict[str, Any]) -> None:
    """A line for each ratio of a point."""
    if "skipped" in point:
        print(f"  not measured: {point['skipped']}", flush=True)
    for name, measured in point.get("measures", {}).items():
        for contender, found in measured["contenders"].items():
            print(f"  {name:8} {contender:18} {ratio_interval(found['ratio'])}", flush=True)
