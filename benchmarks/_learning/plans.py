"""What an experiment asks for, and the runs that follow from it.

The command line, ``suite.yml`` and ``ablations.yml`` all end here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._algorithms import check_algorithm, parse_value
from benchmarks._learning.hyperparams import resolve
from benchmarks._learning.settings import RunSettings, series_name


@dataclass(frozen=True)
class Series:
    """One configuration of an algorithm.

    :param algo: a key of ``ALGORITHMS``
    :param label: tells apart two configurations of one algorithm
    :param overrides: hyperparameters that differ from the source's
    """

    algo: str
    label: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name under which its seeds are pooled."""
        return series_name(self.algo, self.label)


@dataclass(frozen=True)
class Experiment:
    """Some series on one environment, over the same seeds.

    :param env: Gymnasium id
    :param series: what is compared
    :param seeds: of the training
    :param steps: training budget; None: the one of each zoo entry
    :param hyperparams: a source of ``hyperparams.SOURCES``
    :param eval_every: steps between evaluations; None: a 20th of the budget
    :param eval_episodes: episodes of each evaluation
    :param final_episodes: episodes for the finished agent
    """

    env: str
    series: tuple[Series, ...]
    seeds: tuple[int, ...]
    steps: int | None = None
    hyperparams: str = "zoo"
    eval_every: int | None = None
    eval_episodes: int = 10
    final_episodes: int = 100

    def run(self, series: Series, seed: int, threads: int, device: str) -> RunSettings:
        """The settings of one of its runs."""
        entry, origin = resolve(self.hyperparams, series.algo, self.env, series.overrides)
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
    """All runs asked for, the seeds outermost, so that an early stop leaves whole comparisons.

    :param experiments: each with seeds of its own
    :param threads: torch threads of each run
    :param device: torch device
    """
    experiments = list(experiments)
    for series in (series for experiment in experiments for series in experiment.series):
        check_algorithm(series.algo)
    seeds = dict.fromkeys(seed for experiment in experiments for seed in experiment.seeds)
    return [
        experiment.run(series, seed, threads, device)
        for seed in seeds
        for experiment in experiments
        if seed in experiment.seeds
        for series in experiment.series
    ]


def parse_seeds(items: Iterable[str]) -> tuple[int, ...]:
    """Seeds from ``0 1 2`` or ``0-4`` or a mixture, in order and without repeats."""
    seeds: dict[int, None] = {}
    for item in items:
        first, dash, last = item.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise ValueError(f"Seeds are numbers or ranges such as 0-4, got {item!r}.")
        seeds.update(dict.fromkeys(range(int(first), int(last if dash else first) + 1)))
    return tuple(seeds)


def seeds_of_file(value: Any) -> tuple[int, ...]:
    """Seeds as a file has them: ``3``, ``0-4``, or a list of these."""
    return parse_seeds(str(item) for item in (value if isinstance(value, list) else [value]))


def series_of_file(
    entry: Any, where: str, common: Mapping[str, Any] | None = None, optional: Iterable[str] = ()
) -> Series:
    """A series as a file has it: the name of an algorithm, or a mapping of ``algo`` (else softac), ``label``, ``set``.

    :param entry: as YAML has read it
    :param where: what an error calls it
    :param common: overrides that its own come on top of
    :param optional: further keys that it may have
    """
    if isinstance(entry, str):
        entry = {"algo": entry}
    entry = mapping(entry, where, optional=("algo", "label", "set", *optional))
    algo = entry.get("algo", "softac")
    check_algorithm(algo)
    return Series(algo, str(entry.get("label", "")), {**(common or {}), **values_of_file(entry.get("set", {}))})


def values_of_file(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters as a file has them; YAML takes ``1e-3`` for a text, which is not what is meant."""
    return {key: parse_value(value) if isinstance(value, str) else value for key, value in overrides.items()}


def read_file(path: Path, *required: str) -> dict[str, Any]:
    """A YAML file whose top level has these keys and no others."""
    import yaml

    if not path.is_file():
        raise ValueError(f"There is no file {path}; --file takes another.")
    return mapping(yaml.safe_load(path.read_text(encoding="utf-8")), path.name, required)


def mapping(
    value: Any, where: str, required: Iterable[str] = (), optional: Iterable[str] | None = ()
) -> dict[str, Any]:
    """``value`` as it is, if it is a mapping that has all keys it must have and none that nobody reads.

    :param value: as YAML has read it
    :param where: what an error calls it
    :param required: keys that must be there
    :param optional: keys that may be there; None: any
    """
    required = tuple(required)
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a mapping of {', '.join(required) or 'names'}, got {value!r}.")
    missing = [key for key in required if key not in value]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}; add it.")
    known = tuple(value) if optional is None else (*required, *optional)
    unknown = [str(key) for key in value if key not in known]
    if unknown:
        raise ValueError(f"{where} has unknown keys {', '.join(unknown)}; known are {', '.join(known)}.")
    return value


def check_numbers(entry: Mapping[str, Any], where: str, whole: Iterable[str], real: Iterable[str] = ()) -> None:
    """Refuse texts and the like where numbers belong; YAML takes ``1e5`` for a text."""
    for keys, types, words in ((whole, int, "a whole number such as 10000"), (real, (int, float), "a number")):
        for key in keys:
            if key in entry and (isinstance(entry[key], bool) or not isinstance(entry[key], types)):
                raise ValueError(f"{where}: {key} must be {words}, got {entry[key]!r}.")


def chosen(kind: str, wanted: Iterable[str] | None, known: Iterable[str]) -> list[str]:
    """What was asked for by name, in the order of ``known``; all of it if nothing was."""
    known = list(known)
    wanted = known if wanted is None else list(wanted)
    for name in wanted:
        if name not in known:
            raise ValueError(f"Unknown {kind} {name!r}; known are {', '.join(known)}.")
    return [name for name in known if name in wanted]
