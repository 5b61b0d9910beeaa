"""Every system call with which a file is written, killed or failing: the file is the old one or the new one.

``strace`` lets the N-th write, sync or rename of a save kill the process, or fail with a full or broken disk. One
process is traced for each N, up to the last call.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._reliability.agents import SMALL, digest_of, in_process, vectors
from sb3_softac import SoftAC

CALLS = "write,fsync,rename"
FAULTS = {"kill -9": "signal=KILL", "disk full": "error=ENOSPC", "disk broken": "error=EIO"}
METHODS = ("save", "save_replay_buffer", "save_checkpoint")
MARK = "the save begins"


def fill(folder: Path, method: str, steps: int) -> SoftAC:
    """An agent after some steps, saved."""
    model = SoftAC("MlpPolicy", vectors(3), **SMALL).learn(steps)
    getattr(model, method)(folder / "saved")
    return model


def main(folder: str, method: str) -> None:
    """Save once more, after some steps more. What is traced begins with a write of :data:`MARK`."""
    model = SoftAC.load(Path(folder) / "agent.zip", vectors(3))
    model.load_replay_buffer(Path(folder) / "buffer.pkl")
    model.learn(60, reset_num_timesteps=False)
    os.write(2, MARK.encode())
    getattr(model, method)(Path(folder) / "saved")


def state_of(folder: Path, method: str) -> Any:
    """What a user would find: a hash of what is loaded."""
    if method == "save":
        return digest_of(SoftAC.load(folder / "saved", vectors(3)))
    if method == "save_checkpoint":
        return digest_of(SoftAC.load_checkpoint(folder / "saved", vectors(3)))
    model = SoftAC.load(folder / "agent.zip", vectors(3))
    model.load_replay_buffer(folder / "saved")
    return model.replay_buffer.size()


def prepared(method: str) -> Path:
    """A folder with the file that is to survive."""
    folder = Path(tempfile.mkdtemp())
    model = fill(folder, method, 120)
    model.save(folder / "agent.zip")
    model.save_replay_buffer(folder / "buffer.pkl")
    return folder


def calls_of(method: str) -> tuple[int, int]:
    """The first and the last call of a save, counted from the start of the process."""
    folder = prepared(method)
    log = folder / "calls"
    in_process("crashes", str(folder), method, prefix=("strace", "-o", str(log), "-e", f"trace={CALLS}"))
    calls = [line for line in log.read_text().splitlines() if re.match(r"(write|fsync|rename)\(", line)]
    shutil.rmtree(folder)
    return next(number for number, line in enumerate(calls, 1) if MARK in line) + 1, len(calls)


def measure(methods: tuple[str, ...] = METHODS, faults: tuple[str, ...] = tuple(FAULTS)) -> list[dict[str, Any]]:
    """For each method and fault: the calls, and how often the file was the old one, the new one, or broken."""
    rows = []
    for method in methods:
        first, last = calls_of(method)
        clean = prepared(method)
        before = state_of(clean, method)
        in_process("crashes", str(clean), method)
        after = state_of(clean, method)
        for fault in faults:
            row = {"method": method, "fault": fault, "calls": last - first, "old": 0, "new": 0, "broken": 0, "left": 0}
            for number in range(first, last):
                folder = prepared(method)
                inject = f"inject={CALLS}:{FAULTS[fault]}:when={number}"
                prefix = ("strace", "-o", os.devnull, "-e", f"trace={CALLS}", "-e", inject)
                in_process("crashes", str(folder), method, prefix=prefix)
                try:
                    found = state_of(folder, method)
                except Exception as error:  # what must not happen
                    print(method, fault, number, repr(error)[:300], flush=True)
                    found = None
                row["old" if found == before else "new" if found == after else "broken"] += 1
                row["left"] += any(fault != "kill -9" for _ in folder.rglob("*.part"))
                shutil.rmtree(folder)
            rows.append(row)
            print(row, flush=True)
    return rows
