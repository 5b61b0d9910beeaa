"""Learning without steps: counts, schedules, callbacks, logs and checkpoints as in learn()."""

import csv

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.logger import configure

from sb3_softac import SoftAC, offline
from sb3_softac.callbacks import CheckpointCallback
from tests.helpers import SMALL, Target, parameters_of


@pytest.fixture(scope="module")
def data() -> offline.Data:
    env = Target(truncate=True)
    return offline.collect(SoftAC("MlpPolicy", env, buffer_size=10, seed=1), env, 50, seed=1)


def filled(data, env=None, **kwargs) -> SoftAC:
    model = SoftAC("MlpPolicy", env or Target(truncate=True), **SMALL | {"seed": 0} | kwargs)
    offline.fill_buffer(model, data)
    return model


class Watch(BaseCallback):
    """Counts its calls, and stops training after some."""

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        self.last = last
        self.seen: list[int] = []
        self.begun = self.ended = 0

    def _on_training_start(self) -> None:
        self.begun += 1

    def _on_step(self) -> bool:
        self.seen.append(self.num_timesteps)
        assert self.locals["infos"] == []
        return self.num_timesteps != self.last

    def _on_training_end(self) -> None:
        self.ended += 1


def test_gradient_steps_are_counted(data):
    watch = Watch()
    model = filled(data).learn_offline(25, watch)
    assert model._n_updates == model.num_timesteps == 25
    assert watch.seen == list(range(1, 26))
    assert (watch.begun, watch.ended) == (1, 1)
    assert model.replay_buffer.size() == 50


def test_it_is_the_same_train(data):
    model = filled(data).learn_offline(20)
    by_hand = filled(data)
    by_hand._setup_learn(20)
    for _ in range(2):
        by_hand.train(10, by_hand.batch_size)
    for name, value in parameters_of(model).items():
        assert th.equal(value, parameters_of(by_hand)[name]), name


def test_a_callback_ends_it(data):
    watch = Watch(last=13)
    model = filled(data).learn_offline(100, watch)
    assert (watch.seen[-1], watch.ended) == (13, 1)
    assert model.num_timesteps == 13


def test_schedules_follow_the_gradient_steps(data):
    model = filled(data, learning_rate="lin_1e-3")
    seen = []

    class Rates(BaseCallback):
        def _on_step(self) -> bool:
            seen.append(self.model.actor.optimizer.param_groups[0]["lr"].item())
            return True

    model.learn_offline(40, Rates())
    assert seen[::10] == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])


def test_it_logs(data, tmp_path):
    model = filled(data)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn_offline(40, log_interval=20)
    model.logger.close()
    with (tmp_path / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["time/total_timesteps"] for row in rows] == ["20", "40"]
    assert [row["train/n_updates"] for row in rows] == ["20", "40"]
    assert np.isfinite(float(rows[-1]["train/critic_loss"]))


def test_it_evaluates(data, tmp_path):
    callback = EvalCallback(Target(truncate=True), eval_freq=20, log_path=str(tmp_path), verbose=0, warn=False)
    filled(data).learn_offline(40, callback)
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [20, 40]


def test_a_run_goes_on_from_its_checkpoint(data, tmp_path):
    whole = filled(data).learn_offline(20).learn_offline(20, reset_num_timesteps=False)
    filled(data).learn_offline(20, CheckpointCallback(10, tmp_path))
    resumed = SoftAC.load_checkpoint(tmp_path, Target(truncate=True))
    assert resumed.num_timesteps == 20
    resumed.learn_offline(20, reset_num_timesteps=False)
    for name, value in parameters_of(whole).items():
        assert th.equal(value, parameters_of(resumed)[name]), name


def test_steps_in_the_environment_come_after(data):
    model = filled(data, learning_starts=0).learn_offline(10).learn(10)
    assert model.num_timesteps == 10
    assert model._n_updates == 20
    assert model.replay_buffer.size() == 60


def test_there_need_be_no_environment(data, tmp_path):
    model = filled(data, offline.spaces_env(data)).learn_offline(10)
    model.save(tmp_path / "agent.zip")
    agent = SoftAC.load(tmp_path / "agent.zip")
    assert agent.predict(np.zeros(3, np.float32))[0].shape == (2,)
    offline.fill_buffer(agent, data)
    with pytest.raises(ValueError, match="spaces_env"):
        agent.learn_offline(10)
    with pytest.raises(NotImplementedError, match="set_env"):
        model.learn(10)
    model.set_env(Target(truncate=True))
    assert model.learn(10).num_timesteps == 10


def test_demonstrations_are_enough(data):
    model = SoftAC("MlpPolicy", Target(truncate=True), **SMALL)
    model.add_demonstrations(data)
    assert model.learn_offline(10)._n_updates == 10


def test_bad_input(data):
    model = SoftAC("MlpPolicy", Target(truncate=True), **SMALL)
    with pytest.raises(ValueError, match="fill_buffer"):
        model.learn_offline(10)
    model = filled(data)
    for arguments in ((-1,), ("many",), (10, None, 0)):
        with pytest.raises(ValueError, match=r"gradient_steps|log_interval"):
            model.learn_offline(*arguments)
    model.tau = 2.0
    with pytest.raises(ValueError, match="tau"):
        model.learn_offline(10)
    assert model._n_updates == 0


def test_no_steps_are_no_steps(data):
    assert filled(data).learn_offline(0)._n_updates == 0


def test_rewards_of_the_data_are_learned():
    """The reward is minus the squared action: a critic of random steps alone shows the way to small actions."""
    env = Target()
    random = offline.collect(SoftAC("MlpPolicy", env, buffer_size=10, seed=1), env, 300, seed=1)
    model = filled(random, offline.spaces_env(random), gamma=0.0, learning_rate=3e-3, ent_coef=0.01)
    obs = np.random.default_rng(0).uniform(-1, 1, (64, 3)).astype(np.float32)
    model.learn_offline(250, log_interval=None)
    assert np.abs(model.predict(obs, deterministic=True)[0]).mean() < 0.15
