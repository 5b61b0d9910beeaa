from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks._learning import settings
from benchmarks._learning.settings import RunFiles, RunSettings

StoreRun = Callable[..., RunFiles]


@pytest.fixture
def store_run(tmp_path: Path) -> StoreRun:
    """Stores a made-up run: its curve by step, ten steps a second, two final episodes around a mean."""

    def store(
        algo: str,
        seed: int,
        curve: dict[int, float],
        final: float,
        ent_coef: float | None = None,
        **others: object,
    ) -> RunFiles:
        run = RunSettings("Pendulum-v1", algo, seed, max(curve), final_episodes=2, **others)
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
            {"mode": mode, "episode": k, "eval_seed": k, "return": final + (-5 if k else 5), "length": 200}
            for mode in ("deterministic", "stochastic")
            for k in range(2)
        ]
        meta = {
            "versions": {"torch": "0"},
            "machine": {"cpu": "a cpu", "cores": 2},
            "device": "cpu",
            "torch_threads": 1,
        }
        return settings.store(run, tmp_path, rows, episodes, meta)

    return store
