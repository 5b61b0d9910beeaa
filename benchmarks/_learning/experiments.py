"""The experiments of ``benchmarks/experiments.yml``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks._algorithms import parse_value
from benchmarks._learning.hyperparams import SOURCES, for_algorithm
from benchmarks._learning.plans import KINDS, PANELS, Experiment, Series, Target, TimeTarget, parse_seeds

FILE = Path(__file__).resolve().parents[1] / "experiments.yml"
_COUNTS = ("steps", "eval_every", "eval_episodes", "final_episodes")
_SHARED = ("env", "series", "seeds", "hyperparams", "set", "store", "reference", "panels", *_COUNTS)
_SUITE = ("random", "threshold")
_ABLATION = ("question", "source")
_SERIES = ("algo", "label", "set", "name", "x", "entry")
_OPTIONAL = ("targets", "time", "axis", "above", "gradients", "needs")
_NUMBERS = {
    **dict.fromkeys((*_COUNTS, "at", "until"), int),
    **dict.fromkeys(("at_most", "x", "above", *_SUITE, *KINDS)),
}


def read_experiments(path: Path = FILE) -> dict[str, dict[str, Experiment]]:
    """The experiments of a file by group and name.

    :param path: of the YAML
    :raises ValueError: something is missing, unknown, or cannot be
    """
    import yaml

    if not path.is_file():
        raise ValueError(f"There is no file {path}; --file takes another.")
    content = _checked(yaml.safe_load(path.read_text(encoding="utf-8")), path.name, ("defaults", "groups"))
    groups: dict[str, dict[str, Experiment]] = {}
    for group, shared in _checked(content["groups"], "groups").items():
        shared = dict(_checked(shared, f"group {group}"))
        if "experiments" not in shared:
            raise ValueError(f"group {group} lacks experiments; add it.")
        own = _checked(shared.pop("experiments"), f"experiments of {group}")
        groups[group] = {
            name: _experiment(name, group, {"env": name, **content["defaults"], **shared, **_checked(one, name)})
            for name, one in own.items()
        }
    return groups


def suite(path: Path = FILE) -> list[Experiment]:
    """The experiments of the suite, in the order of the file."""
    return [one for group in read_experiments(path).values() for one in group.values() if one.threshold is not None]


def ablations(path: Path = FILE) -> dict[str, Experiment]:
    """The experiments that have a question, by name."""
    return {name: one for group in read_experiments(path).values() for name, one in group.items() if one.question}


def thresholds(experiments: Iterable[Experiment]) -> dict[str, float]:
    """The return that counts as learned, by environment."""
    return {one.env: one.threshold for one in experiments if one.threshold is not None}


def select(
    experiments: list[Experiment],
    groups: list[str] | None = None,
    envs: list[str] | None = None,
    series: list[str] | None = None,
    seeds: tuple[int, ...] | None = None,
) -> list[Experiment]:
    """The experiments that are asked for; None asks for all.

    :param experiments: of the file
    :param groups: only these groups
    :param envs: only these environments
    :param series: only these series; an experiment that has none of them goes
    :param seeds: only these of each experiment's seeds
    :raises ValueError: an unknown name, or nothing is left
    """
    groups = chosen("group", groups, dict.fromkeys(one.group for one in experiments))
    envs = chosen("environment", envs, [one.env for one in experiments])
    series = chosen("algorithm", series, dict.fromkeys(name for one in experiments for name in one.names))
    kept = [
        replace(
            one,
            series=tuple(each for each in one.series if each.name in series),
            seeds=tuple(seed for seed in one.seeds if seeds is None or seed in seeds),
        )
        for one in experiments
        if one.group in groups and one.env in envs
    ]
    kept = [one for one in kept if one.series and one.seeds]
    if not kept:
        raise ValueError("Nothing of the suite is left: no environment has all that was asked for; ask for less.")
    return kept


def chosen(kind: str, wanted: Iterable[str] | None, known: Iterable[str]) -> list[str]:
    """The known names that are wanted, in the order of ``known``; all of them if None is wanted."""
    known = list(known)
    wanted = known if wanted is None else list(wanted)
    for name in wanted:
        if name not in known:
            raise ValueError(f"Unknown {kind} {name!r}; known are {', '.join(known)}.")
    return [name for name in known if name in wanted]


def _experiment(name: str, group: str, entry: dict[str, Any]) -> Experiment:
    kind = _ABLATION if "question" in entry else _SUITE
    entry = _checked(entry, name, (*_SHARED, *kind), _OPTIONAL)
    if entry["hyperparams"] not in SOURCES:
        raise ValueError(f"{name}: hyperparams must be one of {', '.join(SOURCES)}, got {entry['hyperparams']!r}.")
    if not isinstance(entry["series"], list):
        raise ValueError(f"{name}: series must be a list, got {entry['series']!r}.")
    seeds = entry["seeds"] if isinstance(entry["seeds"], list) else [entry["seeds"]]
    common = entry.pop("set")
    given = entry | {
        "series": tuple(_series(one, f"{name}: series {one}", common) for one in entry["series"]),
        "seeds": parse_seeds(map(str, seeds)),
        "panels": tuple(entry["panels"]),
        "targets": tuple(_target(one, f"{name}: target {one}", entry) for one in entry.get("targets", ())),
    }
    if "time" in entry:
        where = f"{name}: time {entry['time']}"
        given["time"] = TimeTarget(**_checked(entry["time"], where, ("against", "at_most", "aim"), ()))
    experiment = Experiment(**given, name=name, group=group)
    _check_parts(experiment, common)
    return experiment


def _series(entry: Any, where: str, common: Mapping[str, Any]) -> Series:
    """The name of an algorithm, or a mapping; the hyperparameters of all series come before its own."""
    entry = {"algo": entry} if isinstance(entry, str) else _checked(entry, where, (), _SERIES)
    algo = entry.get("algo", "softac")
    own = {**for_algorithm(common, algo), **entry.get("set", {})}
    # YAML takes 1e-3 for a text.
    overrides = {key: parse_value(value) if isinstance(value, str) else value for key, value in own.items()}
    label, title, named = (str(entry.get(key, "")) for key in ("label", "name", "entry"))
    return Series(algo, label, overrides, title, entry.get("x"), named)


def _target(entry: Any, where: str, experiment: Mapping[str, Any]) -> Target:
    entry = _checked(entry, where, ("at",), (*KINDS, "until", "every_seed"))
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) != 1:
        raise ValueError(f"{where} must have exactly one of {', '.join(KINDS)}.")
    at, until = entry["at"], entry.get("until", entry["at"])
    steps, every = experiment["steps"], experiment["eval_every"]
    for step in (at, until):
        if not at <= step <= steps or (step % every and step != steps):
            raise ValueError(f"{where}: no evaluation at step {step}; there is one every {every} steps, up to {steps}.")
    return Target(KINDS[kinds[0]], entry[kinds[0]], at, until, entry.get("every_seed", False))


def _check_parts(one: Experiment, common: Mapping[str, Any]) -> None:
    """Refuse parts that do not go together."""
    name, names = one.name, ", ".join(one.names)
    owners = {key.partition(":")[0] for key in common if ":" in key}
    unknown = [panel for panel in one.panels if panel not in PANELS]
    places = [series for series in one.series if series.x is not None]
    for wrong, said in (
        (owners - {series.algo for series in one.series}, f"set names algorithms that do not run; there are {names}."),
        (len(set(one.names)) < len(one.series), "two series have one name; give each a label of its own."),
        (one.threshold is not None and one.random >= one.threshold, "threshold must be above random."),
        (one.time and one.time.against not in one.names, f"time is against a series that does not run, only {names}."),
        (
            one.question and one.reference not in one.names,
            f"reference {one.reference!r} is none of its series, {names}.",
        ),
        (unknown, f"unknown panels {', '.join(unknown)}; known are {', '.join(PANELS)}."),
        ("sweep" in one.panels and not (one.axis and places), "the panel sweep needs `axis`, and `x` of some series."),
    ):
        if wrong:
            raise ValueError(f"{name}: {said}")


def _checked(
    value: Any, where: str, required: Iterable[str] = (), optional: Iterable[str] | None = None
) -> dict[str, Any]:
    """``value`` if it is a mapping with all keys that it must have, none that nobody reads, and numbers as numbers.

    :param value: as YAML has read it
    :param where: its name in an error
    :param required: keys that must be there
    :param optional: keys that may be there; None: any if none is required
    """
    required = tuple(required)
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a mapping of {', '.join(required) or 'names'}, got {value!r}.")
    if missing := [key for key in required if key not in value]:
        raise ValueError(f"{where} lacks {', '.join(missing)}; add it.")
    known = (*required, *(optional or ()))
    unknown = [str(key) for key in value if (required or optional) and key not in known]
    if unknown:
        raise ValueError(f"{where} has unknown keys {', '.join(unknown)}; known are {', '.join(known)}.")
    for key in filter(_NUMBERS.__contains__, value):
        types, words = (int, "a whole number such as 10000") if _NUMBERS[key] else ((int, float), "a number")
        if isinstance(value[key], bool) or not isinstance(value[key], types):
            raise ValueError(f"{where}: {key} must be {words}, got {value[key]!r}.")
    return value
