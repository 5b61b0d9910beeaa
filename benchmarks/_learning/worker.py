"""One run as a child process: settings come in on standard input, progress goes out on standard output.

Both are JSON. A process of its own gives each run its own number of threads, and a death that kills no other.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks._learning.settings import RunSettings
from benchmarks._learning.training import run


def main() -> None:
    """Read one job, run it, report each evaluation on a line of its own."""
    job = json.load(sys.stdin)

    def progress(step: int, score: float) -> None:
        _say({"step": step, "score": score})

    run(RunSettings(**job["settings"]), Path(job["results"]), progress)


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
