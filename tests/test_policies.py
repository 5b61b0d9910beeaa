"""Policies: construction, alone on disk, train and evaluation mode."""

import inspect

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from torch import nn

from sb3_softac import CnnPolicy, MlpPolicy, MultiInputPolicy, SoftAC
from tests.helpers import Target, dict_space, image_space

SPACES = {"MlpPolicy": None, "CnnPolicy": image_space(), "MultiInputPolicy": dict_space()}
CLASSES = {"MlpPolicy": MlpPolicy, "CnnPolicy": CnnPolicy, "MultiInputPolicy": MultiInputPolicy}
UNUSUAL = {
    "net_arch": {"pi": [8], "qf": [12]},
    "activation_fn": nn.ELU,
    "n_critics": 3,
    "share_features_extractor": True,
    "optimizer_kwargs": {"eps": 1e-5},
}


def make_model(policy: str, **kwargs) -> SoftAC:
    return SoftAC(policy, Target(SPACES[policy]), buffer_size=10, seed=0, **kwargs)


def features_of(policy: str) -> dict[str, dict[str, int]]:
    """Small features extractors, for speed."""
    sizes = {"CnnPolicy": {"features_dim": 8}, "MultiInputPolicy": {"cnn_output_dim": 8}}
    return {"features_extractor_kwargs": sizes[policy]} if policy in sizes else {}


@pytest.mark.parametrize("policy", SPACES)
@pytest.mark.parametrize("use_sde", [False, True])
def test_policy_alone_on_disk(policy, use_sde, tmp_path):
    model = make_model(policy, use_sde=use_sde, policy_kwargs=UNUSUAL | features_of(policy))
    model.policy.save(tmp_path / "policy.pt")
    loaded = CLASSES[policy].load(tmp_path / "policy.pt")
    obs = model.observation_space.sample()
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    assert loaded.actor_kwargs == model.policy.actor_kwargs
    assert loaded.critic_kwargs == model.policy.critic_kwargs
    assert loaded.actor.optimizer.defaults["eps"] == 1e-5


def test_every_constructor_argument_is_saved():
    saved = make_model("MlpPolicy").policy._get_constructor_parameters()
    assert saved.keys() == inspect.signature(MlpPolicy.__init__).parameters.keys() - {"self"}


def test_arguments_are_those_of_stable_baselines3():
    theirs = inspect.signature(SAC.policy_aliases["MlpPolicy"].__init__).parameters
    ours = inspect.signature(MlpPolicy.__init__).parameters
    assert list(theirs) == list(ours)[: len(theirs)]


@pytest.mark.parametrize("policy", SPACES)
def test_initial_weights_are_those_of_stable_baselines3(policy):
    kwargs = {"buffer_size": 10, "seed": 4, "policy_kwargs": {"n_critics": 3} | features_of(policy)}
    ours = SoftAC(policy, Target(SPACES[policy]), **kwargs).policy.state_dict()
    theirs = SAC(policy, Target(SPACES[policy]), **kwargs).policy.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(th.equal(ours[name], theirs[name]) for name in ours)


def test_target_starts_as_a_copy_and_always_evaluates():
    policy = make_model("MlpPolicy").policy
    for online, target in zip(policy.critic.parameters(), policy.critic_target.parameters(), strict=True):
        assert th.equal(online, target)
        assert online is not target
    policy.set_training_mode(True)
    assert policy.actor.training
    assert policy.critic.training
    assert not policy.critic_target.training
    policy.set_training_mode(False)
    assert not policy.actor.training
    assert not policy.critic.training


def test_actor_alone_on_disk(tmp_path):
    model = make_model("MlpPolicy")
    model.actor.save(tmp_path / "actor.pt")
    loaded = type(model.actor).load(tmp_path / "actor.pt")
    obs = th.randn(4, 3)
    th.testing.assert_close(loaded(obs, deterministic=True), model.actor(obs, deterministic=True))
