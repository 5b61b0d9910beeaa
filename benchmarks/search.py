"""Do searches lose trials when workers are killed, and how long do sweeps take? A study for each question.

    python -m benchmarks.search kills sweep
    python -m benchmarks.search kills --quick        # fewer of everything, into logs/search

Each study writes ``<name>.json`` and ``<name>.md``. ``kills`` needs PostgreSQL (``make test-scale`` installs it) and
the extra ``search``, ``sweep`` the extra ``ray``.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks._search import kills, sweeps
from benchmarks._studies import Study, run

RESULTS = Path(__file__).resolve().parent / "results" / "search"
TOTAL, KILLS, SEARCHES = 6, 3, 1


def _range(values: list[float]) -> str:
    return f"{sum(values) / len(values):.1f} ({min(values):.1f} to {max(values):.1f})"


STUDIES: dict[str, Study] = {
    "kills": Study(
        "A search whose workers are killed loses no trial, runs none twice, and none beyond the total",
        lambda quick: kills.measure(1, 4, 1) if quick else kills.measure(SEARCHES, TOTAL, KILLS),
        tuple(
            (title, lambda row, name=name: str(row[name]))
            for title, name in (
                ("storage", "storage"),
                ("workers", "workers"),
                ("trials asked for", "total"),
                ("kills", "kills"),
                ("trials that ended", "ended"),
                ("begun again", "run_again"),
                ("lost", "lost"),
                ("run twice", "twice"),
                ("beyond the total", "beyond"),
            )
        ),
        "`python -m rl_zoo3.train --algo softac -optimize --max-total-trials ...` on Pendulum-v1; SIGKILL of a worker "
        f"in the middle of its trial, and another worker in its place. Heartbeats each {kills.BEAT} s.",
    ),
    "sweep": Study(
        "How long a sweep takes",
        lambda quick: sweeps.measure(1, 2, ["-n", "300"]) if quick else sweeps.measure(2),
        (
            ("engine", lambda row: row["engine"]),
            ("cores", lambda row: str(row["cores"])),
            ("runs", lambda row: str(row["runs"])),
            ("seconds", lambda row: _range(row["seconds"])),
        ),
        f"`python -m sb3_softac.zoo sweep` on {sweeps.ENV}, {sweeps.STEPS} steps a run; mean, and smallest and largest "
        "of the repeats. The start of Ray and of each process, and the report, are part of it.",
    ),
}


if __name__ == "__main__":
    run(__doc__, STUDIES, RESULTS)
