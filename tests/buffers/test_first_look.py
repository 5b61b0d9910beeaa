"""Warnings of environments that are hard to learn in, as learning begins, and none of ordinary ones."""

import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_softac import SoftAC
from sb3_softac.buffers.first_look import episode_lengths, uneven_dimensions
from tests.helpers import SMALL, DiscreteTarget, Target, image_space, ready

LONG_WARM_UP = SMALL | {"learning_starts": 100}


def warnings_of(env: Any, steps: int = 130, **kwargs: Any) -> list[str]:
    """Texts of all warnings, from before the first to after the last training."""
    policy = "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy"
    model = SoftAC(policy, env, seed=0, device="cpu", **(LONG_WARM_UP | kwargs))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.learn(steps)
        model.learn(20, reset_num_timesteps=False)
    assert model._n_updates > 20
    return [str(each.message) for each in seen]


class Scaled(Target):
    """Multiplies observations and rewards."""

    def __init__(self, of_obs: Any = 1.0, of_reward: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**({"truncate": True, "horizon": 30} | kwargs))
        self._of_obs, self._of_reward = np.asarray(of_obs), of_reward
        self.observation_space = spaces.Box(-np.inf, np.inf, self.observation_space.shape, np.float64)
        self._inner = spaces.Box(-1.0, 1.0, self.observation_space.shape, seed=0)

    def reset(self, **kwargs: Any) -> Any:
        super().reset(**kwargs)
        return self._inner.sample() * self._of_obs, {}

    def step(self, action: np.ndarray) -> Any:
        _, reward, *over = super().step(action)
        return self._inner.sample() * self._of_obs, reward * self._of_reward, *over


@pytest.mark.parametrize("buffer_class", [None, ReplayBuffer])
@pytest.mark.parametrize("scales", [[1, 1, 1e4], [1e-3, 1, 1e3], [1e-4, 1e-4, 1]])
def test_numbers_of_very_different_sizes(scales, buffer_class):
    (text,) = warnings_of(Scaled(scales), replay_buffer_class=buffer_class)
    assert "of the observation are of very different sizes" in text
    assert "[2] varies by" in text
    assert "policy_kwargs=dict(normalize_obs=True)" in text


def test_a_normalizer_is_the_remedy():
    envs = VecNormalize(DummyVecEnv([lambda: Scaled([1, 1, 1e4], 1e6)]))
    assert warnings_of(envs) == []


def test_large_rewards():
    (text,) = warnings_of(Scaled(of_reward=1e5))
    assert "rewards are large" in text
    assert "`reward_scale=3e-05`" in text
    assert warnings_of(Scaled(of_reward=1e5), reward_scale=3e-5) == []


def test_episodes_of_one_step():
    (text,) = warnings_of(Target(horizon=1))
    assert "episodes was over after one step" in text
    assert warnings_of(Target(horizon=1), gamma=0.0) == []


def test_a_time_limit_that_nobody_reports():
    (text,) = warnings_of(Target(horizon=20))
    assert "each of the first 5 episodes was over after 20 steps, and each by `terminated`" in text
    assert "TimeLimit" in text


def test_time_limits_and_ends_that_are_reported_are_fine():
    class Either(Target):
        def step(self, action: np.ndarray) -> Any:
            obs, reward, terminated, truncated, info = super().step(action)
            return obs, reward, terminated or bool(obs[0] > 0.8), truncated, info

    assert warnings_of(Target(horizon=20, truncate=True)) == []
    assert warnings_of(Either(horizon=20)) == []


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "MountainCarContinuous-v0", "CartPole-v1", "Acrobot-v1"])
def test_ordinary_environments(env_id):
    import gymnasium as gym

    assert warnings_of(gym.make(env_id), steps=1010, learning_starts=1000, buffer_size=2000) == []


def test_observations_that_are_no_numbers_to_compare():
    assert warnings_of(Target(image_space(), truncate=True), steps=105, policy_kwargs={"net_arch": [8]}) == []
    assert warnings_of(DiscreteTarget(spaces.Discrete(5)), learning_starts=20) == []


def test_deviations_as_mujocos():
    random = np.random.default_rng(0)
    humanoid = np.geomspace(0.005, 340, 300)  # forces beside joints
    assert uneven_dimensions(random.normal(size=(100, 300)) * humanoid) is None
    constants = random.normal(size=(100, 4)) * [1, 1, 0, 1e-16] + [0, 0, 3, 0.5]
    assert uneven_dimensions(constants) is None
    assert uneven_dimensions(np.full((100, 3), 7.0)) is None


def test_a_full_buffer_shows_no_lengths():
    assert warnings_of(Target(horizon=20), buffer_size=60) == []


def test_lengths_of_several_environments():
    dones = np.zeros((10, 2))
    dones[[2, 5, 9], 0] = 1
    dones[4, 1] = 1
    assert episode_lengths(dones) == [3, 3, 4, 5]
    assert episode_lengths(dones[:0]) == []


def test_a_buffer_that_keeps_its_rows_in_another_way():
    model = ready(SoftAC("MlpPolicy", Target(), seed=0, device="cpu", **SMALL))
    model.learn(15)
    buffer = model.replay_buffer

    class Other:
        device, n_envs, size = buffer.device, 1, buffer.size

        def sample(self, *args: Any, **kwargs: Any) -> Any:
            return buffer.sample(*args)

    model.replay_buffer = Other()
    model.train(1, 16)
