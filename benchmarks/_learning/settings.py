"""Settings of one run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks._algorithms import check_algorithm

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
