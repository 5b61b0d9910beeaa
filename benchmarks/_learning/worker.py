"""One run as a child process: settings come in on standard input, progress goes out on standard output.

Both are JSON. A process of its own gives each run its own number of threads, and a death that kills no other.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TextIO

from benchmarks._learning.settings import RunSettings
from benchmarks._learning.training import run


def main() -> None:
    """Read one job, run it, report each evaluation on a line of its own."""
    job = json.load(sys.stdin)
    with own_output() as output:

        def progress(step: int, score: float) -> None:
            print(json.dumps({"step": step, "score": score}), file=output, flush=True)

        run(RunSettings(**job["settings"]), Path(job["results"]), progress)


def own_output() -> TextIO:
    """Standard output, for the progress alone: what others print goes to standard error from now on.

    RL Zoo prints, and so does PyBullet, from C++: only the file descriptor stops that.
    """
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return output


if __name__ == "__main__":
    main()
