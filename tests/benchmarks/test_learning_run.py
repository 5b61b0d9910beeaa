"""Real runs, as short as they get."""

from __future__ import annotations

import csv
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.env_util import make_vec_env

from benchmarks import learning
from benchmarks._learning import evaluation, training
from benchmarks._learning.settings import RunFiles, RunSettings, is_finished
from sb3_softac import SoftAC

pytest.importorskip("rl_zoo3")

ROOT = Path(__file__).parents[2]
ARGUMENTS = [
    *("run", "--envs", "Pendulum-v1", "--algos", "sac", "--seeds", "0", "--steps", "150"),
    *("--hyperparams", "default", "--eval-every", "100", "--eval-episodes", "1", "--final-episodes", "2"),
    *("--workers", "1", "--quiet"),
]
SMALL = {"policy": "MlpPolicy", "policy_kwargs": "dict(net_arch=[8])", "batch_size": 8}


@pytest.fixture(autouse=True)
def torch_threads() -> object:
    """A run sets the number of its process, which is the tests' own here."""
    before = th.get_num_threads()
    yield
    th.set_num_threads(before)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def small_run(**changes: object) -> RunSettings:
    values = {
        "env": "Pendulum-v1",
        "algo": "sac",
        "seed": 0,
        "steps": 150,
        "hyperparams": SMALL,
        "eval_every": 100,
    }
    return RunSettings(**{**values, "eval_episodes": 2, "final_episodes": 3, **changes})


def test_a_run_is_written_skipped_and_made_again_when_settings_differ(tmp_path: Path, capsys) -> None:
    command = [*ARGUMENTS, "--results", str(tmp_path)]
    assert learning.main(command) == 0
    assert "1 runs made, 0 were there" in capsys.readouterr().out
    meta = next(tmp_path.rglob("seed_0.json"))
    first = meta.stat().st_mtime_ns
    assert learning.main(command) == 0
    assert "0 runs made, 1 were there" in capsys.readouterr().out
    assert meta.stat().st_mtime_ns == first
    assert learning.main([*command, "--set", "learning_rate=0.01"]) == 0
    assert "1 runs made, 0 were there" in capsys.readouterr().out
    assert json.loads(meta.read_text())["settings"]["hyperparams"]["learning_rate"] == 0.01


def test_a_failing_run_is_reported_and_leaves_nothing(tmp_path: Path, capsys) -> None:
    command = [*ARGUMENTS, "--results", str(tmp_path), "--set", "no_such_argument=1"]
    assert learning.main(command) == 1
    assert "no_such_argument" in capsys.readouterr().err
    assert not list(tmp_path.rglob("seed_*"))


