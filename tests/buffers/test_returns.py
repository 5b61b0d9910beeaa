"""Rewards are divided by the size of the discounted returns, of which an episode's last reward is a part."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_softac import SoftAC
from sb3_softac.buffers.returns import RunningReturns, reward_divisor
from sb3_softac.updates.batch import Batch
from tests.helpers import SMALL, DiscreteTarget, Target, ready


class Script(gym.Env):
    """Pays 1, 2, 4 in the three steps of each episode."""

    observation_space = spaces.Box(-1.0, 1.0, (2,))
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._paid = 0.5
        return np.zeros(2, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self._paid *= 2
        return np.zeros(2, np.float32), self._paid, False, self._paid == 4.0, {}


#: G of Script with gamma = 0.5: 1, 0.5 + 2, 1.25 + 4
RETURNS = np.array([1.0, 2.5, 5.25])


def rewards_of(model: SoftAC, batches: list[Batch], n_updates: int = 1) -> np.ndarray:
    """Rewards as a gradient step sees them."""
    batches.clear()
    model.train(n_updates, batch_size=64)
    return th.cat([batch.reward for batch in batches]).numpy()


@pytest.fixture
def batches(monkeypatch) -> list[Batch]:
    """The batches that models learn from."""
    seen: list[Batch] = []
    made = Batch.from_samples

    def from_samples(*args: Any) -> Batch:
        seen.append(made(*args))
        return seen[-1]

    monkeypatch.setattr(Batch, "from_samples", from_samples)
    return seen


# The equation


def test_the_divisor_is_the_deviation_or_what_the_bound_asks_for():
    assert reward_divisor(4.0, 100.0) == pytest.approx(2.0)
    assert reward_divisor(4.0, 100.0, bound=5.0) == 20.0
    assert reward_divisor(4.0, 5.0, bound=5.0) == pytest.approx(2.0)
    assert reward_divisor(0.0, 0.0, bound=5.0) == pytest.approx(1e-4)  # sqrt(eps)


def test_a_return_has_the_last_reward_of_its_episode_and_none_of_the_one_before():
    returns = RunningReturns(2)
    returns.see(np.array([1.0, 10.0]), np.array([False, True]), 0.5)  # G: 1, 10
    returns.see(np.array([2.0, 3.0]), np.array([True, False]), 0.5)  # G: 2.5, 3
    returns.see(np.array([4.0, 0.0]), np.array([False, False]), 0.5)  # G: 4, 1.5
    seen = np.array([1.0, 10.0, 2.5, 3.0, 4.0, 1.5])
    assert float(returns.statistics.mean) == pytest.approx(seen.mean())
    assert float(returns.statistics.var) == pytest.approx(seen.var())
    assert returns.largest == 10.0
    assert returns.divisor() == pytest.approx(seen.std(), rel=1e-6)
    assert returns.divisor(5.0) == pytest.approx(max(seen.std(), 2.0))


def test_before_any_reward_nothing_is_divided():
    assert RunningReturns(3).divisor(5.0) == 1.0


# A run


@pytest.mark.parametrize("bound", [None, 0.5, 100.0])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_batches_hold_divided_rewards_and_the_buffer_those_of_the_environment(bound, n_envs, batches):
    kwargs = SMALL | {"learning_starts": 1000, "gamma": 0.5, "reward_scale": 3.0}
    env = DummyVecEnv([Script] * n_envs)
    model = SoftAC("MlpPolicy", env, normalize_rewards=True, max_normalized_return=bound, **kwargs).learn(6 * n_envs)
    divisor = math.sqrt(RETURNS.var() + 1e-8)
    divisor = divisor if bound is None else max(divisor, 5.25 / bound)
    found = np.unique(rewards_of(model, batches))
    np.testing.assert_allclose(found, np.array([1.0, 2.0, 4.0]) * 3.0 / divisor, rtol=1e-5)
    assert set(np.unique(model.replay_buffer.rewards[:6])) == {1.0, 2.0, 4.0}
    assert model.logger.name_to_value["train/reward_divisor"] == pytest.approx(divisor)


def test_a_run_that_is_reset_begins_new_returns():
    model = SoftAC("MlpPolicy", Script(), normalize_rewards=True, **SMALL | {"gamma": 0.5}).learn(2)
    assert model._running_returns._running == pytest.approx([2.5])
    model.learn(1)  # which resets the environment
    assert model._running_returns._running == pytest.approx([1.0])
    assert model._running_returns.statistics.count == 3


def test_rewards_of_several_steps_are_divided_as_one_is(batches):
    kwargs = SMALL | {"learning_starts": 1000, "gamma": 0.5, "n_steps": 2}
    model = SoftAC("MlpPolicy", Script(), normalize_rewards=True, **kwargs).learn(6)
    # 1 + 0.5 * 2, 2 + 0.5 * 4, and 4, after which the episode is over
    expected = np.array([2.0, 4.0]) / RETURNS.std()
    np.testing.assert_allclose(np.unique(rewards_of(model, batches).round(4)), expected, rtol=1e-3)


def test_rewards_for_other_goals_are_divided_by_the_returns_of_those_that_were_collected(batches):
    env = BitFlippingEnv(4, continuous=True)
    kwargs = SMALL | {"replay_buffer_class": HerReplayBuffer, "learning_starts": 30}
    model = SoftAC("MultiInputPolicy", env, seed=0, normalize_rewards=True, **kwargs).learn(60)
    divisor = model._running_returns.divisor()
    assert set(np.unique((rewards_of(model, batches) * divisor).round(3))) == {-1.0, 0.0}


def test_demonstrations_are_divided_by_the_same_number(batches):
    kwargs = SMALL | {"learning_starts": 1000, "gamma": 0.5, "seed": 0}
    model = SoftAC("MlpPolicy", Script(), normalize_rewards=True, **kwargs).learn(6)
    model.add_demonstrations(SoftAC("MlpPolicy", Script(), **kwargs).learn(30), ratio=0.5)
    assert model._running_returns.statistics.count == 6
    found = np.unique(rewards_of(model, batches))
    np.testing.assert_allclose(found, np.array([1.0, 2.0, 4.0]) / RETURNS.std(), rtol=1e-4)


def test_data_from_elsewhere_gives_the_returns_where_the_agent_collected_none(batches):
    kwargs = SMALL | {"learning_starts": 1000, "gamma": 0.5, "seed": 0}
    source = SoftAC("MlpPolicy", Script(), **kwargs).learn(9)
    model = ready(SoftAC("MlpPolicy", Script(), normalize_rewards=True, **kwargs))
    model.replay_buffer = source.replay_buffer
    found = np.unique(rewards_of(model, batches))
    np.testing.assert_allclose(found, np.array([1.0, 2.0, 4.0]) / RETURNS.std(), rtol=1e-4)
    offline = ready(SoftAC("MlpPolicy", Script(), normalize_rewards=True, **kwargs))
    offline.add_demonstrations(source)
    np.testing.assert_allclose(np.unique(rewards_of(offline, batches)), found, rtol=1e-4)


def test_switched_on_later_it_knows_the_rewards_of_the_buffer(batches):
    model = SoftAC("MlpPolicy", Script(), **SMALL | {"learning_starts": 1000, "gamma": 0.5}).learn(9)
    assert model._running_returns is None
    model.normalize_rewards = True
    found = np.unique(rewards_of(model, batches))
    np.testing.assert_allclose(found, np.array([1.0, 2.0, 4.0]) / RETURNS.std(), rtol=1e-4)
    model.max_normalized_return = 0.5
    found = np.unique(rewards_of(model, batches))
    np.testing.assert_allclose(found, np.array([1.0, 2.0, 4.0]) / 10.5, rtol=1e-4)
    model.normalize_rewards, model.max_normalized_return = False, None
    np.testing.assert_allclose(np.unique(rewards_of(model, batches)), [1.0, 2.0, 4.0])
    assert model._running_returns is None


@pytest.mark.parametrize("variant", ["v1", "v2"])
@pytest.mark.parametrize("env", [Target, DiscreteTarget])
def test_a_model_that_is_loaded_goes_on_with_its_returns(variant, env, tmp_path):
    kwargs = SMALL | {"variant": variant, "seed": 0, "normalize_rewards": True, "max_normalized_return": 5.0}
    model = SoftAC("MlpPolicy", env(), **kwargs).learn(40)
    model.save(tmp_path / "agent")
    loaded = SoftAC.load(tmp_path / "agent", env=env())  # without running code of the file
    assert loaded._running_returns.divisor(5.0) == model._running_returns.divisor(5.0) != 1.0
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded._running_returns.statistics.count == 60


def test_rewards_that_are_normalised_twice_warn_and_keep_their_size():
    env = VecNormalize(DummyVecEnv([Script]))
    with pytest.warns(UserWarning, match=r"Rewards are normalised twice.*norm_reward=False"):
        model = SoftAC("MlpPolicy", env, normalize_rewards=True, **SMALL)
    model.learn(300)
    assert 0.5 < model._running_returns.divisor() < 2.0
    SoftAC("MlpPolicy", VecNormalize(DummyVecEnv([Script]), norm_reward=False), normalize_rewards=True, **SMALL)


def test_a_bound_without_normalisation_is_refused():
    with pytest.raises(ValueError, match=r"`max_normalized_return=5.0` bounds.*`normalize_rewards=True`"):
        SoftAC("MlpPolicy", Script(), max_normalized_return=5.0, **SMALL)
