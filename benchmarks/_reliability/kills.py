"""Training that is killed at random moments, again and again, and goes on each time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._reliability.agents import ROOT, SMALL, made
from sb3_softac import SoftAC
from sb3_softac.callbacks import CheckpointCallback
from sb3_softac.saving.files import SavedFileError

EVERY = 100


def main(folder: str) -> None:
    """Go on from the checkpoint, or begin; say each step in a file. It ends by being killed."""
    path = Path(folder)
    try:
        model = SoftAC.load_checkpoint(path / "checkpoints", made("Pendulum-v1")())
    except SavedFileError:
        model = SoftAC("MlpPolicy", made("Pendulum-v1")(), **SMALL | {"buffer_size": 20_000})
    with (path / "loaded").open("a") as loaded:
        loaded.write(f"{model.num_timesteps}\n")
    steps = (path / "steps").open("wb", buffering=0)

    def tell() -> None:
        steps.seek(0)
        steps.write(f"{model.num_timesteps:012d}".encode())

    model._between_rollouts.append(tell)
    model.learn(10**9, CheckpointCallback(EVERY, path / "checkpoints"), log_interval=None, reset_num_timesteps=False)


def measure(n_kills: int, seed: int = 0) -> dict[str, Any]:
    """Kill and go on; how many steps were lost each time, and whether any start found no checkpoint that was whole."""
    rng = np.random.default_rng(seed)
    lost, damaged = [], 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for kill in range(n_kills):
            reached = _run_and_kill(path, float(rng.uniform(0.1, 2.0)))
            if reached is None:
                damaged += 1
                continue
            resumed_at = _resumed_at(path)
            lost.append(reached - resumed_at)
            if kill % 20 == 19:
                print(kill + 1, "kills; lost at most", max(lost), "; at step", reached, flush=True)
    return {
        "kills": n_kills,
        "every": EVERY,
        "lost_most": max(lost),
        "lost_mean": float(np.mean(lost)),
        "damaged": damaged,
    }


def _run_and_kill(folder: Path, seconds: float) -> int | None:
    """Let a process train for some time from its first step on, kill it, and return the step that it had reached."""
    (folder / "steps").unlink(missing_ok=True)
    program = "import torch; torch.set_num_threads(1); from benchmarks._reliability import kills; kills.main({!r})"
    command = [sys.executable, "-W", "ignore", "-c", program.format(str(folder))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (folder / "steps").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    told = process.communicate()[1]
    if not (folder / "steps").exists() or not (folder / "steps").read_text():
        print(told[-1000:], flush=True)
        return None
    return int((folder / "steps").read_text())


def _resumed_at(folder: Path) -> int:
    """The step of the newest whole checkpoint, as the next process would find it."""
    from sb3_softac.saving.checkpoint import newest_whole

    try:
        return int(next(newest_whole(folder / "checkpoints"))[1]["step"])
    except SavedFileError:
        return 0  # killed before the first one
