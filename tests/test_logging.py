"""What a run logs: through the logger of Stable-Baselines3, to every file that it knows."""

import csv
import json
import math
import time

import gymnasium as gym
import pytest
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

from sb3_softac import SoftAC
from tests.helpers import SMALL, Target

ALWAYS = {
    "rollout/ep_rew_mean",
    "rollout/ep_rew_std",
    "rollout/ep_rew_min",
    "rollout/ep_rew_max",
    "train/updates_per_step",
    "train/td_error",
    "train/actor_grad_norm",
    "train/saturated_actions",
    "train/target_entropy",
    "train/obs_mean",
    "train/reward_max",
}
FULL = {
    f"diagnostics/{measure}_{network}"
    for measure in ("dead_units", "effective_rank", "weight_norm")
    for network in ("actor", "critic")
}


def logged(tmp_path, *formats: str, env: gym.Env | None = None, steps: int = 60, **kwargs) -> SoftAC:
    model = SoftAC("MlpPolicy", env or Monitor(Target()), seed=0, **(SMALL | kwargs))
    model.set_logger(configure(str(tmp_path), list(formats)))
    model.learn(steps, log_interval=1)
    model.logger.close()
    return model


def rows_of(tmp_path) -> list[dict[str, str]]:
    with (tmp_path / "progress.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_line_of_a_log_has_the_same_measures(tmp_path):
    logged(tmp_path, "csv")
    rows = rows_of(tmp_path)
    assert len(rows) == 6  # episodes of 10 steps, learning from the 17th step on
    assert all(row[name] != "" and math.isfinite(float(row[name])) for row in rows[2:] for name in ALWAYS)
    assert not FULL & rows[0].keys()
    assert float(rows[-1]["train/updates_per_step"]) == pytest.approx((60 - 17) / 60, abs=0.02)


def test_without_diagnostics_there_are_only_the_losses(tmp_path):
    logged(tmp_path, "csv", diagnostics="off")
    names = rows_of(tmp_path)[0].keys()
    assert {"train/actor_loss", "train/entropy"} <= names
    assert not {"train/td_error", "train/obs_mean", "train/saturated_actions"} & names


def test_full_diagnostics_go_to_every_format_and_histograms_to_tensorboard(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged(tmp_path, "stdout", "csv", "json", "tensorboard", diagnostics="full")
    assert rows_of(tmp_path)[-1].keys() >= FULL
    last = json.loads((tmp_path / "progress.json").read_text().splitlines()[-1])
    assert last.keys() >= FULL
    assert not {"diagnostics/q_values", "diagnostics/actions"} & last.keys()
    assert "dead_units_actor" in capsys.readouterr().out
    events = EventAccumulator(str(tmp_path)).Reload().Tags()
    assert set(events["histograms"]) == {"diagnostics/q_values", "diagnostics/actions"}
    assert set(events["scalars"]) >= FULL | ALWAYS


# Success


def test_the_threshold_of_the_return_makes_successes(tmp_path):
    logged(tmp_path, "csv", success_return=-1e9)
    assert float(rows_of(tmp_path)[-1]["rollout/success_rate"]) == 1.0
    logged(tmp_path, "csv", success_return=0.0)
    assert float(rows_of(tmp_path)[-1]["rollout/success_rate"]) == 0.0
    logged(tmp_path, "csv")
    assert "rollout/success_rate" not in rows_of(tmp_path)[-1]


class SaysItself(Target):
    """Says of each step that it is no success."""

    def step(self, action):
        *rest, info = super().step(action)
        return *rest, info | {"is_success": False}


def test_what_the_environment_says_of_success_comes_first(tmp_path):
    logged(tmp_path, "csv", env=Monitor(SaysItself()), success_return=-1e9)
    assert float(rows_of(tmp_path)[-1]["rollout/success_rate"]) == 0.0


def test_wandb_offline_takes_the_log(tmp_path, monkeypatch):
    """By ``sync_tensorboard``, as the manual says."""
    wandb = pytest.importorskip("wandb")
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    with wandb.init(project="test", sync_tensorboard=True, dir=str(tmp_path)) as run:
        logged(tmp_path / "logs", "tensorboard")
        assert run.settings.mode == "offline"
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 60  # a process of its own writes it
    while b"train/td_error" not in file.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"train/td_error" in file.read_bytes()
