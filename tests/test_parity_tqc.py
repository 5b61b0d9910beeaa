"""Quantile critics make the updates of sb3-contrib's TQC, from the same weights, batches and noise."""

from unittest.mock import patch

import numpy as np
import pytest
import torch as th

from sb3_softac import SoftAC
from tests.helpers import Target, fixed_samples, random_samples, ready

sb3_contrib = pytest.importorskip("sb3_contrib")

CASES = {
    "default": {},
    "five critics": {"policy_kwargs": {"n_critics": 5}},
    "nothing left out": {"top_quantiles_to_drop_per_net": 0},
    "ten quantiles": {"policy_kwargs": {"n_quantiles": 10, "n_critics": 1}, "top_quantiles_to_drop_per_net": 3},
    "fixed temperature": {"ent_coef": 0.3, "tau": 0.5, "gamma": 0.5},
}


def pair(dtype: th.dtype, case: str) -> tuple:
    """A TQC, and SoftAC with the same arguments."""
    kwargs = dict(CASES[case])
    policy_kwargs = {"net_arch": [16, 16]} | kwargs.pop("policy_kwargs", {})
    n_dropped = kwargs.pop("top_quantiles_to_drop_per_net", 2)
    head = {"n_quantiles": policy_kwargs.pop("n_quantiles", 25), "n_dropped": n_dropped}
    common = {"buffer_size": 10, "seed": 3, "device": "cpu"} | kwargs
    tqc = sb3_contrib.TQC(
        "MlpPolicy",
        Target(),
        top_quantiles_to_drop_per_net=n_dropped,
        policy_kwargs=policy_kwargs | {"n_quantiles": head["n_quantiles"]},
        **common,
    )
    own = {"critic_head": "quantile", "critic_head_kwargs": head}
    softac = SoftAC("MlpPolicy", Target(), actor_q_reduction="mean", policy_kwargs=policy_kwargs | own, **common)
    softac.policy.load_state_dict(tqc.policy.state_dict())
    for model in (tqc, softac):
        ready(model).policy.to(dtype)
    return tqc, softac


def largest_difference(tqc, softac) -> float:
    theirs, ours = tqc.policy.state_dict(), softac.policy.state_dict()
    assert theirs.keys() == ours.keys()
    return max((theirs[name] - ours[name]).abs().max().item() for name in theirs)


def train_both(tqc, softac, samples) -> None:
    for model in (tqc, softac):
        th.manual_seed(11)
        fixed_samples(model, samples)
        model.train(len(samples), batch_size=32)


@pytest.mark.parametrize("case", CASES)
def test_updates_are_those_of_tqc_in_double_precision(case):
    tqc, softac = pair(th.float64, case)
    before = {name: value.clone() for name, value in tqc.policy.state_dict().items()}
    tqc.actor.action_dist.epsilon = 0.0  # which only it adds in the log-determinant
    with (  # both would cast to float
        patch("stable_baselines3.common.policies.preprocess_obs", lambda obs, *args, **kwargs: obs),
        patch("sb3_softac.networks.blocks.preprocess", lambda obs, *args: obs),
    ):
        train_both(tqc, softac, random_samples(10, dtype=th.float64))
    # The levels of its quantiles are in single precision.
    assert largest_difference(tqc, softac) < 1e-6
    moved = [(value - before[name]).abs().max().item() for name, value in tqc.policy.state_dict().items()]
    assert min(moved) > 1e-5


@pytest.mark.parametrize("case", CASES)
def test_updates_are_those_of_tqc_in_single_precision(case):
    tqc, softac = pair(th.float32, case)
    train_both(tqc, softac, random_samples(3))
    assert largest_difference(tqc, softac) < 1e-4


def test_values_are_the_means_of_its_quantiles():
    tqc, softac = pair(th.float32, "default")
    samples = random_samples(1)[0]
    theirs = tqc.critic(samples.observations, samples.actions).mean(dim=2)
    th.testing.assert_close(softac.critic.q_taken(samples.observations, samples.actions).T, theirs)
    np.testing.assert_allclose(
        softac.predict(samples.observations.numpy(), deterministic=True)[0],
        tqc.predict(samples.observations.numpy(), deterministic=True)[0],
        rtol=1e-6,
        atol=1e-6,
    )


# Import


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize(
    "kwargs",
    [{}, {"ent_coef": 0.2}, {"n_steps": 2}, {"policy_kwargs": {"n_critics": 3, "n_quantiles": 7, "net_arch": [8]}}],
    ids=str,
)
def test_an_imported_tqc_acts_and_learns_as_the_original(kwargs, from_file, tmp_path):
    arguments = {"learning_starts": 16, "batch_size": 16, "buffer_size": 500, "seed": 0, "device": "cpu"} | kwargs
    tqc = sb3_contrib.TQC("MlpPolicy", Target(), top_quantiles_to_drop_per_net=3, **arguments).learn(40)
    source = tqc
    if from_file:
        source = tmp_path / "tqc.zip"
        tqc.save(source)
    model = SoftAC.from_tqc(source, env=Target() if from_file else None, device="cpu", allow_pickle=from_file)
    assert (model.num_timesteps, model._n_updates, model.actor_q_reduction) == (40, tqc._n_updates, "mean")
    assert (model.critic.head.n_outputs, model.critic.head.n_dropped) == (tqc.critic.n_quantiles, 3)
    assert not hasattr(model, "top_quantiles_to_drop_per_net")
    obs = model.observation_space.sample()
    np.testing.assert_allclose(
        model.predict(obs, deterministic=True)[0], tqc.predict(obs, deterministic=True)[0], atol=1e-6
    )
    if from_file:
        model.replay_buffer = tqc.replay_buffer
    train_both(tqc, ready(model), random_samples(3))
    assert largest_difference(tqc, model) < 1e-4
    model.save(tmp_path / "softac")
    loaded = SoftAC.load(tmp_path / "softac", env=Target(), device="cpu")  # without running code of the file
    loaded.learn(20, reset_num_timesteps=False)
    assert (loaded.num_timesteps, loaded.critic.head.n_dropped) == (60, 3)


def test_only_a_tqc_is_imported():
    sac = SoftAC("MlpPolicy", Target(), buffer_size=10)
    with pytest.raises(ValueError, match=r"`from_tqc\(\)` imports sb3-contrib's TQC, but a SoftAC was given"):
        SoftAC.from_tqc(sac)
    with pytest.raises(ValueError, match=r"`from_sac\(\)` imports Stable-Baselines3's SAC, but a TQC was given"):
        SoftAC.from_sac(sb3_contrib.TQC("MlpPolicy", Target(), buffer_size=10))
