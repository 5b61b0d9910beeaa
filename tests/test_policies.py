"""Policies: construction, alone on disk, train and evaluation mode."""

import copy
import inspect

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import nn

from sb3_softac import CnnPolicy, MlpPolicy, MultiInputPolicy, SoftAC
from sb3_softac.networks.observations import preprocess
from tests.helpers import Target, dict_space, image_space

SPACES = {"MlpPolicy": None, "CnnPolicy": image_space(), "MultiInputPolicy": dict_space()}
CLASSES = {"MlpPolicy": MlpPolicy, "CnnPolicy": CnnPolicy, "MultiInputPolicy": MultiInputPolicy}
UNUSUAL = {
    "net_arch": {"pi": [8], "qf": [12]},
    "activation_fn": nn.ELU,
    "n_critics": 3,
    "share_features_extractor": True,
    "layer_norm": True,
    "dropout": 0.1,
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
    assert loaded.settings == model.policy.settings
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


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_layer_norm_and_dropout_are_the_critics_and_in_the_order_of_droq(variant):
    kwargs = {"layer_norm": True, "dropout": 0.1, "net_arch": [8]}
    policy = make_model("MlpPolicy", variant=variant, policy_kwargs=kwargs).policy
    layers = [nn.Linear, nn.Dropout, nn.LayerNorm, nn.ReLU, nn.Linear]
    networks = [policy.critic.qf0, policy.critic.qf1]
    networks += [policy.critic_target.qf0] if variant == "v2" else [policy.value_net.vf, policy.value_target.vf]
    for network in networks:
        assert [type(layer) for layer in network] == layers
    assert [type(layer) for layer in policy.actor.latent_pi] == [nn.Linear, nn.ReLU]


def test_dropout_is_drawn_in_the_targets_values_too():
    """As in DroQ, arXiv:2110.02034: the target is an average of networks that drop, and drops."""
    policy = make_model("MlpPolicy", policy_kwargs={"dropout": 0.5, "net_arch": [8]}).policy
    policy.set_training_mode(True)
    assert policy.critic.qf0[1].training
    assert policy.critic_target.qf0[1].training
    policy.set_training_mode(False)
    assert not policy.critic.qf0[1].training
    assert not policy.critic_target.qf0[1].training


def test_what_only_evaluates_does_so_however_the_policy_is_switched():
    kwargs = dict(net_arch=[8], dropout=0.1, batch_norm=True)
    model = SoftAC("MlpPolicy", Target(), buffer_size=10, actor_tau=0.1, policy_kwargs=kwargs)
    assert model.policy.train() is model.policy
    targets = [module for module in model.critic_target.modules() if not isinstance(module, nn.Dropout)]
    evaluating = [*model.policy.actor_average.modules(), *targets]
    assert not any(module.training for module in evaluating)
    assert model.critic.training
    assert model.predict(np.zeros(3), deterministic=True)[0].shape == (2,)
    assert not model.policy.eval().critic.training


def test_ids_are_preprocessed_as_by_stable_baselines3():
    space = spaces.Dict({"id": spaces.Discrete(4), "ids": spaces.MultiDiscrete([2, 3]), **dict_space()})
    obs = {key: th.as_tensor(np.stack([space[key].sample() for _ in range(5)])) for key in space}
    th.testing.assert_close(preprocess(obs, space, normalize_images=True), preprocess_obs(obs, space))


def test_ids_may_begin_anywhere():
    from_two = spaces.Discrete(2, start=2)
    th.testing.assert_close(preprocess(th.tensor([3, 2]), from_two, normalize_images=True), th.eye(2).flip(0))


def test_vectors_are_features_already_and_everything_else_is_preprocessed():
    actor = make_model("MlpPolicy").actor
    vector = th.randn(4, 3)
    assert actor.extract_features(vector, actor.features_extractor) is vector
    assert actor.extract_features(vector.double(), actor.features_extractor).dtype is th.float32
    discrete = SoftAC("MlpPolicy", Target(spaces.Discrete(3)), buffer_size=10).critic
    one_hot = discrete.extract_features(th.tensor([[2], [0]]), discrete.features_extractor)
    th.testing.assert_close(one_hot, th.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    matrix = SoftAC("MlpPolicy", Target(spaces.Box(-1.0, 1.0, (2, 3))), buffer_size=10).actor
    assert matrix.extract_features(th.zeros(4, 2, 3), matrix.features_extractor).shape == (4, 6)
    image = make_model("CnnPolicy", policy_kwargs=features_of("CnnPolicy")).actor
    assert image.extract_features(th.zeros(2, 1, 36, 36, dtype=th.uint8), image.features_extractor).shape == (2, 8)


class Doubling(FlattenExtractor):
    """Features are twice the observations."""

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return 2 * super().forward(observations)


def test_a_features_extractor_may_be_replaced_after_it_was_used():
    actor, obs = make_model("MlpPolicy").actor, th.randn(4, 3)
    names = list(actor.state_dict())
    assert actor.extract_features(obs, actor.features_extractor) is obs
    plain = actor.features_extractor
    actor.features_extractor = Doubling(actor.observation_space)
    th.testing.assert_close(actor.extract_features(obs, actor.features_extractor), 2 * obs)
    clone = copy.deepcopy(actor)
    th.testing.assert_close(clone.extract_features(obs, clone.features_extractor), 2 * obs)
    actor.features_extractor = plain
    assert actor.extract_features(obs, actor.features_extractor) is obs
    assert list(actor.state_dict()) == names
    assert dict(actor.named_children()).keys() == {"features_extractor", "latent_pi", "mu", "log_std"}


@pytest.mark.parametrize("policy_kwargs", [{}, {"n_components": 2}])
def test_noise_is_drawn_with_gsde_only(policy_kwargs):
    model = SoftAC("MlpPolicy", Target(), buffer_size=10, policy_kwargs=policy_kwargs)
    with pytest.raises(ValueError, match="pass `use_sde=True`"):
        model.policy.reset_noise()


class LinearFeatures(BaseFeaturesExtractor):
    """Has parameters, as an extractor of images has."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, 3)
        self.layer = nn.Linear(3, 3)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layer(observations)


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_a_shared_features_extractor_is_trained_by_the_actor_alone(variant):
    policy_kwargs = {"net_arch": [8], "share_features_extractor": True, "features_extractor_class": LinearFeatures}
    model = SoftAC("MlpPolicy", Target(), buffer_size=10, variant=variant, policy_kwargs=policy_kwargs)
    shared = {id(parameter) for parameter in model.actor.features_extractor.parameters()}
    assert shared <= {id(p) for group in model.actor.optimizer.param_groups for p in group["params"]}
    for network in [model.critic, *([model.value_net] if variant == "v1" else [])]:
        assert network.features_extractor is model.actor.features_extractor
        owned = {id(p) for group in network.optimizer.param_groups for p in group["params"]}
        assert owned
        assert not owned & shared
