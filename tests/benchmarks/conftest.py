from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch as th

from benchmarks._learning.settings import RunSettings
from benchmarks._learning.store import MODES, Run, Store


@pytest.fixture
def torch_threads() -> Iterator[None]:
    """A run sets the number of its process, which is the tests' own here."""
    before = th.get_num_threads()
    yield
    th.set_num_threads(before)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def made_up(
    run: RunSettings, curve: dict[int, float], final: float, ent_coef: float | None = None, cpu: str = "a cpu"
) -> Run:
    """A run with this curve by step, ten steps a second, and final episodes around a mean."""
    rows = [
        {"step": step, "timesteps": step, "seconds": step / 10, "cpu_seconds": step / 20, "eval_mean": score}
        | {"eval_std": 0.0, "stochastic_mean": score, "stochastic_std": 0.0, "train_return": None}
        | {"ent_coef": ent_coef, "entropy": ent_coef}
        for step, score in curve.items()
    ]
    returns = [final + (-5 if k % 2 else 5) for k in range(run.final_episodes)]
    episodes = {mode: {"return": returns, "length": [200] * len(returns)} for mode in MODES}
    made_on = {"versions": {"torch": "0"}, "machine": {"cpu": cpu, "cores": 2}}
    return Run(run, made_on | {"device": "cpu", "torch_threads": 1}, episodes, rows)


@pytest.fixture
def store_settings(store: Store) -> Callable[..., Path]:
    """Stores a made-up run with the settings given."""
    return lambda *arguments, **others: store.write(made_up(*arguments, **others))


@pytest.fixture
def store_run(store_settings: Callable[..., Path]) -> Callable[..., Path]:
    """Stores a made-up run of Pendulum-v1 with two final episodes."""

    def store_one(
        algo: str, seed: int, curve: dict[int, float], final: float, ent_coef: float | None = None, **others: Any
    ) -> Path:
        run = RunSettings("Pendulum-v1", algo, seed, max(curve), final_episodes=2, **others)
        return store_settings(run, curve, final, ent_coef)

    return store_one
