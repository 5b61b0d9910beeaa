from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks._learning import settings
from benchmarks._learning.settings import RunFiles, RunSettings

StoreRun = Callable[..., RunFiles]


def store_made_up(
    run: RunSettings,
    results: Path,
    curve: dict[int, float],
    final: float,
    ent_coef: float | None = None,
    cpu: str = "a cpu",
) -> RunFiles:
    """Store a made-up run: its curve by step, ten steps a second, final episodes around a mean."""
    rows = [
        {
            "step": step,
            "timesteps": step,
            "seconds": step / 10,
            "cpu_seconds": step / 20,
            "eval_mean": score,
            "eval_std": 0,
            "stochastic_mean": score,
            "stochastic_std": 0,
            "train_return": 0,
            "ent_coef": ent_coef,
            "entropy": ent_coef,
        }
        for step, score in curve.items()
    ]
    episodes = [
        {"mode": mode, "episode": k, "eval_seed": k, "return": final + (-5 if k % 2 else 5), "length": 200}
        for mode in ("deterministic", "stochastic")
        for k in range(run.final_episodes)
    ]
    meta = {
        "versions": {"torch": "0"},
        "machine": {"cpu": cpu, "cores": 2},
        "device": "cpu",
        "torch_threads": 1,
    }
    return settings.store(run, results, rows, episodes, meta)


@pytest.fixture
def store_run(tmp_path: Path) -> StoreRun:
    """Stores a made-up run of Pendulum-v1 with two final episodes."""

    def store(
        algo: str, seed: int, curve: dict[int, float], final: float, ent_coef: float | None = None, **others: object
    ) -> RunFiles:
        run = RunSettings("Pendulum-v1", algo, seed, max(curve), final_episodes=2, **others)
        return store_made_up(run, tmp_path, curve, final, ent_coef)

    return store


@pytest.fixture
def store_settings(tmp_path: Path) -> StoreRun:
    """Stores a made-up run with the settings given."""
    return lambda run, curve, final, **others: store_made_up(run, tmp_path, curve, final, **others)
