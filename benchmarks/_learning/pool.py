"""Many runs side by side, each in a process of its own, with a progress bar."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._learning.settings import RunSettings, is_finished

_ROOT = Path(__file__).resolve().parents[2]


class Outcome(NamedTuple):
    """How many runs were there already, how many were made, and the error text of those that failed."""

    skipped: int
    done: int
    failed: dict[str, str]


def run_all(runs: list[RunSettings], results: Path, workers: int, force: bool = False, quiet: bool = False) -> Outcome:
    """Make every run that is not stored yet.

    :param runs: what to run
    :param results: folder of the results
    :param workers: number of processes at a time
    :param force: make stored runs again, too
    :param quiet: no progress bar
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}.")
    missing = [run for run in runs if force or not is_finished(run, results)]
    failed: dict[str, str] = {}
    children = _Children()
    progress = _Progress(sum(run.steps for run in missing), quiet)
    with ThreadPoolExecutor(workers) as executor:
        futures = {executor.submit(children.run, run, results, progress): run for run in missing}
        try:
            for future in as_completed(futures):
                error = future.result()
                if error:
                    failed[_name(futures[future])] = error
                    progress.write(f"failed: {_name(futures[future])}")
        except BaseException:  # Ctrl-C: without this, the executor would wait for runs of an hour
            executor.shutdown(wait=False, cancel_futures=True)
            children.terminate()
            raise
        finally:
            progress.close()
    return Outcome(len(runs) - len(missing), len(missing) - len(failed), failed)


class _Children:
    """The worker processes that are alive."""

    def __init__(self) -> None:
        self._alive: set[subprocess.Popen[str]] = set()
        self._closing = False

    def run(self, run: RunSettings, results: Path, progress: _Progress) -> str:
        """Run one job to its end; its error output if it fails, else nothing."""
        if self._closing:
            return "cancelled"
        command = [sys.executable, "-m", "benchmarks._learning.worker"]
        pipe, environment = subprocess.PIPE, _environment(run.threads)
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
            subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=environment) as child,
        ):
            self._alive.add(child)
            with child.stdin or contextlib.nullcontext() as stdin:  # never None: both are pipes
                json.dump({"settings": run.to_json(), "results": str(results)}, stdin)
            progress.follow(run, child.stdout)
            code = child.wait()
            self._alive.discard(child)
            errors.seek(0)
            return f"exit code {code}\n{errors.read()[-4000:]}" if code else ""

    def terminate(self) -> None:
        """Stop every worker; none leaves a half file behind."""
        self._closing = True
        for child in list(self._alive):
            child.terminate()


def _environment(threads: int) -> dict[str, str]:
    """The workers find this checkout, and the maths libraries start with the right number of threads."""
    inherited = os.environ.get("PYTHONPATH")
    path = f"{_ROOT}{os.pathsep}{inherited}" if inherited else str(_ROOT)
    return {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }


class _Progress:
    """One bar over the steps of all runs; the last score of each run that is under way beside it."""

    def __init__(self, total: int, quiet: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit="step", smoothing=0.05, disable=quiet or total == 0)
        self._scores: dict[str, str] = {}
        self._lock = threading.Lock()

    def follow(self, run: RunSettings, lines: Any) -> None:
        """Read a worker's progress to its end."""
        reached = 0
        for line in lines:
            message = json.loads(line)
            with self._lock:
                self._scores[_name(run)] = f"{_name(run)}: {message['score']:.0f}"
                self._bar.update(message["step"] - reached)
                self._bar.set_postfix_str(", ".join(self._scores.values()))
            reached = message["step"]
        with self._lock:
            self._scores.pop(_name(run), None)

    def write(self, text: str) -> None:
        self._bar.write(text)

    def close(self) -> None:
        self._bar.close()


def _name(run: RunSettings) -> str:
    return f"{run.env} {run.series} {run.seed}"
