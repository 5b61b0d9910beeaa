"""Runs from folders: what is a run, and what its files say together."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sb3_softac.report.readers import agent, evaluations, events, monitor, progress, zoo
from sb3_softac.report.run import Evaluations, Run

T = TypeVar("T")
EXAMPLE = "logs/softac/Pendulum-v1_1"


def load_run(folder: str | Path) -> Run:
    """Read a training run. A file that cannot be read is named in its notes.

    :param folder: folder with ``*.monitor.csv``, ``evaluations.npz``, ``progress.csv`` or TensorBoard's files, such as
        ``logs/softac/Pendulum-v1_1``
    :return: the run
    :raises ValueError: there is no such folder, or it is no run, or no file of it can be read
    :raises ImportError: pandas is not installed, which the extra ``report`` brings
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give the folder of one run, such as {EXAMPLE}.")
    if not _is_run(folder):
        below = _runs_below(folder)
        hint = f"; runs below it: {', '.join(map(str, below[:5]))}{', ...' if len(below) > 5 else ''}" if below else ""
        raise ValueError(
            f"{folder} is not the folder of a run, it has neither *.monitor.csv nor evaluations.npz nor progress.csv "
            f"nor TensorBoard's files{hint}."
        )
    run = _read(folder)
    if run.is_empty and run.notes:
        raise ValueError(run.notes[0])
    return run


def find_runs(folders: Iterable[str | Path]) -> list[Run]:
    """Read all runs in some folders, each of which is a run or holds runs.

    :param folders: such as ``logs``, ``logs/softac`` or ``logs/softac/Pendulum-v1_1``
    :return: the runs, each once. A run that goes on from a checkpoint of another one here is one run with it
    :raises ValueError: a folder is missing or holds no run, or no file of a run can be read
    :raises ImportError: pandas is not installed, which the extra ``report`` brings
    """
    found: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder: give the folder of a run, such as {EXAMPLE}, or one of runs.")
        runs = _runs_below(folder)
        if not runs:
            raise ValueError(
                f"{folder} is no run and holds none: there is no *.monitor.csv, evaluations.npz, progress.csv or "
                f"TensorBoard file in it. Give a folder such as {EXAMPLE}."
            )
        found |= {path.resolve(): path for path in runs}
    return _joined([load_run(path) for path in found.values()])


def _is_run(folder: Path) -> bool:
    return bool(
        (folder / evaluations.NAME).is_file()
        or monitor.is_monitored(folder)
        or progress.logs_of(folder)
        or events.has_events(folder)
    )


def _runs_below(folder: Path) -> list[Path]:
    """Folders of runs, ``folder`` among them. Only TensorBoard's folders are looked for in a run."""
    found = []
    for path, names, _ in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        here = Path(path)
        if not _is_run(here):
            continue
        found.append(here)
        tensorboard = [here / name for name in names if events.has_events(here / name)]
        if len(tensorboard) > 1 or _has_metrics(here):
            found += tensorboard
        names.clear()
    return found


def _has_metrics(folder: Path) -> bool:
    return bool(progress.logs_of(folder)) or events.has_events(folder)


def _read(folder: Path) -> Run:
    notes: list[str] = []

    def read(reader: Callable[..., T], *arguments: Any, otherwise: T) -> T:
        try:
            return reader(*arguments)
        except ValueError as error:
            notes.append(str(error))
            return otherwise

    import pandas as pd

    config, arguments = zoo.read_yaml(folder, "config.yml"), zoo.read_yaml(folder, "args.yml")
    no_episodes = pd.DataFrame(columns=monitor.COLUMNS, dtype=float)
    metrics = read(_read_metrics, folder, otherwise=pd.DataFrame(columns=["steps", "seconds"], dtype=float))
    frames, first_step = zoo.frames_per_step(config), zoo.first_step(arguments)
    told: tuple[dict[str, Any], dict[str, str]] = ({}, {})
    for path in agent.saved_agents(folder)[:1]:
        told = read(agent.read_agent, path, otherwise=told)
    algo, env_id = _names(folder, arguments)
    run = Run(
        folder=folder,
        env_id=env_id,
        algo=algo,
        seed=arguments.get("seed"),
        episodes=read(monitor.read_episodes, folder, frames, first_step, otherwise=no_episodes),
        evaluations=read(evaluations.read_evaluations, folder, otherwise=None),
        metrics=metrics,
        hyperparams=zoo.flat(config) or told[0],
        arguments=arguments,
        versions=told[1],
    )
    return replace(run, metrics=_with_times(run), notes=tuple(notes))


