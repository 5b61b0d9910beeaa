"""Many runs side by side, each in a process of its own or as a task of Ray, with a progress bar."""

from __future__ import annotations

import functools
import multiprocessing
import os
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from threading import Thread
from typing import Any, NamedTuple
from unittest.mock import patch

from benchmarks._learning.settings import RunSettings
from benchmarks._learning.store import Store
from sb3_softac.zoo.sweep import executors

_CONTEXT = multiprocessing.get_context("spawn")  # a forked torch may hang


class Outcome(NamedTuple):
    """How many runs were there already, how many were made, and the errors of those that failed."""

    skipped: int
    done: int
    failed: dict[str, str]


def run_all(
    runs: list[RunSettings],
    store: Store,
    workers: int,
    force: bool = False,
    quiet: bool = False,
    ray: str | None = None,
    retries: int = 0,
) -> Outcome:
    """Make every run that is not stored yet.

    :param runs: what to run
    :param store: where runs are stored
    :param workers: number of processes at a time; 0: all runs in this process, one after the other
    :param force: make stored runs again, too
    :param quiet: no progress bar
    :param ray: address of a cluster of Ray whose machines make the runs; they are stored here
    :param retries: how often a run that fails is tried again
    """
    if workers < 0:
        raise ValueError(f"workers must be at least 0, got {workers}.")
    stored = [] if force else [run.settings.to_json() for run in store.find(runs)]
    missing = [run for run in runs if run.to_json() not in stored]
    failed: dict[str, str] = {}
    # The maths libraries read the number of their threads when they start.
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(max((run.threads for run in missing), default=1))
    )
    bar = _Bar(sum(run.steps for run in missing), quiet)
    with bar, patch.dict(os.environ, threads), executors.make_executor(ray, max(1, workers)) as executor:
        job = _job(store, bar, workers, ray)
        try:
            for run, future in executors.run_all(executor, job, missing, retries):
                if error := future.exception():
                    failed[_name(run)] = "".join(traceback.format_exception(error))[-4000:]
                elif ray is not None:
                    store.write(future.result())
                    bar.queue.put((_name(run), run.steps, future.result().curve[-1]["eval_mean"]))
        except BaseException:  # Ctrl-C reaches the processes, too; runs that have not begun are left
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return Outcome(len(runs) - len(missing), len(missing) - len(failed), failed)


def _job(store: Store, bar: _Bar, workers: int, ray: str | None) -> Callable[[RunSettings], Any]:
    """What makes one run."""
    if ray is not None:
        from benchmarks._learning import training

        return training.make
    return functools.partial(_make_apart if workers else _make, store=store, bar=bar)


class _Bar:
    """One bar over the steps of all runs, the last score of a run beside it; their processes tell it by a queue."""

    def __init__(self, total: int, quiet: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit="step", smoothing=0.05, disable=quiet or total == 0)
        self.queue = _CONTEXT.SimpleQueue()
        self._reader = Thread(target=self._follow, daemon=True)

    def _follow(self) -> None:
        for name, steps, score in iter(self.queue.get, None):
            self._bar.update(steps)
            self._bar.set_postfix_str(f"{name}: {score:.0f}")

    def __enter__(self) -> _Bar:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.queue.put(None)
        self._reader.join()
        self._bar.close()


def _make(run: RunSettings, store: Store, bar: _Bar) -> None:
    _train(run, store, bar.queue)


def _make_apart(run: RunSettings, store: Store, bar: _Bar) -> None:
    """Make a run in a process of its own, whose death is an exception here and ends no other run."""
    with ProcessPoolExecutor(1, _CONTEXT, _begin, (bar.queue,)) as process:
        process.submit(_train_there, run, store).result()


def _begin(queue: Any) -> None:
    """Keep RL Zoo's and PyBullet's prints out of the progress; PyBullet's, from C++, only the descriptor stops."""
    global _queue
    _queue = queue  # it can be inherited only, not sent with a run
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _train_there(run: RunSettings, store: Store) -> None:
    _train(run, store, _queue)


def _train(run: RunSettings, store: Store, queue: Any) -> None:
    from benchmarks._learning import training

    reached = 0

    def progress(step: int, score: float) -> None:
        nonlocal reached
        queue.put((_name(run), step - reached, score))
        reached = step

    training.run(run, store, progress)


def _name(run: RunSettings) -> str:
    return f"{run.env} {run.series} {run.seed}"
