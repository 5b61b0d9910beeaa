"""SoftAC v2 makes the updates of Stable-Baselines3's SAC, from the same weights, batches and noise.

Two comparisons. In double precision, with Stable-Baselines3's epsilon in the log-determinant set to zero, nothing
differs but the order of floating-point operations: parameters agree to 1e-9. In single precision, as both are used,
they agree to 1e-4 (and to 1e-6 in the mean) after ten updates that may move each by 3e-3: Adam divides by the size of
a gradient, so that rounding shows where a gradient is nearly zero.
"""

from unittest.mock import patch

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC

from sb3_softac import SoftAC
from tests.helpers import Target, dict_space, fixed_samples, image_space, random_samples, ready

CASES = {
    "default": {},
    "one critic": {"policy_kwargs": {"n_critics": 1}},
    "five critics": {"policy_kwargs": {"n_critics": 5}},
    "fixed temperature": {"ent_coef": 0.3},
    "temperature from 0.1": {"ent_coef": "auto_0.1", "target_entropy": -0.5},
    "gSDE": {"use_sde": True},
    "gSDE with expln": {"use_sde": True, "policy_kwargs": {"use_expln": True, "log_std_init": 0.1, "clip_mean": 0.5}},
    "shared features": {"policy_kwargs": {"share_features_extractor": True}},
    "separate architectures": {"policy_kwargs": {"net_arch": {"pi": [8], "qf": [12, 12]}}},
    "large tau": {"tau": 0.7, "gamma": 0.5},
}


def without_epsilon(model: SAC) -> None:
    """Make the log-determinant of Stable-Baselines3 exact, and its gSDE without a floor of the variance."""
    distribution = model.actor.action_dist
    distribution.epsilon = 0.0
    if getattr(distribution, "bijector", None) is not None:
        distribution.bijector.epsilon = 0.0


def pair(dtype: th.dtype, **kwargs) -> tuple[SAC, SoftAC]:
    kwargs["policy_kwargs"] = {"net_arch": [16, 16]} | kwargs.get("policy_kwargs", {})
    models = []
    for algorithm in (SAC, SoftAC):
        model = ready(algorithm("MlpPolicy", Target(), buffer_size=10, seed=3, device="cpu", **kwargs))
        model.policy.to(dtype)
        models.append(model)
    return models[0], models[1]


def train_both(sac: SAC, softac: SoftAC, samples, gradient_steps: int) -> None:
    for model in (sac, softac):
        th.manual_seed(11)
        fixed_samples(model, samples)
        model.train(gradient_steps, batch_size=32)


def assert_same_parameters(sac: SAC, softac: SoftAC, largest: float, mean: float) -> None:
    theirs, ours = sac.policy.state_dict(), softac.policy.state_dict()
    assert theirs.keys() == ours.keys()
    difference = th.cat([(theirs[name] - ours[name]).abs().flatten() for name in theirs])
    assert difference.max().item() < largest
    assert difference.mean().item() < mean
    if sac.log_ent_coef is not None:
        th.testing.assert_close(softac.log_ent_coef, sac.log_ent_coef, rtol=0, atol=largest)


@pytest.mark.parametrize("gradient_steps", [1, 10])
@pytest.mark.parametrize("case", CASES)
def test_updates_are_those_of_sac_in_double_precision(case, gradient_steps):
    sac, softac = pair(th.float64, **CASES[case])
    without_epsilon(sac)
    samples = random_samples(gradient_steps, dtype=th.float64)
    with (
        # Both would cast to float.
        patch("stable_baselines3.common.policies.preprocess_obs", lambda obs, *args, **kwargs: obs),
        patch("sb3_softac.networks.blocks.preprocess", lambda obs, *args: obs),
        patch("sb3_softac.networks.distributions.SDE_VARIANCE_FLOOR", 0.0),
    ):
        train_both(sac, softac, samples, gradient_steps)
    assert_same_parameters(sac, softac, largest=1e-9, mean=1e-12)


@pytest.mark.parametrize("gradient_steps", [1, 10])
@pytest.mark.parametrize("case", CASES)
def test_updates_are_those_of_sac_in_single_precision(case, gradient_steps):
    sac, softac = pair(th.float32, **CASES[case])
    train_both(sac, softac, random_samples(gradient_steps), gradient_steps)
    assert_same_parameters(sac, softac, largest=1e-4, mean=1e-6)


@pytest.mark.parametrize("use_sde", [False, True])
def test_networks_answer_as_those_of_sac(use_sde):
    sac, softac = pair(th.float32, use_sde=use_sde)
    samples = random_samples(1)[0]
    obs, actions = samples.observations, samples.actions

    def answers(model: SAC | SoftAC):
        th.manual_seed(5)
        distribution = model.actor.get_action_dist_params(obs)
        return distribution, model.actor(obs), model.critic(obs, actions), model.critic.q1_forward(obs, actions)

    th.testing.assert_close(answers(softac), answers(sac))


def test_n_step_discounts_are_used():
    sac, softac = pair(th.float32)
    samples = [s._replace(discounts=th.full((32, 1), 0.7)) for s in random_samples(3)]
    train_both(sac, softac, samples, 3)
    assert_same_parameters(sac, softac, largest=1e-4, mean=1e-6)
    _, other = pair(th.float32)
    train_both(sac, other, random_samples(3), 3)
    with pytest.raises(AssertionError):
        assert_same_parameters(softac, other, largest=1e-4, mean=1e-6)


@pytest.mark.parametrize(
    ("policy", "space"), [("MlpPolicy", None), ("CnnPolicy", image_space()), ("MultiInputPolicy", dict_space())]
)
@pytest.mark.parametrize(
    "kwargs",
    [{}, {"use_sde": True, "sde_sample_freq": 4}, {"train_freq": 4, "gradient_steps": 2}, {"n_steps": 3}],
    ids=str,
)
def test_learning_from_a_seed_is_that_of_sac(policy, space, kwargs):
    """Same seed, same everything: initial weights, exploration, replay, updates."""
    if policy == "MultiInputPolicy" and "n_steps" in kwargs:
        pytest.skip("Stable-Baselines3 has no n-step returns for Dict observations")
    extractor = {"cnn_output_dim": 8} if policy == "MultiInputPolicy" else {"features_dim": 8}
    policy_kwargs = {"net_arch": [16]}
    if policy != "MlpPolicy":
        policy_kwargs["features_extractor_kwargs"] = extractor
    sac, softac = (
        algorithm(
            policy,
            Target(space),
            seed=1,
            learning_starts=10,
            buffer_size=100,
            batch_size=8,
            policy_kwargs=dict(policy_kwargs),
            **kwargs,
        ).learn(30)
        for algorithm in (SAC, SoftAC)
    )
    assert softac._n_updates == sac._n_updates
    # Exploration with slightly different weights goes slightly different ways, the longer the more.
    assert_same_parameters(sac, softac, largest=1e-3, mean=2e-6)
    np.testing.assert_allclose(softac.replay_buffer.rewards, sac.replay_buffer.rewards, rtol=1e-4, atol=1e-5)
