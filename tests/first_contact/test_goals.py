"""Environments with goals get hindsight where the word `auto` says so, and learning waits for the first episode."""

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv

from sb3_softac import MultiInputPolicy, SoftAC
from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer
from tests.helpers import SMALL, Target, dict_space

Bits = partial(BitFlippingEnv, n_bits=3, continuous=True, max_steps=5)


class WithoutReward(gym.ObservationWrapper):
    """Goals whose reward cannot be asked for."""

    def __init__(self) -> None:
        super().__init__(Target(Bits().observation_space))

    def observation(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return observation


@pytest.mark.parametrize(
    ("make_env", "buffer_class"),
    [
        (Bits, HerReplayBuffer),
        (WithoutReward, SingleCopyReplayBuffer),
        (partial(Target, dict_space()), SingleCopyReplayBuffer),
        (Target, SingleCopyReplayBuffer),
    ],
)
def test_auto_takes_the_replay_buffer_that_suits(make_env, buffer_class, tmp_path):
    env = make_env()
    model = SoftAC("auto", env, replay_buffer_class="auto", **SMALL, device="cpu").learn(30)
    assert type(model.replay_buffer) is model.replay_buffer_class is buffer_class
    assert model._n_updates > 0
    model.save(tmp_path / "agent")
    loaded = SoftAC.load(tmp_path / "agent", env, device="cpu").learn(30)
    assert type(loaded.replay_buffer) is buffer_class


def test_without_the_word_the_default_replay_buffer_stays():
    model = SoftAC("auto", Bits(), **SMALL, device="cpu")
    assert type(model.policy) is MultiInputPolicy
    assert type(model.replay_buffer) is SingleCopyReplayBuffer


def test_the_class_cannot_be_changed_later():
    model = SoftAC("auto", Bits(), **SMALL, device="cpu")
    model.replay_buffer_class = "auto"
    with pytest.raises(ValueError, match="`replay_buffer_class` was"):
        model.learn(1)


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="`replay_buffer_class` must be None, 'auto' or a class"):
        SoftAC("auto", Bits(), replay_buffer_class="HerReplayBuffer")


def test_learning_waits_for_the_first_episode():
    kwargs = SMALL | {"learning_starts": 2, "buffer_size": 50}
    model = SoftAC("auto", Bits(n_bits=8, max_steps=20), replay_buffer_class="auto", **kwargs, seed=0, device="cpu")
    with pytest.warns(UserWarning, match="Learning waits for the end of the first episode"):
        model.learn(20)
    before = model._n_updates
    assert before < 18
    model.learn(60)  # the buffer is full meanwhile, and its first rows are of an episode that goes on
    assert model._n_updates >= before + 55
