"""Every system call with which a file is written, killed or failing: the file is the old one or the new one.

``strace`` lets the N-th write, sync or rename of a save kill the process, or fail with a full or broken disk. It counts
the calls of each kind from the start of a process. So all saves are children of one process that has an agent to save,
and each of them makes some calls that do nothing, until that of its save is the one that ``strace`` waits for.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks._reliability.agents import SMALL, digest_of, in_process, vectors
from sb3_softac import SoftAC
from sb3_softac.saving import chunks

#: kinds of calls, and one of each that does nothing
IDLE: dict[str, Callable[[], Any]] = {
    "write": lambda: os.write(2, b""),
    "fsync": lambda: os.fsync(2),
    "rename": lambda: os.rename("", ""),
}
FAULTS = {"kill -9": "signal=KILL", "disk full": "error=ENOSPC", "disk broken": "error=EIO"}
METHODS = ("save", "save_replay_buffer", "save_checkpoint")
MARK = "the save begins"


# So small that arrays have several, of which some are new; as in a large replay buffer.
chunks.PIECE_BYTES = 4096


def fill(folder: Path, method: str, steps: int) -> SoftAC:
    """An agent after some steps, saved."""
    model = SoftAC("MlpPolicy", vectors(3), **SMALL).learn(steps)
    getattr(model, method)(folder / "saved")
    return model


def main(method: str, jobs: list[tuple[str, str, int]]) -> int:
    """Save an agent, after some steps more, in a child for each folder.

    :param jobs: folders, and how many calls of which kind do nothing; then comes a write of :data:`MARK`, and the save
    """
    model = SoftAC.load(Path(jobs[0][0]) / "agent.zip", vectors(3))
    model.load_replay_buffer(Path(jobs[0][0]) / "buffer.pkl")
    model.learn(60, reset_num_timesteps=False)
    for folder, kind, count in jobs:
        child = os.fork()
        if child == 0:
            try:
                for _ in range(count):
                    with suppress(OSError):
                        IDLE[kind]()
                os.write(2, MARK.encode())
                getattr(model, method)(Path(folder) / "saved")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    return len(jobs)


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


def copies(folder: Path, count: int) -> list[Path]:
    """The folder that is to survive, for each fault."""
    return [Path(shutil.copytree(folder, f"{folder}_{uuid.uuid4().hex}")) for _ in range(count)]


def calls_of(method: str, folder: Path) -> list[str]:
    """Kinds of the calls of a save, in their order."""
    log = folder / "calls"
    with traced((str(log),), method, [(folder, "write", 0)]):
        lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    child = next(process for process, call in lines if MARK in call)
    calls = [call for process, call in lines if process == child]
    begin = next(number for number, call in enumerate(calls) if MARK in call)
    assert begin == 0, calls[:begin]
    return [call.split("(")[0] for call in calls[1:] if call.split("(")[0] in IDLE]


@contextmanager
def traced(options: tuple[str, ...], method: str, jobs: list[tuple[Path, str, int]]) -> Iterator[None]:
    """Saves that are traced; their folders are removed in the end.

    :param options: file of the log, and what ``strace`` is to inject
    """
    log, *expressions = options
    expressions.insert(0, f"trace={','.join(IDLE)}")
    prefix = ("strace", "-f", "-o", log, *(part for each in expressions for part in ("-e", each)))
    given = [(str(folder), kind, count) for folder, kind, count in jobs]
    code, told = in_process("crashes", method, given, prefix=prefix)
    assert (code, told) == (0, len(jobs)), told
    yield
    for folder, *_ in jobs:
        shutil.rmtree(folder)


def measure(
    methods: tuple[str, ...] = METHODS, faults: tuple[str, ...] = tuple(FAULTS), last: int | None = None
) -> list[dict[str, Any]]:
    """For each method and fault: the calls, and how often the file was the old one, the new one, or broken.

    :param last: look at the last calls only, and at this many of them
    """
    rows = []
    for method in methods:
        folder = prepared(method)
        before = state_of(folder, method)
        for_counting, for_nothing = copies(folder, 2)
        calls = calls_of(method, for_counting)
        with traced((os.devnull,), method, [(for_nothing, "write", 0)]):
            after = state_of(for_nothing, method)
        for fault in faults:
            rows.append(
                {"method": method, "fault": fault, **_outcomes(folder, method, fault, calls, before, after, last)}
            )
            print(rows[-1], flush=True)
        shutil.rmtree(folder)
    return rows


def _outcomes(
    folder: Path, method: str, fault: str, calls: list[str], before: Any, after: Any, last: int | None
) -> dict[str, int]:
    """One method with one fault, in each of its calls."""
    # One more than there are, with the write of the mark, so that it is reached only by those that do nothing.
    awaited = {kind: calls.count(kind) + 2 for kind in IDLE}
    injected = [f"inject={kind}:{FAULTS[fault]}:when={number}" for kind, number in awaited.items()]
    idle = [
        (kind, awaited[kind] - calls[: number + 1].count(kind) - (kind == "write")) for number, kind in enumerate(calls)
    ][-(last or len(calls)) :]
    counts = {"calls": len(idle), "old": 0, "new": 0, "broken": 0, "left": 0}
    jobs = [(path, *each) for path, each in zip(copies(folder, len(idle)), idle, strict=True)]
    with traced((os.devnull, *injected), method, jobs):
        for path, kind, count in jobs:
            try:
                found = state_of(path, method)
            except Exception as error:  # what must not happen
                print(method, fault, kind, count, repr(error)[:300], flush=True)
                found = None
            counts["old" if found == before else "new" if found == after else "broken"] += 1
            counts["left"] += any(fault != "kill -9" for _ in path.rglob("*.part"))
    return counts
