"""The Gaussian actor: its support, its actions, its gSDE noise."""

import copy
import math
import pickle

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor

from sb3_softac import SoftAC
from sb3_softac.networks.actors import SquashedGaussianActor
from sb3_softac.networks.distributions import LOG_STD_MAX, LOG_STD_MIN, LogStdRange
from tests.helpers import DiscreteTarget, Target

OBSERVATIONS = spaces.Box(-1.0, 1.0, (3,))
ACTIONS = spaces.Box(-2.0, 2.0, (2,))


def make_actor(**kwargs) -> SquashedGaussianActor:
    th.manual_seed(0)
    return SquashedGaussianActor(OBSERVATIONS, ACTIONS, [8], FlattenExtractor(OBSERVATIONS), 3, **kwargs)


@pytest.mark.parametrize("n_samples", [1, 5])
def test_support_has_samples_of_equal_weight(n_samples):
    actor = make_actor()
    support = actor.support(th.randn(7, 3), n_samples)
    assert support.actions.shape == (7, n_samples, 2)
    assert support.log_pi.shape == support.weight.shape == (7, n_samples)
    assert support.actions.abs().max() <= 1.0
    assert not support.weight.requires_grad
    th.testing.assert_close(support.weight.sum(dim=1), th.ones(7))


@pytest.mark.parametrize("use_sde", [False, True])
def test_log_pi_of_the_support_is_the_density_of_its_actions(use_sde):
    """Recomputed from the actions alone, by change of variables."""
    actor = make_actor(use_sde=use_sde).double()
    if use_sde:
        actor.reset_noise()
    obs = th.randn(7, 3, dtype=th.float64)
    latent = actor.latent_pi(obs)
    mean = actor.mu(latent)
    log_std = (
        actor.sde_noise.marginal_log_std(latent, actor.log_std)
        if use_sde
        else actor.log_std(latent).clamp(LOG_STD_MIN, LOG_STD_MAX)
    )
    actor.extract_features = lambda obs, extractor: obs  # preprocessing casts to single precision
    support = actor.support(obs)
    action = support.actions.squeeze(1)
    expected = th.distributions.Normal(mean, log_std.exp()).log_prob(action.atanh()) - (1 - action**2).log()
    th.testing.assert_close(support.log_pi.squeeze(1), expected.sum(-1), rtol=1e-6, atol=1e-6)


def test_entropy_of_many_samples_matches_quadrature():
    """H of tanh(N(0, 1)) is about 0.6 nats: -E[log pi] by quadrature against the actor's samples."""
    actor = make_actor()
    for parameter in actor.parameters():
        parameter.data.zero_()
    u = th.linspace(-8, 8, 4001, dtype=th.float64)
    density = th.exp(-0.5 * u**2) / (2 * th.pi) ** 0.5
    log_pi = density.log() - (1 - u.tanh() ** 2).clamp(min=1e-300).log()
    expected = -2 * th.trapezoid(density * log_pi, u)  # two independent dimensions
    with th.no_grad():
        support = actor.support(th.zeros(1, 3), 100_000)
    assert -support.log_pi.mean().item() == pytest.approx(expected.item(), abs=0.02)


def test_deterministic_action_is_the_mode_and_stochastic_actions_differ():
    actor = make_actor()
    obs = th.randn(7, 3)
    mode = actor(obs, deterministic=True)
    th.testing.assert_close(mode, actor.mu(actor.latent(obs)).tanh())
    assert not th.allclose(actor(obs), actor(obs))


def test_log_std_is_bounded():
    actor = make_actor()
    actor.log_std.bias.data.fill_(1e9)
    actor.mu.bias.data.zero_()
    assert actor._gaussian(th.zeros(1, 3))[1].max().item() == LOG_STD_MAX
    actor.log_std.bias.data.fill_(-1e9)
    assert actor._gaussian(th.zeros(1, 3))[1].min().item() == LOG_STD_MIN


def test_sde_noise_is_held_until_it_is_reset():
    actor = make_actor(use_sde=True, log_std_init=0.0)
    obs = th.randn(1, 3)
    th.testing.assert_close(actor(obs), actor(obs))
    before = actor(obs)
    actor.reset_noise()
    assert not th.allclose(before, actor(obs))


def test_sde_noise_differs_between_environments():
    actor = make_actor(use_sde=True, log_std_init=0.0)
    actor.reset_noise(batch_size=4)
    actions = actor(th.ones(4, 3))
    assert len(actions.unique(dim=0)) == 4


def test_sde_reaches_log_std_with_a_gradient():
    actor = make_actor(use_sde=True)
    actor.support(th.randn(5, 3)).log_pi.sum().backward()
    assert actor.log_std.grad.abs().sum() > 0


@pytest.mark.parametrize("use_sde", [False, True])
def test_actor_can_be_copied_and_pickled_after_use(use_sde):
    actor = make_actor(use_sde=use_sde)
    actor.support(th.randn(5, 3)).log_pi.sum().backward()
    obs = th.randn(2, 3)
    for clone in (copy.deepcopy(actor), pickle.loads(pickle.dumps(actor))):
        th.testing.assert_close(clone(obs, deterministic=True), actor(obs, deterministic=True))


def test_sde_methods_refuse_an_actor_without_it():
    actor = make_actor()
    with pytest.raises(ValueError, match=r"get_std.*use_sde"):
        actor.get_std()
    with pytest.raises(ValueError, match=r"reset_noise.*use_sde"):
        actor.reset_noise()


