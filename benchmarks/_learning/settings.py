"""What one run is, where its files lie, and whether they are complete."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._algorithms import check_algorithm
from benchmarks._output import write_atomically

# Columns of what an agent's train() logs as train/<name>; empty for an algorithm that has no such thing.
LOGGED = ("ent_coef", "entropy")
CURVE_COLUMNS = (
    "step",
    "timesteps",
    "seconds",
    "cpu_seconds",
    "eval_mean",
    "eval_std",
    "stochastic_mean",
    "stochastic_std",
    "train_return",
    *LOGGED,
)
FINAL_COLUMNS = ("mode", "episode", "eval_seed", "return", "length")


def series_name(algo: str, label: str) -> str:
    """The name of a configuration: of its seeds' folder, and in the tables."""
    return f"{algo}-{label}" if label else algo


@dataclass(frozen=True)
class RunSettings:
    """All that decides the result of a run. Two runs with equal settings are the same run.

    :param env: Gymnasium id
    :param algo: a key of ``ALGORITHMS``
    :param seed: of the training; the evaluation has seeds of its own
    :param steps: training budget in environment steps
    :param hyperparams: as a zoo file would have them, before any preprocessing
    :param hyperparams_from: where they come from, in words
    :param eval_every: steps between two evaluations
    :param eval_episodes: episodes of each evaluation, deterministic and again stochastic
    :param final_episodes: episodes of the evaluation of the final agent, in both modes
    :param threads: torch threads of the process
    :param device: torch device
    :param label: tells apart two configurations of one algorithm
    """

    env: str
    algo: str
    seed: int
    steps: int
    hyperparams: dict[str, Any] = field(default_factory=dict)
    hyperparams_from: str = "constructor defaults"
    eval_every: int = 1000
    eval_episodes: int = 10
    final_episodes: int = 100
    threads: int = 1
    device: str = "auto"
    label: str = ""

    def __post_init__(self) -> None:
        check_algorithm(self.algo)
        for name in ("steps", "eval_every", "eval_episodes", "final_episodes", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.label and not self.label.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"label becomes a folder's name: letters, digits, '-' and '_' only, got {self.label!r}.")

    @property
    def series(self) -> str:
        """The name under which the seeds of one configuration are pooled."""
        return series_name(self.algo, self.label)

    def to_json(self) -> dict[str, Any]:
        """As it reads after a trip through a JSON file, so that a stored run compares equal."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class RunFiles:
    """The three files of a run; ``meta`` is written last and so says that the others are whole."""

    curve: Path
    final: Path
    meta: Path

    @classmethod
    def of(cls, settings: RunSettings, results: Path) -> RunFiles:
        folder = results / "runs" / settings.env.replace("/", "_") / settings.series
        stem = f"seed_{settings.seed}"
        return cls(folder / f"{stem}.csv", folder / f"{stem}_final.csv", folder / f"{stem}.json")


def is_finished(settings: RunSettings, results: Path) -> bool:
    """Whether the run is stored whole, and was made with these very settings."""
    files = RunFiles.of(settings, results)
    try:
        stored = json.loads(files.meta.read_text(encoding="utf-8"))["settings"]
        curve, final = _read_rows(files.curve), _read_rows(files.final)
    except (OSError, ValueError, KeyError):
        return False
    complete = bool(curve) and int(curve[-1]["step"]) == settings.steps and len(final) == 2 * settings.final_episodes
    return complete and stored == settings.to_json()


def store(
    settings: RunSettings,
    results: Path,
    curve: Iterable[dict[str, Any]],
    final: Iterable[dict[str, Any]],
    meta: dict[str, Any],
) -> RunFiles:
    """Write a run's files, each to a temporary name first, ``meta`` last.

    An older ``meta`` goes away before the tables change: a kill in between leaves a run that is not done.
    """
    files = RunFiles.of(settings, results)
    files.meta.parent.mkdir(parents=True, exist_ok=True)
    files.meta.unlink(missing_ok=True)
    _write_rows(files.curve, CURVE_COLUMNS, curve)
    _write_rows(files.final, FINAL_COLUMNS, final)
    write_atomically(files.meta, json.dumps({"settings": settings.to_json(), **meta}, indent=2) + "\n")
    return files


def _write_rows(path: Path, columns: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def _read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