def test_the_tables_of_a_run(tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []
    run = small_run()
    files = training.run(run, tmp_path, lambda step, score: seen.append((step, score)))
    assert is_finished(run, tmp_path)
    curve, final = rows(files.curve), rows(files.final)
    assert [int(row["step"]) for row in curve] == [0, 100, 150] == [step for step, _ in seen]
    seconds = [float(row["seconds"]) for row in curve]
    assert seconds == sorted(seconds)
    assert math.isnan(float(curve[0]["train_return"]))
    assert [row["eval_seed"] for row in final] == ["2000000", "2000001", "2000002"] * 2
    assert {row["mode"] for row in final} == {"deterministic", "stochastic"}
    meta = json.loads(files.meta.read_text())
    assert meta["torch_threads"] == 1
    assert meta["gradient_updates"] == 50
    assert meta["versions"]["torch"] == th.__version__


@pytest.mark.parametrize(
    ("algo", "logged"), [("sac", {"ent_coef"}), ("softac", {"ent_coef", "entropy"}), ("td3", set())]
)
def test_what_train_logs_is_kept_although_the_logger_forgets_it(tmp_path: Path, algo: str, logged: set[str]) -> None:
    # Five episodes: the logger writes, and forgets, after the fourth, 50 steps before the first evaluation.
    rarely = {**SMALL, "train_freq": 100, "gradient_steps": 1, "learning_rate": 0.01}
    run = small_run(algo=algo, steps=1000, eval_every=850, eval_episodes=1, final_episodes=1, hyperparams=rarely)
    curve = rows(training.run(run, tmp_path).curve)
    assert [int(row["step"]) for row in curve] == [0, 850, 1000]
    for name in ("ent_coef", "entropy"):
        assert curve[0][name] == ""
        assert all(bool(row[name]) == (name in logged) for row in curve[1:])
    if logged:
        assert 0 < float(curve[2]["ent_coef"]) < float(curve[1]["ent_coef"]) < 1


def test_the_training_does_not_depend_on_how_often_it_is_evaluated(tmp_path: Path) -> None:
    finals = []
    for every in (150, 30):
        files = training.run(small_run(eval_every=every), tmp_path)
        finals.append([row["return"] for row in rows(files.final)])
    assert finals[0] == finals[1]


def test_zoo_entries_with_noise_several_environments_and_normalisation(tmp_path: Path) -> None:
    noisy = {
        **SMALL,
        "noise_type": "normal",
        "noise_std": 0.1,
        "learning_rate": "lin_1e-3",
        "train_freq": [1, "step"],
    }
    files = training.run(small_run(algo="td3", hyperparams=noisy), tmp_path)
    assert len(rows(files.curve)) == 3
    several = {
        "policy": "MlpPolicy",
        "n_envs": 2,
        "n_steps": 32,
        "batch_size": 32,
        "normalize": True,
        "use_sde": True,
    }
    files = training.run(small_run(algo="ppo", hyperparams=several), tmp_path)
    curve = rows(files.curve)
    assert [int(row["step"]) for row in curve] == [0, 100, 150]
    assert int(curve[-1]["timesteps"]) == 192  # whole rollouts of 64 steps


@pytest.mark.parametrize("algorithm", [SAC, PPO, SoftAC])
def test_evaluation_is_repeatable_and_leaves_no_trace(algorithm: type) -> None:
    model = algorithm("MlpPolicy", "Pendulum-v1", seed=0, use_sde=True, policy_kwargs={"net_arch": [8]}, device="cpu")
    env = make_vec_env("Pendulum-v1", 2)
    before = (random.getstate(), np.random.get_state()[1].tolist(), th.random.get_rng_state().tolist())  # noqa: NPY002
    noise = dict(vars(evaluation.state_dependent_noise(model)))
    first, again = (evaluation.run_episodes(model, env, 3, deterministic=False, first_seed=5) for _ in range(2))
    assert first == again
    assert [episode.seed for episode in first] == [5, 6, 7]
    assert len({episode.score for episode in first}) == 3
    after = (random.getstate(), np.random.get_state()[1].tolist(), th.random.get_rng_state().tolist())  # noqa: NPY002
    assert before == after
    kept = vars(evaluation.state_dependent_noise(model))
    assert all(kept[name] is value for name, value in noise.items())


def test_evaluation_leaves_the_generator_of_random_actions_as_it_was() -> None:
    model = DQN("MlpPolicy", "CartPole-v1", seed=0, policy_kwargs={"net_arch": [8]}, buffer_size=10, device="cpu")
    before = model.action_space.np_random.bit_generator.state
    env = make_vec_env("CartPole-v1", 2)
    first, again = (evaluation.run_episodes(model, env, 3, deterministic=False, first_seed=5) for _ in range(2))
    assert first == again
    assert model.action_space.np_random.bit_generator.state == before


def test_the_episodes_are_the_same_whatever_the_number_of_copies() -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", seed=0, policy_kwargs={"net_arch": [8]}, device="cpu")
    results = [
        evaluation.run_episodes(model, make_vec_env("Pendulum-v1", copies), 3, deterministic=True, first_seed=5)
        for copies in (1, 2)
    ]
    assert [episode.score for episode in results[0]] == pytest.approx([episode.score for episode in results[1]])


def test_the_clock_stands_still_while_paused(monkeypatch) -> None:
    walls, cpus = iter([0.0, 3.0, 10.0, 11.0]), iter([0.0, 2.0, 6.0, 6.5])
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(walls))
    monkeypatch.setattr(training.time, "process_time", lambda: next(cpus))
    clock = training.TrainingClock()
    with clock.paused():
        pass
    assert clock.read() == (4.0, 2.5)


def test_what_others_print_does_not_reach_the_progress() -> None:
    """PyBullet prints from C++, past Python's standard output."""
    program = "import os; from benchmarks._learning.worker import own_output; output = own_output()\n"
    program += "os.write(1, b'noise'); print('more'); print('progress', file=output)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "progress\n"
    assert "noise" in done.stderr
    assert "more" in done.stderr


def test_files_of_two_environments_with_a_slash_in_the_name(tmp_path: Path) -> None:
    files = RunFiles.of(small_run(env="ALE/Pong-v5"), tmp_path)
    assert files.meta == tmp_path / "runs" / "ALE_Pong-v5" / "sac" / "seed_0.json"
