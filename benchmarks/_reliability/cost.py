"""Cost of a checkpoint: seconds, bytes written, and peak memory, beside Stable-Baselines3's two files.

Theirs are not synced to the disk: a power cut may destroy them after their methods have returned. So they are measured
with a sync as well.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from stable_baselines3 import SAC

from benchmarks._reliability.agents import vectors
from benchmarks._reliability.soak import resident_mib
from sb3_softac import SoftAC

SIZES = (10_000, 100_000, 1_000_000)
OBSERVATION = 17
NEW = 10_000  # transitions between two checkpoints
SOFTAC, SB3, SB3_SYNCED = "SoftAC", "SB3's SAC", "SB3's SAC, synced"


class Peak:
    """The most memory that this process has while a block runs, beyond what it had before; asked every millisecond."""

    def __enter__(self) -> Peak:
        self._before = self._most = resident_mib()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ends.wait(0.001):
            self._most = max(self._most, resident_mib())

    def __exit__(self, *exception: object) -> None:
        self._ends.set()
        self._thread.join()
        self.mib = self._most - self._before


def add(model: Any, count: int, rng: np.random.Generator) -> None:
    """Random transitions in episodes of a thousand, as if an environment had given them."""
    observations = rng.standard_normal((count + 1, 1, OBSERVATION), np.float32)
    for index in range(count):
        done = np.array([index % 1000 == 999])
        reward = np.zeros(1, np.float32)
        model.replay_buffer.add(observations[index], observations[index + 1], np.zeros((1, 2)), reward, done, [{}])
    model.num_timesteps += count


def bytes_in(folder: Path) -> dict[Path, float]:
    """Files of a folder, with the moment at which each was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def save(model: Any, folder: Path, is_synced: bool) -> None:
    """What a user of each has to call so that a run can go on."""
    if isinstance(model, SoftAC):
        model.save_checkpoint(folder, keep=1)
        return
    model.save(folder / "model")
    model.save_replay_buffer(folder / "buffer")
    for path in (folder / "model.zip", folder / "buffer.pkl", folder) if is_synced else ():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def main(name: str, size: int) -> dict[str, Any]:
    """Save a full buffer, and once more after some transitions; then load."""
    cls = SoftAC if name == SOFTAC else SAC
    model = cls("MlpPolicy", vectors(OBSERVATION), buffer_size=size, device="cpu", seed=0).learn(1)
    rng = np.random.default_rng(0)
    add(model, size - 1, rng)
    row: dict[str, Any] = {"name": name, "size": size}
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        for kind in ("full", "incremental"):
            before = bytes_in(folder)
            with Peak() as peak:
                begin = time.perf_counter()
                save(model, folder, name == SB3_SYNCED)
                seconds = time.perf_counter() - begin
            written = sum(file.stat().st_size for file, when in bytes_in(folder).items() if before.get(file) != when)
            row[kind] = {"seconds": seconds, "mib": written / 2**20, "peak_mib": peak.mib}
            add(model, NEW, rng)
        del model
        with Peak() as peak:
            begin = time.perf_counter()
            load(cls, folder)
            seconds = time.perf_counter() - begin
        row["load"] = {"seconds": seconds, "peak_mib": peak.mib}
    return row


def load(cls: Any, folder: Path) -> None:
    """The same the other way round."""
    if cls is SoftAC:
        SoftAC.load_checkpoint(folder, vectors(OBSERVATION))
    else:
        cls.load(folder / "model", vectors(OBSERVATION)).load_replay_buffer(folder / "buffer")


def measure(sizes: tuple[int, ...], repeats: int) -> list[dict[str, Any]]:
    """Medians of several processes for each size, by turns."""
    from benchmarks._reliability.agents import in_process

    rows = []
    for size in sizes:
        runs: dict[str, list[dict[str, Any]]] = {SOFTAC: [], SB3: [], SB3_SYNCED: []}
        for _ in range(repeats):
            for name in runs:
                code, row = in_process("cost", name, size)
                assert code == 0, row
                runs[name].append(row)
        for name, own in runs.items():
            medians = {
                kind: {key: median(run[kind][key] for run in own) for key in own[0][kind]}
                for kind in ("full", "incremental", "load")
            }
            rows.append({"name": name, "size": size, "repeats": repeats, **medians})
            print(rows[-1], flush=True)
    return rows
