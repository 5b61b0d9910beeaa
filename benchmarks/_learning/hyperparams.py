"""Hyperparameters of a run: the zoo's entry or the constructor's defaults, then overrides.

They stay in the zoo's notation (``lin_7.3e-4``, ``"dict(net_arch=[64, 64])"``) until ``training`` hands them
to rl_zoo3's own preprocessing: text can be stored beside the results and compared, objects cannot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks._algorithms import parse_value

SOURCES = ("zoo", "default")
_ROOT = Path(__file__).resolve().parents[2]


def resolve(source: str, algo: str, env: str, overrides: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The hyperparameters of an algorithm on an environment, and where they come from.

    :param source: ``"zoo"`` (tuned entry) or ``"default"`` (what the constructor does by itself)
    :param algo: name of the algorithm
    :param env: Gymnasium id
    :param overrides: what differs from the source's
    :return: the raw entry (with ``n_timesteps`` if the zoo has it) and a description of its origin
    """
    if source not in SOURCES:
        raise ValueError(f"Unknown source of hyperparameters {source!r}; known are {', '.join(SOURCES)}.")
    if source == "zoo":
        entry, origin = _zoo_entry(algo, env)
    else:
        entry, origin = {"policy": "MlpPolicy"}, "constructor defaults"
    if overrides:
        origin += ", then " + ", ".join(f"{key}={value}" for key, value in overrides.items())
    return {**entry, **overrides}, origin


def zoo_file(algo: str) -> Path:
    """The zoo file of an algorithm: ours for ``softac``, else the one that rl_zoo3 carries."""
    if algo == "softac":
        candidates = [_ROOT / "hyperparams" / "softac.yml", _ROOT / "sb3_softac" / "hyperparams" / "softac.yml"]
    else:
        spec = find_spec("rl_zoo3")  # finds the package without importing it, which takes seconds
        if spec is None or spec.origin is None:
            raise ValueError("--hyperparams zoo needs rl_zoo3, which is not installed; use --hyperparams default.")
        package = Path(spec.origin).parent
        candidates = [folder / "hyperparams" / f"{algo}.yml" for folder in (package, package.parent)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ValueError(f"There is no zoo file for {algo!r}; use --hyperparams default.")


def parse_overrides(overrides: list[str], algo: str) -> dict[str, Any]:
    """Overrides of ``--set`` for an algorithm.

    :param overrides: ``key=value`` for every algorithm, ``algo:key=value`` for one
    :param algo: name of the algorithm
    """
    given = {}
    for item in overrides:
        name, separator, value = item.partition("=")
        if not separator or not name.rpartition(":")[2].isidentifier():
            raise ValueError(f"--set takes key=value or algo:key=value, got {item!r}.")
        given[name] = parse_value(value)
    return for_algorithm(given, algo)


def for_algorithm(overrides: Mapping[str, Any], algo: str) -> dict[str, Any]:
    """Overrides that an algorithm takes, of ``key`` and ``algo:key``, by key."""
    split = ((*key.rpartition(":"), value) for key, value in overrides.items())
    return {key: value for owner, colon, key, value in split if not colon or owner == algo}


def _zoo_entry(algo: str, env: str) -> tuple[dict[str, Any], str]:
    """The entry for the environment; else for its nearest other version; else the file's default.

    rl_zoo3 itself goes straight to the default. Its MuJoCo entries are for v4, whose tuning holds for v5.
    """
    entries = _read(zoo_file(algo))
    name = env if env in entries else _other_version(env, list(entries))
    if name is None:
        if "default" not in entries:
            raise ValueError(f"{algo}.yml has neither an entry for {env!r} nor a default; use --hyperparams default.")
        name = "default"
    return deepcopy(entries[name]), f"zoo's {algo}.yml, entry {name}"


@cache
def _read(path: Path) -> dict[str, dict[str, Any]]:
    """A zoo file, once: a plan asks for an entry for each of its runs."""
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _other_version(env: str, known: list[str]) -> str | None:
    match = re.fullmatch(r"(.+)-v(\d+)", env)
    if match is None:
        return None
    base, version = match[1], int(match[2])
    others = {int(m[1]): name for name in known if (m := re.fullmatch(re.escape(base) + r"-v(\d+)", name))}
    return others[min(others, key=lambda other: abs(other - version))] if others else None
