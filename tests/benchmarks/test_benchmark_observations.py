"""The study of prepared observations: its environments, what it keeps, and its tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from benchmarks import observations
from benchmarks._observations import envs, runs
from benchmarks._studies import report
from sb3_softac import SoftAC


@pytest.mark.filterwarnings("ignore:.*should be|.*The default")
def test_the_task_with_images_follows_the_interface():
    check_env(envs.PixelReach(), skip_render_check=True)
    frames, _ = envs.PixelReach().reset(seed=1)
    assert frames.max() > 200
    np.testing.assert_array_equal(frames[0], frames[-1])


def score(policy) -> float:
    env, total = envs.PixelReach(), 0.0
    for seed in range(10):
        env.reset(seed=seed)
        over = False
        while not over:
            _, reward, _, over, _ = env.step(policy(env))
            total += reward / 10
    return total


def test_pushing_towards_the_target_is_best():
    towards = score(lambda env: 6.0 * (env._target - env._place) - 6.0 * env._speed)
    assert towards > -15.0
    assert towards > score(lambda env: env.np_random.uniform(-1, 1, 2)) + 15.0


def test_units_are_changed():
    env, plain = observations.pendulum(envs.UNEVEN), gym.make("Pendulum-v1")
    changed, _ = env.reset(seed=0)
    as_ever, _ = plain.reset(seed=0)
    np.testing.assert_allclose(changed, as_ever * np.array(envs.UNEVEN, np.float32))


def test_trainings_that_are_there_are_kept():
    contender = runs.Contender(
        lambda env, seed: SoftAC("MlpPolicy", env, seed=seed, learning_starts=10, batch_size=8, buffer_size=100),
        runs.vec(lambda: gym.make("Pendulum-v1")),
    )
    rows: list = [{"case": "a", "contender": "x", "seed": 0, "curve": ["kept"]}]
    budget = {"steps": 40, "every": 20, "n_episodes": 1}
    *_, found = runs.train_missing({"a": {"x": contender}}, range(2), rows, **budget)
    assert found[0]["curve"] == ["kept"]
    assert [point["step"] for point in found[1]["curve"]] == [20, 40]
    assert list(runs.train_missing({"a": {"x": contender}}, range(2), found, **budget)) == []


def test_a_quick_study_writes_its_table(tmp_path):
    train_missing = runs.train_missing

    def shortly(cases, seeds, rows, **budget):
        return train_missing(cases, seeds, rows, steps=240, every=120, n_episodes=1)

    with (
        patch.object(sys, "argv", ["observations", "pixels", "--quick", "--out", str(tmp_path)]),
        patch.object(observations.runs, "train_missing", shortly),
    ):
        observations.main()
    rows = json.loads((tmp_path / "pixels.json").read_text())["rows"]
    assert [row["contender"] for row in rows] == ["SB3's SAC, `CnnPolicy`", "SoftAC, with all three"]
    assert "CPU time of a step" in (tmp_path / "pixels.md").read_text()


@pytest.mark.parametrize("table", [*observations.RESULTS.glob("*.md")], ids=lambda table: table.stem)
def test_published_tables_come_out_of_their_data(table: Path):
    result = json.loads(table.with_suffix(".json").read_text())
    assert report(observations.STUDIES[table.stem], result) == table.read_text()
