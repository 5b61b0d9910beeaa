"""The suite of ``benchmarks/suite.yml``: environments, what runs on them, and what they ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks._learning.plans import (
    Experiment,
    Series,
    check_numbers,
    chosen,
    mapping,
    read_file,
    seeds_of_file,
    series_of_file,
    values_of_file,
)

SUITE = Path(__file__).resolve().parents[1] / "suite.yml"
DEFAULTS = ("eval_episodes", "final_episodes")
# The keys of a target that hold its return, and what the tables call them.
KINDS = {"at_least": "at least", "aim": "aim"}


@dataclass(frozen=True)
class Target:
    """A return to reach by a step.

    :param kind: a value of ``KINDS``
    :param score: the return
    :param at: step of the evaluation
    :param until: last of the evaluations that must reach it; ``at`` itself if only one must
    :param every_seed: whether the worst seed is asked, else the mean over the seeds
    """

    kind: str
    score: float
    at: int
    until: int
    every_seed: bool


@dataclass(frozen=True)
class TimeTarget:
    """What part of another series' time to the threshold the reference may take.

    :param against: the other series
    :param at_most: the ratio asked for
    :param aim: the ratio hoped for
    """

    against: str
    at_most: float
    aim: float


@dataclass(frozen=True)
class Task:
    """An environment of the suite.

    :param group: its group
    :param experiment: what is run on it
    :param random: mean return of random actions, 0 when normalised
    :param threshold: the return that counts as learned, 1 when normalised
    :param targets: what the reference should reach
    :param time: how soon it should reach the threshold, if that is asked
    """

    group: str
    experiment: Experiment
    random: float
    threshold: float
    targets: tuple[Target, ...]
    time: TimeTarget | None = None

    @property
    def env(self) -> str:
        """Gymnasium id."""
        return self.experiment.env

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Names of the series that are run on it."""
        return tuple(series.name for series in self.experiment.series)


def read_suite(path: Path = SUITE) -> list[Task]:
    """The tasks of a suite's file, in its order.

    :param path: of the YAML
    :raises ValueError: something is missing, unknown, or cannot be
    """
    content = read_file(path, "defaults", "groups")
    defaults = mapping(content["defaults"], "defaults", DEFAULTS)
    tasks = []
    for group, entry in mapping(content["groups"], "groups", optional=None).items():
        entry = mapping(entry, f"group {group}", ("algorithms", "environments"))
        series = [series_of_file(item, f"group {group}: {item}") for item in entry["algorithms"]]
        for env, own in mapping(entry["environments"], f"environments of {group}", optional=None).items():
            tasks.append(_task(group, series, env, {**defaults, **mapping(own, env, optional=None)}))
    return tasks


def select(
    tasks: list[Task],
    groups: list[str] | None = None,
    envs: list[str] | None = None,
    algos: list[str] | None = None,
    seeds: tuple[int, ...] | None = None,
) -> list[Task]:
    """Those of the tasks that are asked for; None asks for all.

    :param tasks: of the file
    :param groups: only these groups
    :param envs: only these environments
    :param algos: only these algorithms; an environment where none of them runs goes
    :param seeds: only these of each environment's seeds
    :raises ValueError: an unknown name, or nothing is left
    """
    groups = chosen("group", groups, dict.fromkeys(task.group for task in tasks))
    envs = chosen("environment", envs, [task.env for task in tasks])
    algos = chosen("algorithm", algos, dict.fromkeys(name for task in tasks for name in task.algorithms))
    kept = [_narrowed(task, algos, seeds) for task in tasks if task.group in groups and task.env in envs]
    kept = [task for task in kept if task.experiment.series and task.experiment.seeds]
    if not kept:
        raise ValueError("Nothing of the suite is left: no environment has all that was asked for; ask for less.")
    return kept


def thresholds(tasks: list[Task]) -> dict[str, float]:
    """The return that counts as learned, by environment."""
    return {task.env: task.threshold for task in tasks}


def _narrowed(task: Task, algos: list[str], seeds: tuple[int, ...] | None) -> Task:
    experiment = task.experiment
    return replace(
        task,
        experiment=replace(
            experiment,
            series=tuple(series for series in experiment.series if series.name in algos),
            seeds=tuple(seed for seed in experiment.seeds if seeds is None or seed in seeds),
        ),
    )


def _task(group: str, series: list[Series], env: str, entry: dict[str, Any]) -> Task:
    needed = ("steps", "eval_every", "seeds", "random", "threshold", *DEFAULTS)
    entry = mapping(entry, env, needed, ("targets", "time", "set"))
    own = mapping(entry.get("set", {}), f"{env}: set", optional=[one.algo for one in series])
    check_numbers(entry, env, ("steps", "eval_every", *DEFAULTS), ("random", "threshold"))
    if not entry["random"] < entry["threshold"]:
        raise ValueError(f"{env}: threshold must be above random, got {entry['threshold']} and {entry['random']}.")
    experiment = Experiment(
        env,
        tuple(replace(one, overrides={**one.overrides, **values_of_file(own.get(one.algo, {}))}) for one in series),
        seeds_of_file(entry["seeds"]),
        entry["steps"],
        eval_every=entry["eval_every"],
        **{key: entry[key] for key in DEFAULTS},
    )
    targets = tuple(_target(target, experiment) for target in entry.get("targets", ()))
    time = _time(entry["time"], experiment) if "time" in entry else None
    return Task(group, experiment, entry["random"], entry["threshold"], targets, time)


def _time(entry: dict[str, Any], experiment: Experiment) -> TimeTarget:
    where = f"{experiment.env}: time {entry}"
    entry = mapping(entry, where, ("against", "at_most", "aim"))
    check_numbers(entry, where, (), ("at_most", "aim"))
    names = [series.name for series in experiment.series]
    if entry["against"] not in names:
        raise ValueError(f"{where}: nothing named {entry['against']} runs there, only {', '.join(names)}.")
    return TimeTarget(**entry)


def _target(entry: dict[str, Any], experiment: Experiment) -> Target:
    where = f"{experiment.env}: target {entry}"
    entry = mapping(entry, where, ("at",), (*KINDS, "until", "every_seed"))
    check_numbers(entry, where, ("at", "until"), KINDS)
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) != 1:
        raise ValueError(f"{where} must have exactly one of {', '.join(KINDS)}.")
    target = Target(
        KINDS[kinds[0]],
        entry[kinds[0]],
        entry["at"],
        entry.get("until", entry["at"]),
        entry.get("every_seed", False),
    )
    steps, every = experiment.steps or 0, experiment.eval_every or 1
    for step in (target.at, target.until):
        if not target.at <= step <= steps or (step % every and step != steps):
            raise ValueError(f"{where}: no evaluation at step {step}; there is one every {every} steps, up to {steps}.")
    return target
