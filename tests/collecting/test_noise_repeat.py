"""A draw of noise is held for some steps, by all actors and for all environments together."""

from itertools import pairwise

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_softac import SoftAC
from sb3_softac.collecting.noise_repeat import NoiseRepeat, repeat_probabilities
from tests.helpers import SMALL, DiscreteTarget, Target

CPU = th.device("cpu")


def test_probabilities_fall_with_the_square():
    np.testing.assert_allclose(repeat_probabilities(3), np.array([1.0, 1 / 4, 1 / 9]) / (1 + 1 / 4 + 1 / 9))
    assert repeat_probabilities(16).sum() == pytest.approx(1.0)
    assert repeat_probabilities(16)[0] / repeat_probabilities(16)[3] == pytest.approx(16.0)


def test_draws_are_held_and_the_lengths_are_distributed_as_they_should_be():
    set_random_seed(0)
    repeat = NoiseRepeat(4, CPU)
    drawn = []
    for _ in range(20_000):
        with repeat.draws():
            drawn.append(th.randn(3).tolist())
        th.rand(1)  # a gradient step draws in between
    changes = np.flatnonzero([a != b for a, b in zip(drawn[1:], drawn[:-1], strict=True)])
    lengths = np.diff(changes)
    shares = np.bincount(lengths, minlength=5)[1:] / len(lengths)
    assert lengths.max() == 4
    np.testing.assert_allclose(shares, repeat_probabilities(4), atol=0.02)
    assert len({tuple(each) for each in drawn}) == len(changes) + 1  # no draw comes back later


def test_other_random_numbers_go_on_as_if_nothing_were_held():
    th.manual_seed(3)
    th.randn(2)
    expected = [th.rand(1).item() for _ in range(5)]
    th.manual_seed(3)
    repeat = NoiseRepeat(16, CPU)
    with repeat.draws():
        th.randn(2)
    repeat.restore(repeat.state() | {"left": 5})
    found = []
    for _ in range(5):
        with repeat.draws():
            th.randn(7)
        found.append(th.rand(1).item())
    assert found == expected


def noise_of(model: SoftAC) -> np.ndarray:
    """Noise of the actions in the buffer after random steps, (steps, n_envs, D), of an actor that does not learn."""
    n_rows = model.replay_buffer.pos
    obs = th.as_tensor(model.replay_buffer.observations[:n_rows])
    with th.no_grad():
        mean, log_std, _ = model.actor.get_action_dist_params(obs.flatten(0, 1))
    actions = th.as_tensor(model.replay_buffer.actions[:n_rows]).flatten(0, 1)
    return ((actions.double().atanh() - mean) / log_std.exp()).reshape(n_rows, model.n_envs, -1).numpy()


@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_gaussian_holds_its_noise_in_all_environments_together(n_envs):
    kwargs = SMALL | {"learning_starts": 0, "gradient_steps": 0, "seed": 0, "noise_repeat": 8}
    model = SoftAC("MlpPolicy", DummyVecEnv([Target] * n_envs), **kwargs).learn(150)
    noise = noise_of(model)
    same = np.isclose(noise[1:], noise[:-1], atol=1e-2).all(axis=2)  # (steps, n_envs)
    assert (same == same[:, :1]).all()
    assert 0.1 < same.mean() < 0.9
    if n_envs > 1:
        assert not np.isclose(noise[:, 0], noise[:, 1], atol=1e-2).all(axis=1).any()


@pytest.mark.parametrize(
    ("env", "policy_kwargs"),
    [
        (Target, {"n_components": 3}),
        (DiscreteTarget, {}),
        (lambda: Target(action_space=spaces.MultiDiscrete([30])), {}),
    ],
)
def test_every_actor_holds_what_it_draws(env, policy_kwargs):
    kwargs = SMALL | {"seed": 0, "noise_repeat": 16, "policy_kwargs": {"net_arch": [8]} | policy_kwargs}
    model = SoftAC("MlpPolicy", env(), **kwargs)
    observation, repeat = model.observation_space.sample()[None], model.explorer.repeat
    actions = []
    for _ in range(60):
        actions.append((repeat._left > 0, model.explorer.action(observation, 0)[1]))
    held = [np.array_equal(one, other) for (_, one), (is_held, other) in pairwise(actions) if is_held]
    assert len(held) > 10
    assert all(held)


def test_it_can_be_changed_later_and_is_not_for_gsde():
    model = SoftAC("MlpPolicy", Target(), **SMALL).learn(20)
    assert model.explorer.repeat is None
    model.noise_repeat = 16
    model.learn(20, reset_num_timesteps=False)
    assert model.explorer.repeat is not None
    with pytest.raises(ValueError, match=r"`noise_repeat=16` holds.*`sde_sample_freq`"):
        SoftAC("MlpPolicy", Target(), use_sde=True, noise_repeat=16, **SMALL)
