"""Real runs, as short as they get."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.env_util import make_vec_env

from benchmarks import learning
from benchmarks._learning import evaluation, packages, training
from benchmarks._learning.pool import run_all
from benchmarks._learning.settings import RunSettings
from benchmarks._learning.store import Run, Store
from sb3_softac import SoftAC

pytest.importorskip("rl_zoo3")
pytestmark = pytest.mark.usefixtures("torch_threads")

ARGUMENTS = [
    *("run", "--envs", "Pendulum-v1", "--algos", "sac", "--seeds", "0", "--steps", "150"),
    *("--hyperparams", "default", "--eval-every", "100", "--eval-episodes", "1", "--final-episodes", "2"),
    *("--workers", "0", "--quiet"),
]
SMALL = {"policy": "MlpPolicy", "policy_kwargs": "dict(net_arch=[8])", "batch_size": 8}


def train(run: RunSettings, store: Store) -> Run:
    """A run as it is stored."""
    training.run(run, store)
    (stored,) = store.find([run])
    return stored


def small_run(**changes: object) -> RunSettings:
    values = {"env": "Pendulum-v1", "algo": "sac", "seed": 0, "steps": 150, "hyperparams": SMALL, "eval_every": 100}
    return RunSettings(**{**values, "eval_episodes": 2, "final_episodes": 3, **changes})


def test_a_run_is_written_skipped_and_made_again_when_settings_differ(tmp_path: Path, capsys) -> None:
    command = [*ARGUMENTS, "--results", str(tmp_path)]
    assert learning.main(command) == 0
    assert "1 runs made, 0 were there" in capsys.readouterr().out
    path = next(tmp_path.rglob("seed_0.json"))
    first = path.stat().st_mtime_ns
    assert learning.main(command) == 0
    assert "0 runs made, 1 were there" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == first
    assert learning.main([*command, "--set", "learning_rate=0.01"]) == 0
    assert "1 runs made, 0 were there" in capsys.readouterr().out
    assert json.loads(path.read_text())["settings"]["hyperparams"]["learning_rate"] == 0.01


def test_a_failing_run_is_reported_and_leaves_nothing(tmp_path: Path, capsys) -> None:
    command = [*ARGUMENTS, "--results", str(tmp_path), "--set", "no_such_argument=1"]
    assert learning.main(command) == 1
    assert "no_such_argument" in capsys.readouterr().err
    assert not list(tmp_path.rglob("seed_*"))


def test_runs_in_processes_of_their_own(store: Store, capfd) -> None:
    """Prints of a process stay there, as PyBullet's from C++ do; its death ends no other run."""
    runs = [small_run(steps=10, eval_every=10), small_run(algo="ppo", hyperparams={"policy": "nobody"})]
    outcome = run_all(runs, store, workers=2, quiet=True)
    assert (outcome.skipped, outcome.done, list(outcome.failed)) == (0, 1, ["Pendulum-v1 ppo 0"])
    assert "nobody" in outcome.failed["Pendulum-v1 ppo 0"]
    assert capfd.readouterr().out == ""
    assert [run.settings for run in store.find(runs)] == runs[:1]


def test_what_is_stored_of_a_run(store: Store) -> None:
    seen: list[tuple[int, float]] = []
    run = small_run()
    training.run(run, store, lambda step, score: seen.append((step, score)))
    (stored,) = store.find([run])
    assert [row["step"] for row in stored.curve] == [0, 100, 150] == [step for step, _ in seen]
    seconds = [row["seconds"] for row in stored.curve]
    assert seconds == sorted(seconds)
    assert stored.curve[0]["train_return"] is None
    assert {mode: len(episodes["return"]) for mode, episodes in stored.final.items()} == {
        "deterministic": 3,
        "stochastic": 3,
    }
    assert stored.meta["torch_threads"] == 1
    assert stored.meta["gradient_updates"] == 50
    assert stored.meta["versions"]["torch"] == th.__version__
    assert str(store.folder) not in json.dumps(stored.meta)


@pytest.mark.parametrize(
    ("algo", "logged"), [("sac", {"ent_coef"}), ("softac", {"ent_coef", "entropy"}), ("td3", set())]
)
def test_what_train_logs_is_kept_although_the_logger_forgets_it(store: Store, algo: str, logged: set[str]) -> None:
    # Five episodes: the logger writes, and forgets, after the fourth, 50 steps before the first evaluation.
    rarely = {**SMALL, "train_freq": 100, "gradient_steps": 1, "learning_rate": 0.01}
    run = small_run(algo=algo, steps=1000, eval_every=850, eval_episodes=1, final_episodes=1, hyperparams=rarely)
    curve = train(run, store).curve
    assert [row["step"] for row in curve] == [0, 850, 1000]
    for name in ("ent_coef", "entropy"):
        assert curve[0][name] is None
        assert all((row[name] is not None) == (name in logged) for row in curve[1:])
    if logged:
        assert 0 < curve[2]["ent_coef"] < curve[1]["ent_coef"] < 1


def test_the_training_does_not_depend_on_how_often_it_is_evaluated(store: Store) -> None:
    often, rarely = (train(small_run(eval_every=every), store).final for every in (30, 150))
    assert often == rarely


def test_zoo_entries_with_noise_several_environments_and_normalisation(store: Store) -> None:
    noisy = {**SMALL, "noise_type": "normal", "noise_std": 0.1, "learning_rate": "lin_1e-3", "train_freq": [1, "step"]}
    assert len(train(small_run(algo="td3", hyperparams=noisy), store).curve) == 3
    several = {"policy": "MlpPolicy", "n_envs": 2, "n_steps": 32, "batch_size": 32, "normalize": True, "use_sde": True}
    curve = train(small_run(algo="ppo", hyperparams=several), store).curve
    assert [row["step"] for row in curve] == [0, 100, 150]
    assert curve[-1]["timesteps"] == 192  # whole rollouts of 64 steps


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


@pytest.mark.parametrize(
    ("env", "package"), [("dm_control/cheetah-run-v0", "shimmy"), ("MinAtar/Breakout-v1", "minatar")]
)
def test_environments_of_other_packages(tmp_path, env, package):
    pytest.importorskip(package)
    wrapper = {"env_wrapper": "gymnasium.wrappers.FlattenObservation", "learning_starts": 20}
    small = small_run(env=env, algo="softac", steps=60, eval_every=30, eval_episodes=1, final_episodes=1)
    run = train(replace(small, hyperparams={**SMALL, **wrapper}), Store(tmp_path))
    assert [row["step"] for row in run.curve] == [0, 30, 60]
    assert run.meta["gradient_updates"] > 0


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "minatar.gym", None)  # which makes its import fail
    monkeypatch.delitem(gymnasium.registry, "MinAtar/Breakout-v1", raising=False)
    with pytest.raises(ValueError, match=r"MinAtar/Breakout-v1 needs .*minatar"):
        packages.register("MinAtar/Breakout-v1")
    packages.register("Pendulum-v1")  # Gymnasium's own needs nothing
