"""A search of the zoo whose workers are killed: which trials are lost, run twice, or beyond the total?"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._search.server import postgres

STUDY = "kills"
BEAT = 1  # seconds
SEARCH = ["-m", "rl_zoo3.train", "--algo", "softac", "--env", "Pendulum-v1", "-optimize", "--study-name", STUDY]
SEARCH += ["-n", "400", "--eval-episodes", "1", "--n-evaluations", "2", "--num-threads", "1", "--no-optim-plots"]
SEARCH += ["--sampler", "random", "--pruner", "none", "-params", "learning_starts:50"]


def worker(storage: str, total: int, folder: Path) -> subprocess.Popen[str]:
    """Start a worker of the search: the zoo's own command.

    :param storage: URL of a database, or path of a journal file
    :param total: trials of all workers
    :param folder: of its logs
    """
    command = [sys.executable, *SEARCH, "--storage", storage, "--max-total-trials", str(total), "-f", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SB3_SOFTAC_HEARTBEAT": str(BEAT)}
    with (folder / "workers.log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment)


def study_in(storage: Any) -> Any:
    """The study in an opened storage; None if it is not there yet."""
    import optuna

    try:
        return optuna.load_study(study_name=STUDY, storage=storage)
    except KeyError:
        return None


@contextlib.contextmanager
def _opened(storage: str) -> Iterator[Any]:
    """A storage whose connections are closed at the end."""
    from sb3_softac.zoo.search.storages import BeatingDatabase, open_storage

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = open_storage(storage)
    try:
        yield opened
    finally:
        if isinstance(opened, BeatingDatabase):
            opened.engine.dispose()


def search(storage: str, total: int, n_workers: int, n_kills: int, seed: int, limit: float = 900) -> dict[str, Any]:
    """Run a search, kill workers in the middle of a trial and start others in their place, and count the trials.

    :param storage: URL of a database, or path of a journal file
    :param total: trials of all workers
    :param n_workers: at a time
    :param n_kills: ``kill -9``, each while the worker's trial runs
    :param seed: of which worker is killed when
    :param limit: seconds
    """
    rng, deadline, killed = np.random.default_rng(seed), time.monotonic() + limit, 0
    with tempfile.TemporaryDirectory() as folder, _ended([]) as workers, contextlib.ExitStack() as stack:
        workers += [worker(storage, total, Path(folder)) for _ in range(n_workers)]
        opened = stack.enter_context(_opened(storage))
        while any(each.poll() is None for each in workers):
            if time.monotonic() > deadline:
                raise RuntimeError(f"After {limit} s: {(Path(folder) / 'workers.log').read_text()[-3000:]}")
            time.sleep(float(rng.uniform(0.5, 3.0)))
            study = study_in(opened)
            if killed < n_kills and study is not None and _all_run_one(study, n_workers, killed):
                number = int(rng.integers(n_workers))
                workers[number].kill()
                workers[number].wait()
                workers[number] = worker(storage, total, Path(folder))
                killed += 1
        codes = [each.returncode for each in workers]
        if any(codes):
            raise RuntimeError(f"Workers ended with {codes}: {(Path(folder) / 'workers.log').read_text()[:6000]}")
        found = outcome(study_in(opened), total)
    return {"workers": n_workers, "total": total, "kills": killed} | found


@contextlib.contextmanager
def _ended(workers: list[subprocess.Popen[str]]) -> Iterator[list[subprocess.Popen[str]]]:
    try:
        yield workers
    finally:
        for each in workers:
            each.kill()
            each.wait()


def _all_run_one(study: Any, n_workers: int, killed: int) -> bool:
    """Whether each worker runs a trial, and those of all that were killed are known to be dead."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    return running == n_workers and sum("failed_trial" in trial.system_attrs for trial in trials) == killed


def outcome(study: Any, total: int) -> dict[str, int]:
    """How many trials ended, were run again, are lost, were run twice, and are beyond the total.

    A trial that a killed worker had, and the trials that ran it again, are one: it is lost if none of them ended, and
    was run twice if more than one did.
    """
    from optuna.trial import TrialState

    ended: Counter[int] = Counter()
    again = 0
    for trial in study.get_trials(deepcopy=False):
        first = trial.system_attrs.get("failed_trial", trial.number)
        again += first != trial.number
        ended[first] += trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    surplus = _surplus(study)
    return {
        "ended": sum(ended.values()),
        "run_again": again,
        "lost": sum(count == 0 for first, count in ended.items() if first not in surplus),
        "twice": sum(count > 1 for count in ended.values()),
        "beyond": max(sum(ended.values()) - total, 0),
    }


def _surplus(study: Any) -> set[int]:
    """Trials that no worker began, since another one had taken the last."""
    from sb3_softac.zoo.search.study import NOT_RUN

    return {trial.number for trial in study.get_trials(deepcopy=False) if NOT_RUN in trial.user_attrs}


def measure(n_searches: int, total: int, n_kills: int) -> list[dict[str, Any]]:
    """Searches with three workers, in a database and in a journal file by turns."""
    rows = []
    for number in range(n_searches):
        with postgres() as url:
            rows.append({"storage": "PostgreSQL"} | search(url, total, 3, n_kills, number))
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"storage": "journal file"} | search(f"{folder}/journal.log", total, 3, n_kills, number))
        print(rows[-2], rows[-1], sep="\n", flush=True)
    return rows
