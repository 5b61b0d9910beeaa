"""The mixture actor: its density, its support, its deterministic action."""

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from sb3_softac.networks.mixture_actor import SquashedMixtureActor

OBSERVATIONS = spaces.Box(-1.0, 1.0, (3,))
ACTIONS = spaces.Box(-1.0, 1.0, (2,))


def make_actor(n_components: int = 3) -> SquashedMixtureActor:
    th.manual_seed(0)
    actor = SquashedMixtureActor(
        OBSERVATIONS, ACTIONS, [8], FlattenExtractor(OBSERVATIONS), 3, n_components=n_components
    )
    actor.log_weight.bias.data.copy_(th.linspace(0, 1, n_components))
    return actor


@pytest.mark.parametrize("method", ["support", "score_support"])
def test_log_pi_is_the_density_of_the_mixture_and_not_of_a_component(method):
    actor, obs = make_actor(), th.randn(5, 3)
    actor.n_action_samples = 4
    support = getattr(actor, method)(obs)
    log_weight, mean, log_std = actor.components(obs)
    before_tanh = MixtureSameFamily(
        Categorical(logits=log_weight.unsqueeze(1)),
        Independent(Normal(mean.unsqueeze(1), log_std.exp().unsqueeze(1)), 1),
    )
    pre_tanh = support.actions.double().atanh().float()
    expected = before_tanh.log_prob(pre_tanh) - (1 - support.actions**2).log().sum(dim=-1)
    th.testing.assert_close(support.log_pi, expected, rtol=1e-3, atol=1e-3)
    th.testing.assert_close(actor.log_prob(obs, pre_tanh), expected, rtol=1e-3, atol=1e-3)


def test_support_has_one_sample_of_each_component_with_its_weight():
    actor, obs = make_actor(), th.randn(5, 3)
    support = actor.support(obs)
    assert support.actions.shape == (5, 3, 2)
    th.testing.assert_close(support.weight, actor.components(obs)[0].exp())
    support = actor.support(obs, 4)
    assert support.actions.shape == (5, 12, 2)
    th.testing.assert_close(support.weight.sum(dim=1), th.ones(5))


def test_gradients_reach_weights_means_and_deviations():
    actor = make_actor()
    support = actor.support(th.randn(5, 3))
    (support.weight * (support.log_pi + support.actions.sum(-1))).sum().backward()
    for layer in (actor.mu, actor.log_std, actor.log_weight):
        assert layer.weight.grad.abs().sum() > 0


def test_one_component_is_a_gaussian():
    actor, obs = make_actor(1), th.randn(5, 3)
    log_weight, mean, log_std = actor.components(obs)
    th.testing.assert_close(log_weight, th.zeros(5, 1))
    pre_tanh = th.randn(5, 2, 2)
    gaussian = Independent(Normal(mean, log_std.exp()), 1).log_prob(pre_tanh)
    expected = gaussian - (1 - pre_tanh.tanh() ** 2).log().sum(dim=-1)
    th.testing.assert_close(actor.log_prob(obs, pre_tanh), expected, rtol=1e-4, atol=1e-4)


def test_deterministic_action_is_the_mean_of_the_heaviest_component():
    actor, obs = make_actor(), th.randn(5, 3)
    actor.log_weight.bias.data.copy_(th.tensor([0.0, 5.0, 1.0]))
    th.testing.assert_close(actor(obs, deterministic=True), actor.components(obs)[1][:, 1].tanh())


def test_samples_come_from_components_by_their_weights():
    actor = make_actor()
    for layer in (actor.mu, actor.log_std, actor.log_weight):
        layer.weight.data.zero_()
    actor.mu.bias.data.copy_(th.tensor([-2.0, 0.0, 0.0, 0.0, 2.0, 0.0]))
    actor.log_std.bias.data.fill_(-4.0)
    actions = actor(th.zeros(20_000, 3))[:, 0]
    frequency = th.stack([(actions < -0.5).float().mean(), (actions.abs() < 0.5).float().mean()])
    weight = actor.log_weight.bias.softmax(dim=0)
    th.testing.assert_close(frequency, weight[:2], atol=0.02, rtol=0)


def test_components_start_apart():
    means = make_actor(4).mu.bias.view(4, 2)
    assert len(means[:, 0].unique()) == 4
    assert means.abs().max() <= 1.0
