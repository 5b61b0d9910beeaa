"""Experiments, and the runs that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from benchmarks._algorithms import check_algorithm
from benchmarks._learning.hyperparams import resolve
from benchmarks._learning.settings import RunSettings, series_name
from sb3_softac.zoo.sweep.command import parse_seeds

__all__ = ["Experiment", "Series", "Target", "TimeTarget", "parse_seeds", "plan"]

# The keys of a target that hold its return, and their names in the tables.
KINDS = {"at_least": "at least", "aim": "aim"}
PANELS = ("curves", "seeds", "modes", "gap", "finals", "sweep")


@dataclass(frozen=True)
class Series:
    """One configuration of an algorithm.

    :param algo: a key of ``ALGORITHMS``
    :param label: tells apart two configurations of one algorithm
    :param overrides: hyperparameters that differ from the source's
    :param title: in figures; empty: its name
    :param x: place on the axis of a sweep
    :param entry: of the zoo's file, for every environment; empty: each environment's own
    """

    algo: str
    label: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    x: float | None = None
    entry: str = ""

    def __post_init__(self) -> None:
        check_algorithm(self.algo)

    @property
    def name(self) -> str:
        """The name under which its seeds are pooled."""
        return series_name(self.algo, self.label)


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
    """The part of another series' time to the threshold that the reference may take.

    :param against: the other series
    :param at_most: the ratio asked for
    :param aim: the ratio hoped for
    """

    against: str
    at_most: float
    aim: float


@dataclass(frozen=True)
class Experiment:
    """Some series on one environment, over the same seeds. The meaning of each key is in ``experiments.yml``.

    :param steps: training budget; None: the one of each zoo entry
    :param eval_every: steps between evaluations; None: a 20th of the budget
    :param threshold: None: not of the suite
    :param question: empty: not an ablation
    """

    env: str
    series: tuple[Series, ...]
    seeds: tuple[int, ...]
    steps: int | None = None
    hyperparams: str = "zoo"
    eval_every: int | None = None
    eval_episodes: int = 10
    final_episodes: int = 100
    name: str = ""
    group: str = ""
    store: str = "learning"
    reference: str = "softac"
    random: float = 0.0
    threshold: float | None = None
    targets: tuple[Target, ...] = ()
    time: TimeTarget | None = None
    question: str = ""
    source: str = ""
    panels: tuple[str, ...] = ()
    axis: str = ""
    above: float | None = None
    gradients: str | None = None
    needs: Mapping[str, str] = field(default_factory=dict)

    def check_packages(self) -> None:
        """Refuse to run without a package that it needs."""
        for package, extra in self.needs.items():
            if find_spec(package) is None:
                raise ValueError(f"{self.name} needs {package}, which is not installed: pip install -e '.[{extra}]'.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the series."""
        return tuple(series.name for series in self.series)

    @property
    def titles(self) -> dict[str, str]:
        """Titles of the series in figures, by name."""
        return {series.name: series.title or series.name for series in self.series}

    def run(self, series: Series, seed: int, threads: int, device: str) -> RunSettings:
        """The settings of one of its runs."""
        entry, origin = resolve(self.hyperparams, series.algo, series.entry or self.env, series.overrides)
        tuned_steps = entry.pop("n_timesteps", None)
        steps = self.steps or int(float(tuned_steps or 0))
        if not steps:
            raise ValueError(f"No budget for {self.env}: give --steps (only the zoo's entries have one).")
        return RunSettings(
            self.env,
            series.algo,
            seed,
            steps,
            entry,
            origin,
            self.eval_every or max(1, steps // 20),
            self.eval_episodes,
            self.final_episodes,
            threads,
            device,
            series.label,
        )


def plan(experiments: Iterable[Experiment], threads: int = 1, device: str = "auto") -> list[RunSettings]:
    """All runs asked for, the seeds outermost, so that an early stop leaves whole comparisons."""
    experiments = list(experiments)
    seeds = dict.fromkeys(seed for experiment in experiments for seed in experiment.seeds)
    return [
        experiment.run(series, seed, threads, device)
        for seed in seeds
        for experiment in experiments
        if seed in experiment.seeds
        for series in experiment.series
    ]
