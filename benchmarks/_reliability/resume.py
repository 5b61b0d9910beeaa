"""Runs that stop and go on in a new process, against runs that do not stop."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks._reliability.agents import CASES, digest_of, in_process, make
from sb3_softac import SoftAC

TOTAL = 640
#: among the random steps, while the update is not recorded yet, and in the middle of episodes
STOPS = (32, 96, 300, 520)


def main(case: str, folder: str, stopped_at: list[int]) -> Any:
    """Hashes of runs that go on from checkpoints; without any, that of a run that leaves them on its way."""
    if stopped_at:
        return [_go_on(case, Path(folder), step) for step in stopped_at]
    model, exact = make(case), []

    def save() -> None:
        if model.num_timesteps in STOPS:
            exact.append(model.save_checkpoint(Path(folder) / str(model.num_timesteps)).is_exact)

    model._between_rollouts.append(save)
    return {"digest": digest_of(model.learn(TOTAL)), "exact": exact}


def _go_on(case: str, folder: Path, step: int) -> str:
    model = SoftAC.load_checkpoint(folder / str(step), CASES[case][0]())
    return digest_of(model.learn(TOTAL - step, reset_num_timesteps=False))


def measure(cases: list[str]) -> list[dict[str, Any]]:
    """For each case, at how many of its stops the resumed run was the same to the bit."""
    rows = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            code, whole = in_process("resume", case, folder, [])
            if code != 0:
                rows.append({"case": case, "error": whole})
                continue
            code, resumed = in_process("resume", case, folder, STOPS)
        equal = sum(digest == whole["digest"] for digest in resumed) if code == 0 else resumed
        rows.append({"case": case, "said_exact": sum(whole["exact"]), "equal": equal, "stops": len(STOPS)})
        print(rows[-1], flush=True)
    return rows