class CallsOn(th.nn.Linear):
    """A head of another kind: its outputs are doubled."""

    def forward(self, x: th.Tensor) -> th.Tensor:
        return 2 * super().forward(x)


def with_hook(actor: SquashedGaussianActor) -> None:
    actor.mu.register_forward_hook(lambda module, inputs, output: output + 0.5)


def with_own_head(actor: SquashedGaussianActor) -> None:
    actor.log_std = CallsOn(8, 2)


def without_a_bias(actor: SquashedGaussianActor) -> None:
    actor.mu = th.nn.Linear(8, 2, bias=False)


@pytest.mark.parametrize("change", [with_hook, with_own_head, without_a_bias])
def test_heads_that_one_node_would_pass_over_are_called_by_every_path(change):
    actor, obs, next_obs = make_actor(), th.randn(40, 3), th.randn(40, 3)
    actor.latent_pi.compute_fused()
    actor.supports(obs, next_obs)  # the joint pass is made before the change
    change(actor)

    def supports() -> list[th.Tensor]:
        th.manual_seed(1)
        return [tensor for support in actor.supports(obs, next_obs) for tensor in support]

    fused = supports()
    actor.latent_pi.compute_plainly()
    th.testing.assert_close(fused, supports())
    mean = actor.mu(actor.latent(obs)).unsqueeze(1)
    th.testing.assert_close(actor._gaussian(obs)[0], mean)


def test_a_backward_hook_on_a_head_is_called():
    actor, obs, called = make_actor(), th.randn(40, 3), []
    actor.latent_pi.compute_fused()
    actor.log_std.register_full_backward_hook(lambda *args: called.append(1))
    actor.supports(obs, obs)[0].log_pi.sum().backward()
    assert called


def test_a_deviation_at_its_limit_has_no_gradient():
    actor = make_actor()
    actor.latent_pi.compute_fused()
    actor.log_std.bias.data.copy_(th.tensor([LOG_STD_MAX + 3.0, 0.0]))
    obs = th.randn(40, 3)
    gradients = []
    for supports in (actor.supports, lambda obs, _: (actor.support(obs), None)):
        th.manual_seed(1)
        actor.zero_grad()
        supports(obs, obs)[0].log_pi.sum().backward()
        gradients.append(actor.log_std.bias.grad.clone())
    assert gradients[0][0] == gradients[1][0] == 0.0
    th.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("use_sde", [False, True])
def test_one_action_and_its_log_probability_as_in_stable_baselines3(use_sde):
    actor, obs = make_actor(use_sde=use_sde), th.randn(7, 3)
    th.manual_seed(1)
    actions, log_pi = actor.action_log_prob(obs)
    assert actions.shape == (7, 2)
    th.manual_seed(1)
    support = actor.support(obs)
    th.testing.assert_close(actions, support.actions[:, 0])
    th.testing.assert_close(log_pi, support.log_pi[:, 0])


# The range of the log standard deviation


def test_a_squashed_log_std_is_between_its_bounds_and_has_a_gradient_everywhere():
    squash = LogStdRange(-10.0, 2.0, is_squashed=True)
    raw = th.tensor([-50.0, 0.0, 0.5, 50.0], requires_grad=True)
    expected = [-10.0, -4.0, -10.0 + 6.0 * (1.0 + math.tanh(0.5)), 2.0]
    th.testing.assert_close(squash(raw).detach(), th.tensor(expected))
    th.testing.assert_close(LogStdRange(-10.0, 2.0)(raw).detach(), th.tensor([-10.0, 0.0, 0.5, 2.0]))
    far = th.tensor([4.0], requires_grad=True)
    assert th.autograd.grad(squash(far).sum(), far)[0].item() > 0.0


@pytest.mark.parametrize("kwargs", [{}, {"n_components": 2}])
@pytest.mark.parametrize("is_squashed", [False, True])
def test_every_gaussian_keeps_to_its_range(kwargs, is_squashed):
    policy_kwargs = {"net_arch": [8], "log_std_bounds": (-2.0, -1.0), "squash_log_std": is_squashed} | kwargs
    actor = SoftAC("MlpPolicy", Target(), buffer_size=10, policy_kwargs=policy_kwargs).actor
    obs = th.randn(50, 3)
    for bias in (-30.0, 0.0, 30.0):
        actor.log_std.bias.data.fill_(bias)
        log_std = actor.components(obs)[2] if kwargs else actor._gaussian(obs)[1]
        expected = actor.log_std_range(th.tensor(bias))
        th.testing.assert_close(log_std, expected.expand_as(log_std), atol=0.5, rtol=0.0)
        assert -2.0 <= log_std.min() <= log_std.max() <= -1.0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"policy_kwargs": {"log_std_bounds": (2.0, -1.0)}}, "`log_std_bounds` must be two numbers"),
        ({"policy_kwargs": {"log_std_bounds": 3.0}}, "`log_std_bounds` must be two numbers"),
        ({"policy_kwargs": {"squash_log_std": True}, "use_sde": True}, "are for Box actions without gSDE"),
        ({"policy_kwargs": {"log_std_bounds": (-5.0, 0.0)}, "env": DiscreteTarget}, "are for Box actions"),
    ],
)
def test_other_ranges_are_refused(kwargs, message):
    arguments = {"env": Target} | kwargs
    with pytest.raises(ValueError, match=message):
        SoftAC("MlpPolicy", buffer_size=10, **arguments | {"env": arguments["env"]()})
