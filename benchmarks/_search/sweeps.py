"""How long a sweep takes on one core and on two, with each engine."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

ENV, SEEDS, STEPS = "Pendulum-v1", 4, 1000
CASES = ((None, 1), (None, 2), ("local", 2))  # addresses of Ray, or None for processes, and cores
OPTIONS = ["-n", str(STEPS), "--eval-freq", "500", "--eval-episodes", "1"]


def seconds(ray: str | None, workers: int, seeds: int, options: list[str]) -> float:
    """Wall-clock time of a sweep, with all that the command does but its own start."""
    from sb3_softac.zoo.sweep import command

    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--env", ENV, "--seeds", f"0-{seeds - 1}", "-f", folder, "--workers", str(workers), *options]
        start = time.perf_counter()
        command.main([*arguments, *(["--ray", ray] if ray else [])])
        taken = time.perf_counter() - start
        written = Path(folder) / "table.csv"
        if written.read_text().count("\n") != 2:
            raise RuntimeError(f"the sweep has no result: {written.read_text()}")
    return taken


def measure(repeats: int, seeds: int = SEEDS, options: list[str] = OPTIONS) -> list[dict[str, Any]]:
    """The engines and the numbers of cores by turns."""
    times: dict[tuple[str | None, int], list[float]] = {case: [] for case in CASES}
    for _ in range(repeats):
        for case in CASES:
            times[case].append(seconds(*case, seeds, options))
    return [
        {"engine": "Ray" if ray else "processes", "cores": workers, "runs": seeds, "seconds": taken}
        for (ray, workers), taken in times.items()
    ]
