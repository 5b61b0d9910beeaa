"""Peak memory and first update of one agent, in a process of its own: job on stdin, result on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]


def measure_alone(job: dict[str, Any]) -> dict[str, float]:
    """Start a process that measures one agent, and wait for its result.

    :param job: ``algo``, ``case``, ``arguments``, ``threads``, ``steps``
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks._speed.child"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        cwd=_ROOT,
    )
    if done.returncode:
        raise RuntimeError(
            f"Measuring {job['algo']} alone failed (exit code {done.returncode}):\n{done.stderr[-4000:]}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory_mib() -> float:
    """The most memory this process has held.

    ``ru_maxrss`` alone is not enough: Linux carries it over from the parent through fork and exec, so the
    child of a large process starts with a large peak. The kernel's VmHWM belongs to this program only.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def measure_here(job: dict[str, Any]) -> dict[str, float]:
    """Build the agent, time its first updates, let it learn, and look at the peak."""
    import torch as th

    from benchmarks._algorithms import load_algorithm
    from benchmarks._speed.case import Case

    th.set_num_threads(job["threads"])
    case = Case(**job["case"])
    load_algorithm(job["algo"])
    after_imports = peak_memory_mib()
    started = time.perf_counter()
    model = case.build(job["algo"], **job["arguments"])
    built = time.perf_counter() - started
    model.learn(model.learning_starts)
    updates = [_seconds_of_one_update(model, case) for _ in range(21)]
    model.learn(job["steps"], reset_num_timesteps=False)
    measured = {
        "peak_mib": peak_memory_mib(),
        "peak_after_imports_mib": after_imports,
        "build_ms": 1e3 * built,
        "first_update_ms": 1e3 * updates[0],
        "later_update_ms": 1e3 * median(updates[1:]),
    }
    if case.device.startswith("cuda"):
        measured["peak_device_mib"] = th.cuda.max_memory_allocated(case.device) / 2**20
    return {name: round(value, 3) for name, value in measured.items()}


def _seconds_of_one_update(model: Any, case: Any) -> float:
    import torch as th

    started = time.perf_counter()
    model.train(gradient_steps=1, batch_size=case.batch_size)
    if case.device.startswith("cuda"):
        th.cuda.synchronize(case.device)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(measure_here(json.load(sys.stdin))))
