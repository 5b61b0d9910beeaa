"""Exploring takes whatever a vectorised environment gives, and what masks allow."""

import math
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC

from sb3_softac import SoftAC
from tests.helpers import SMALL, Simulator, Target, ready


def test_lists_of_a_simulator_are_stored_as_arrays_would_be():
    lists, arrays = (
        SoftAC("MlpPolicy", Simulator(as_lists), seed=0, **SMALL).learn(60).replay_buffer for as_lists in (True, False)
    )
    for name in ("rewards", "dones", "timeouts"):
        np.testing.assert_array_equal(getattr(lists, name), getattr(arrays, name))
    np.testing.assert_array_equal(lists.observations[:20], arrays.observations[:20])


def test_the_rewards_of_a_simulator_are_those_that_stable_baselines3_stores():
    theirs = SAC("MlpPolicy", Simulator(True), seed=0, learning_starts=16, buffer_size=500).learn(60).replay_buffer
    ours = SoftAC("MlpPolicy", Simulator(True), seed=0, **SMALL).learn(60).replay_buffer
    np.testing.assert_array_equal(ours.rewards[:20], theirs.rewards[:20])
    np.testing.assert_array_equal(ours.dones[:20], theirs.dones[:20])


# Masks


class Masked(gym.Env):
    """Two of ten actions are allowed, others in every state; the first of the two is paid.

    :param mask_space: of the masks
    """

    action_space = spaces.Discrete(10)

    def __init__(self, mask_space: spaces.Space | None = None) -> None:
        mask_space = spaces.MultiBinary(10) if mask_space is None else mask_space
        self.observation_space = spaces.Dict(observation=spaces.Box(-1.0, 1.0, (3,)), action_mask=mask_space)

    def _obs(self) -> dict[str, np.ndarray]:
        self._mask = np.zeros(10, np.int8)
        self._mask[self.np_random.choice(10, 2, replace=False)] = 1
        return {"observation": np.zeros(3, np.float32), "action_mask": self.written(self._mask)}

    def written(self, mask: np.ndarray) -> np.ndarray:
        """As the observation has it."""
        return mask

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._step = 0
        return self._obs(), {}

    def step(self, action):
        self._step += 1
        assert self._mask[action], "a forbidden action"
        reward = float(action == np.flatnonzero(self._mask)[0])
        return self._obs(), reward, False, self._step >= 50, {}


class HalfMasked(Masked):
    """Masks of 0.5 in a Box: what is not zero is allowed."""

    def __init__(self) -> None:
        super().__init__(spaces.Box(0.0, 1.0, (10,)))

    def written(self, mask: np.ndarray) -> np.ndarray:
        return 0.5 * mask.astype(np.float32)


class Stuck(Masked):
    """Allows nothing after some steps."""

    def written(self, mask: np.ndarray) -> np.ndarray:
        return mask if self._step < 30 else np.zeros_like(mask)


@pytest.mark.parametrize(("target", "factor"), [("auto", 0.98), ("auto_0.5", 0.5)])
def test_the_temperature_aims_at_the_entropy_that_masks_leave(target, factor):
    """arXiv:1910.07207, section 4, with log|A| of the allowed actions: here always log 2, worked by hand."""
    model = ready(SoftAC("MultiInputPolicy", Masked(), target_entropy=target, ent_coef="auto_0.5", **SMALL))
    model.learn(20)
    obs = model.replay_buffer.sample(16).observations
    th.testing.assert_close(model.actor.max_entropy(obs), th.full((16,), math.log(2)))
    model.temperature.set_target_entropy(*model.current_settings().run.target_entropy.at(1.0))
    entropy = th.full((16,), 1.0)
    alpha = model.temperature.alpha()
    loss = model.temperature.step(entropy, model.actor.max_entropy(obs))["ent_coef_loss"]
    assert loss.item() == pytest.approx(alpha.log().item() * (1.0 - factor * math.log(2)), rel=1e-5)


def test_a_reachable_target_keeps_the_temperature_in_bounds():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no runaway
        model = SoftAC(
            "MultiInputPolicy",
            Masked(),
            learning_rate=3e-3,
            gamma=0.5,
            target_entropy="auto_0.5",
            seed=0,
            batch_size=64,
            policy_kwargs={"net_arch": [32]},
        )
        model.learn(1200)
    assert model.log_ent_coef.exp().item() < 2.0
    with th.no_grad():
        log_pi = model.actor.log_probs(model.replay_buffer.sample(200).observations)
    entropy = -(log_pi.exp() * log_pi).sum(dim=-1).mean().item()
    assert entropy == pytest.approx(0.5 * math.log(2), abs=0.15)


def test_what_is_not_zero_in_a_mask_is_allowed_at_random_and_by_the_policy():
    model = SoftAC("MultiInputPolicy", HalfMasked(), seed=0, **SMALL).learn(60)
    assert model.num_timesteps == 60  # the environment refuses forbidden actions


@pytest.mark.parametrize("learning_starts", [16, 100])
def test_a_mask_that_allows_nothing_is_refused(learning_starts):
    model = SoftAC("MultiInputPolicy", Stuck(), seed=0, **SMALL | {"learning_starts": learning_starts})
    with pytest.raises(ValueError, match=r"The 'action_mask' of environment 0 allows no action"):
        model.learn(60)
    observation = {"observation": np.zeros(3, np.float32), "action_mask": np.zeros(10, np.int8)}
    with pytest.raises(ValueError, match="allows no action"):
        model.predict(observation)


def test_a_key_named_action_mask_is_no_mask_with_box_actions():
    space = spaces.Dict(action_mask=spaces.Box(0, 1, (4,), np.float32), position=spaces.Box(-1, 1, (2,), np.float32))
    model = SoftAC("MultiInputPolicy", Target(space), seed=0, **SMALL).learn(40)
    assert model.current_settings().run.target_entropy.at(1.0) == (-2.0, 0.0)
    assert model.actor.features_dim == 6  # the key is observed as any other