def _with_times(run: Run) -> Any:
    """Metrics whose every row has a time: those of evaluations have none of their own."""
    metrics = run.metrics
    known = metrics.dropna(subset=["seconds"])
    if metrics.empty or len(known) == len(metrics):
        return metrics
    at = metrics["steps"].to_numpy()
    # The clock of the Monitor began earlier, so that the two are not mixed.
    seconds = run.seconds_at(at) if known.empty else np.interp(at, known["steps"], known["seconds"])
    return metrics.assign(seconds=seconds)


def _read_metrics(folder: Path) -> Any:
    if progress.logs_of(folder):
        return progress.read_progress(folder)
    inside = [folder] if events.has_events(folder) else [each for each in folder.iterdir() if events.has_events(each)]
    if len(inside) != 1:
        return progress.read_progress(folder)  # an empty table
    try:
        return events.read_events(inside[0])
    except ImportError as error:  # the run may have other files
        raise ValueError(str(error)) from error


def _names(folder: Path, arguments: dict[str, Any]) -> tuple[str | None, str]:
    """Algorithm and environment, by the zoo's files, the monitor's, or the names of the folders."""
    name = folder.resolve().name
    algo, env_id = arguments.get("algo"), arguments.get("env") or monitor.read_env_id(folder)
    if named := events.FOLDER.fullmatch(name):  # SAC_1
        algo = algo or named.group(1).lower()
        env_id = env_id or folder.resolve().parent.name
    return (None if algo is None else str(algo)), str(env_id or name)


def _joined(runs: list[Run]) -> list[Run]:
    """Put a run that went on from a checkpoint after the one whose checkpoint it was."""
    by_folder = {run.folder.resolve(): run for run in runs}
    for run in runs:
        agent_path = Path(str(run.arguments.get("trained_agent") or ""))
        before = run.folder.resolve().parent / agent_path.parent.parent.name  # a run goes on beside the first one
        first_step = zoo.first_step(run.arguments)
        if first_step and before in by_folder and before != run.folder.resolve():
            by_folder[run.folder.resolve()] = _after(by_folder.pop(before), run, first_step)
    return list(by_folder.values())


def _after(first: Run, run: Run, first_step: int) -> Run:
    """A run with what came before it."""
    (seconds,) = np.nan_to_num(first.seconds_at(np.array([first_step])))
    episodes = first.episodes[first.episodes["timesteps"] <= first_step]
    metrics = first.metrics[first.metrics["steps"] <= first_step]
    evaluated = [each for each in (first.evaluations, run.evaluations) if each is not None]
    return replace(
        run,
        seed=run.seed if run.seed is not None else first.seed,
        episodes=_stack(episodes, run.episodes, seconds),
        metrics=_stack(metrics, run.metrics, seconds),
        # An EvalCallback begins a new file; the first one may have been written beyond the checkpoint.
        evaluations=evaluated[-1] if len(evaluated) < 2 else _stack_evaluations(*evaluated),
        arguments={**first.arguments, "n_timesteps": run.arguments.get("n_timesteps")},
        notes=(*first.notes, *run.notes),
    )


def _stack(before: Any, after: Any, seconds: float) -> Any:
    import pandas as pd

    if before.empty or after.empty:
        return after if before.empty else before
    return pd.concat([before, after.assign(seconds=after["seconds"] + seconds)], ignore_index=True)


def _stack_evaluations(first: Evaluations, last: Evaluations) -> Evaluations:
    """Evaluations of a run and of the one that it went on from, as far as both have as many episodes."""
    if first.returns.shape[1] != last.returns.shape[1]:
        return last
    kept = first.timesteps < last.timesteps[0]

    def stack(name: str) -> Any:
        before, after = getattr(first, name), getattr(last, name)
        return None if before is None or after is None else np.concatenate([before[kept], after])

    return Evaluations(*map(stack, ("timesteps", "returns", "lengths", "successes")))
