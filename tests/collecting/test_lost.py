"""Steps that nobody knows the end of: what is stored is true."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_softac import SoftAC
from tests.helpers import SMALL, SMALL_DICT, Target, dict_space


class Losing(DummyVecEnv):
    """Loses the step of its second environment at some steps."""

    lost_at = (7, 8, 20)
    step_number = 0

    def step_wait(self) -> Any:
        obs, rewards, dones, infos = super().step_wait()
        self.step_number += 1
        if self.step_number in self.lost_at:
            rewards[1], dones[1] = 1e6, True
            last = {key: value[1] for key, value in obs.items()} if isinstance(obs, dict) else obs[1]
            infos[1] = {"TimeLimit.truncated": True, "terminal_observation": last, "lost_step": True}
        return obs, rewards, dones, infos


def learned(space: spaces.Space | None = None, steps: int = 60, **kwargs: Any) -> SoftAC:
    envs = Losing([lambda: Target(space, horizon=6)] * 2)
    policy, small = ("MlpPolicy", SMALL) if space is None else ("MultiInputPolicy", SMALL_DICT)
    return SoftAC(policy, envs, seed=0, device="cpu", **(small | kwargs)).learn(steps)


@pytest.mark.parametrize("space", [None, dict_space()], ids=["box", "dict"])
def test_the_step_before_is_there_once_more(space):
    buffer = learned(space).replay_buffer
    index = np.arange(buffer.pos) * 2 + 1
    obs, next_obs, actions, rewards, dones, timeouts = buffer.transitions_at(index)
    assert rewards.max() <= 0.0
    for lost, true in ((6, 5), (7, 5), (19, 18)):  # rows of the steps 7, 8 and 20, and those that they repeat
        for leaf in (*obs.values(), *next_obs.values(), actions, rewards, dones, timeouts):
            np.testing.assert_array_equal(leaf[lost], leaf[true])
    assert not np.array_equal(actions[6], actions[8])
    assert dones[5] == 1  # the end of an episode of six steps
    assert timeouts[5] == 0


def test_other_environments_are_stored_as_they_are():
    buffer = learned().replay_buffer
    _, _, actions, rewards, dones, _ = buffer.transitions_at(np.arange(buffer.pos) * 2)
    np.testing.assert_allclose(rewards, -np.square(actions).mean(axis=1), rtol=1e-5)
    assert dones.nonzero()[0].tolist() == [5, 11, 17, 23, 29]


def test_returns_of_several_steps_end_before_it():
    buffer = learned(n_steps=3).replay_buffer
    envs = buffer.n_envs
    samples = buffer._gather(np.array([18 * envs + 1]), None)  # the step before the lost one
    _, _, _, rewards, _, _ = buffer.transitions_at(np.array([18 * envs + 1]))
    np.testing.assert_allclose(samples.rewards.numpy().ravel(), rewards, rtol=1e-6)
    np.testing.assert_allclose(samples.discounts.numpy().ravel(), buffer.gamma, rtol=1e-6)


def test_normalised_rewards_and_observations():
    envs = VecNormalize(Losing([Target, Target]))
    buffer = SoftAC("MlpPolicy", envs, seed=0, device="cpu", **SMALL).learn(60).replay_buffer
    obs, _, actions, rewards, _, _ = buffer.transitions_at(np.arange(buffer.pos) * 2 + 1)
    np.testing.assert_allclose(rewards, -np.square(actions).mean(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(obs[None][19], obs[None][18])


def test_the_first_step_has_none_before(monkeypatch):
    monkeypatch.setattr(Losing, "lost_at", (1,))
    buffer = learned(steps=4).replay_buffer
    assert buffer.timeouts[0].tolist() == [0, 1]


def test_buffers_of_another_class_get_it_as_truncated():
    buffer = learned(replay_buffer_class=ReplayBuffer).replay_buffer
    assert buffer.rewards[6, 1] == 1e6
    assert buffer.timeouts[6].tolist() == [0, 1]
