"""A million steps: memory and speed at the start and at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._reliability.agents import SMALL, vectors
from sb3_softac import SoftAC


def resident_mib() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main(steps: int) -> dict[str, Any]:
    """Train, and look at memory and speed at every fiftieth part of the run. The buffer is full after the first."""
    arguments = SMALL | {"buffer_size": steps // 50, "train_freq": 16, "gradient_steps": 4}
    model = SoftAC("MlpPolicy", vectors(3), **arguments)
    marks: list[tuple[float, float, float]] = []

    def look() -> None:
        if model.num_timesteps >= len(marks) * steps // 50:
            marks.append((time.perf_counter(), time.process_time(), resident_mib()))

    model._between_rollouts.append(look)
    model.learn(steps, log_interval=1000)
    look()
    times, cpu_times, memory = np.array(marks).T
    rates, cpu_rates = (steps / 50 / np.diff(seconds) for seconds in (times, cpu_times))
    first, last = slice(2, 12), slice(-10, None)  # without the parts in which the buffer fills and updates are recorded
    return {
        "steps": model.num_timesteps,
        "updates": model._n_updates,
        "mib": [float(np.median(memory[first])), float(np.median(memory[last]))],
        "steps_per_second": [float(np.median(rates[first])), float(np.median(rates[last]))],
        "steps_per_cpu_second": [float(np.median(cpu_rates[first])), float(np.median(cpu_rates[last]))],
        "all_mib": memory.round(1).tolist(),
        "all_steps_per_second": rates.round(0).tolist(),
        "all_steps_per_cpu_second": cpu_rates.round(0).tolist(),
    }
