"""Do runs and files survive, and what do the checks and the checkpoints cost? A study for each promise.

    python -m benchmarks.reliability resume crashes kills arguments files soak checkpoints checks
    python -m benchmarks.reliability files --quick        # a look in less than a minute, into logs/reliability

Each study writes ``<name>.json`` and ``<name>.md``. ``crashes`` needs ``strace``; ``resume`` the extras ``mujoco`` and
``box2d`` for some of its environments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks._output import Columns, number
from benchmarks._reliability import agents, checks, cost, crashes, inputs, kills, resume
from benchmarks._studies import Study, run

RESULTS = Path(__file__).resolve().parent / "results" / "reliability"


def _soak(quick: bool) -> list[Any]:
    code, row = agents.in_process("soak", 20_000 if quick else 1_000_000, timeout=3600)
    if code != 0:
        raise RuntimeError(row)
    return [row]


def _change(pair: list[float]) -> str:
    return f"{pair[0]:.1f} to {pair[1]:.1f} ({pair[1] / pair[0] - 1:+.1%})"


def _outcomes(names: tuple[str, ...]) -> Columns:
    return (
        ("tried", lambda row: str(row["tried"])),
        *((name, lambda row, name=name: str(row.get(name, 0))) for name in names),
        ("anything else", lambda row: str(len(row["wrong"]))),
    )


CHECKS_ENV, CHECKS_PAIRS = "Pendulum-v1", 60
STUDIES: dict[str, Study] = {
    "resume": Study(
        "A run that goes on from a checkpoint in a new process is the run that did not stop, to the bit",
        lambda quick: resume.measure(["Pendulum-v1"] if quick else list(agents.CASES)),
        (
            ("case", lambda row: row["case"]),
            ("stops", lambda row: str(row.get("stops", "-"))),
            ("said to go on exactly", lambda row: str(row.get("said_exact", row.get("error", "-")))),
            ("equal to the bit", lambda row: str(row.get("equal", "-"))),
        ),
        f"Runs of {resume.TOTAL} steps, stopped at {resume.STOPS}; equal: networks, optimizers, rewards in the buffer "
        "and counters, by a hash.",
    ),
    "crashes": Study(
        "After any write, sync or rename of a save, killed or failing, the file is the old one or the new one",
        lambda quick: crashes.measure(("save",), ("kill -9",)) if quick else crashes.measure(),
        (
            ("method", lambda row: row["method"]),
            ("fault", lambda row: row["fault"]),
            ("calls", lambda row: str(row["calls"])),
            ("the old file", lambda row: str(row["old"])),
            ("the new file", lambda row: str(row["new"])),
            ("broken", lambda row: str(row["broken"])),
            ("left behind after an error", lambda row: str(row["left"])),
        ),
        "strace injects the fault into each call in turn; the files are then read as a user would.",
    ),
    "kills": Study(
        "A run that is killed at random moments loses at most what came after its newest checkpoint",
        lambda quick: [kills.measure(3 if quick else 200)],
        (
            ("kills", lambda row: str(row["kills"])),
            ("steps between checkpoints", lambda row: str(row["every"])),
            ("steps lost, at most", lambda row: str(row["lost_most"])),
            ("in the mean", lambda row: number(row["lost_mean"])),
            ("starts that found nothing whole", lambda row: str(row["damaged"])),
        ),
        "Pendulum-v1; SIGKILL 0.1 to 2 seconds after the first step of each start.",
    ),
    "arguments": Study(
        "Bad arguments are refused by name",
        lambda quick: [inputs.try_arguments(50 if quick else 1000)],
        _outcomes(inputs.GOOD),
        "Values of every kind, one or two at a time, for every argument of SoftAC and every key of policy_kwargs and "
        f"replay_buffer_kwargs; 70 steps of learning, {inputs.SECONDS} seconds at most.",
    ),
    "files": Study(
        "Damaged and hostile files are refused by name, and run no code",
        lambda quick: [inputs.try_files(50 if quick else 1000)],
        _outcomes(("refused by name", "read, acts")),
        "Cut, flipped, overwritten, and rewritten with pickles, other types and other entries.",
    ),
    "soak": Study(
        "Memory and speed of a million steps are flat",
        _soak,
        (
            ("steps", lambda row: str(row["steps"])),
            ("updates", lambda row: str(row["updates"])),
            ("memory, MiB", lambda row: _change(row["mib"])),
            ("steps a second", lambda row: _change(row["steps_per_second"])),
            ("steps in a second of CPU time", lambda row: _change(row["steps_per_cpu_second"])),
        ),
        "Medians of the parts 3 to 12 and of the last 10 of 50; the buffer is full after the first. CPU time is that "
        "of the process, which other processes of the machine disturb less.",
    ),
    "checkpoints": Study(
        "What a checkpoint costs, beside Stable-Baselines3's two files",
        lambda quick: cost.measure((10_000,) if quick else cost.SIZES, 1 if quick else 3),
        (
            ("", lambda row: row["name"]),
            ("transitions", lambda row: f"{row['size']:,}"),
            *(
                (f"{kind}: {key}", lambda row, kind=kind, key=key: number(row[kind][key], 3 if key == "seconds" else 1))
                for kind, keys in (
                    ("full", ("seconds", "mib", "peak_mib")),
                    ("incremental", ("seconds", "mib", "peak_mib")),
                    ("load", ("seconds", "peak_mib")),
                )
                for key in keys
            ),
        ),
        f"{cost.OBSERVATION} observations, 2 actions, networks of 256; full: the first checkpoint; incremental: the "
        f"next one, {cost.NEW:,} transitions later. Medians of processes of their own, by turns. SB3: save() and "
        "save_replay_buffer(), which do not sync; synced: with an fsync of both files, as a checkpoint has. mib: "
        "written; peak_mib: beyond what the process had.",
    ),
    "checks": Study(
        "What the checks of steps, batches and parameters cost",
        lambda quick: list(checks.measure(CHECKS_ENV, 5 if quick else CHECKS_PAIRS).items()),
        checks.COLUMNS,
        checks.notes(CHECKS_ENV, CHECKS_PAIRS),
    ),
}


if __name__ == "__main__":
    run(__doc__, STUDIES, RESULTS)
