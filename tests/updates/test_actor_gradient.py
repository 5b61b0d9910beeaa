"""The two gradients agree in the mean, whatever the baseline; mutants of the score function do not."""

import math

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from sb3_softac import SoftAC
from sb3_softac.networks.actors import SoftActor, SquashedGaussianActor
from sb3_softac.networks.categorical_actor import CategoricalActor
from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.networks.mixture_actor import SquashedMixtureActor
from sb3_softac.updates import losses
from sb3_softac.updates.actor_gradient import Reparameterized, ScoreFunction, leave_one_out, no_baseline
from sb3_softac.updates.variants import make_update
from tests.helpers import DiscreteTarget, ready

OBSERVATIONS = spaces.Box(-1.0, 1.0, (2,))
ALPHA = th.tensor([0.3])
N_SAMPLES = 40_000
BASELINES = {
    "none": no_baseline,
    "leave_one_out": leave_one_out,
    "state_value": lambda obs, q, support, alpha: th.full_like(q[:, :1], -1.0),
}


def make_actor(kind: str) -> SoftActor:
    th.manual_seed(0)
    space = spaces.Discrete(3) if kind == "categorical" else spaces.Box(-1.0, 1.0, (1,))
    classes = {"gaussian": SquashedGaussianActor, "mixture": SquashedMixtureActor, "categorical": CategoricalActor}
    extra = {"n_components": 3} if kind == "mixture" else {}
    return classes[kind](OBSERVATIONS, space, [4], FlattenExtractor(OBSERVATIONS), 2, **extra)


def q_of(actions: th.Tensor | None) -> th.Tensor:
    """A critic that is known: quadratic for Box, a table for Discrete; (B, K)."""
    table = th.tensor([[1.0, -0.5, 0.7]])
    if actions is None:
        return table
    if actions.dtype == th.long:
        return table.expand(len(actions), -1).gather(1, actions.squeeze(-1))
    return -2.0 * (actions.squeeze(-1) - 0.3) ** 2


def gradient(actor: SoftActor, loss: th.Tensor) -> th.Tensor:
    parameters = list(actor.parameters())
    return nn.utils.parameters_to_vector(
        [
            g if g is not None else th.zeros_like(p)
            for p, g in zip(parameters, th.autograd.grad(loss, parameters, allow_unused=True), strict=True)
        ]
    )


def reparameterized_gradient(actor: SoftActor) -> th.Tensor:
    method = Reparameterized(actor.differentiable_actions)
    support = actor.support(th.ones(1, 2), N_SAMPLES)
    return gradient(actor, method.loss(th.ones(1, 2), q_of(support.actions), support, ALPHA))


def score_gradient(actor: SoftActor, baseline: str, n_samples: int = N_SAMPLES) -> th.Tensor:
    method = ScoreFunction(BASELINES[baseline])
    support = actor.score_support(th.ones(1, 2), n_samples)
    return gradient(actor, method.loss(th.ones(1, 2), q_of(support.actions), support, ALPHA))


def relative_error(estimate: th.Tensor, exact: th.Tensor) -> float:
    return ((estimate - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("kind", ["gaussian", "mixture", "categorical"])
def test_score_function_gradient_is_the_reparameterized_one_in_the_mean(kind, baseline):
    actor = make_actor(kind)
    exact = reparameterized_gradient(actor)
    assert relative_error(score_gradient(actor, baseline), exact) < 0.06


@pytest.mark.parametrize("kind", ["gaussian", "mixture", "categorical"])
def test_a_baseline_lowers_the_variance(kind):
    actor = make_actor(kind)

    def variance(baseline: str) -> float:
        return th.stack([score_gradient(actor, baseline, 8) for _ in range(300)]).var(dim=0).sum().item()

    assert variance("leave_one_out") < 0.8 * variance("none")


def test_the_tests_see_a_wrong_sign():
    actor = make_actor("gaussian")
    method = ScoreFunction(no_baseline)
    support = actor.score_support(th.ones(1, 2), N_SAMPLES)
    wrong = gradient(actor, -method.loss(th.ones(1, 2), q_of(support.actions), support, ALPHA))
    assert relative_error(wrong, reparameterized_gradient(actor)) > 1.0


def test_the_tests_see_an_attached_sample():
    """The classic error: log pi at a sample that still carries its gradient, so that the mean gets none."""
    actor = make_actor("gaussian")
    method = ScoreFunction(no_baseline)
    support = actor.support(th.ones(1, 2), N_SAMPLES)
    wrong = gradient(actor, method.loss(th.ones(1, 2), q_of(support.actions), support, ALPHA))
    assert relative_error(wrong, reparameterized_gradient(actor)) > 0.3


@pytest.mark.parametrize("kind", ["gaussian", "mixture", "categorical"])
def test_samples_of_the_score_function_carry_no_gradient(kind):
    actor = make_actor(kind)
    support = actor.score_support(th.ones(4, 2), 5)
    assert support.actions.shape[:2] == support.log_pi.shape == (4, 5)
    assert not support.actions.requires_grad
    assert not support.weight.requires_grad
    assert support.log_pi.requires_grad


def test_reparameterized_gradient_of_a_gaussian_equals_finite_differences():
    """The exact objective by quadrature, differentiated numerically with respect to the bias of the mean."""
    actor = make_actor("gaussian").double()
    actor.extract_features = lambda obs, extractor: obs
    obs = th.ones(1, 2, dtype=th.float64)

    def objective(shift: float) -> float:
        with th.no_grad():
            mean, log_std = (output.squeeze(1) for output in actor._gaussian(obs))
            mean = mean + shift
            noise = th.linspace(-7, 7, 20001, dtype=th.float64).view(1, -1, 1)
            pre_tanh = mean.unsqueeze(1) + log_std.exp().unsqueeze(1) * noise
            log_pi = (
                -0.5 * noise**2
                - log_std
                - 0.9189385332046727
                - 2 * (0.6931471805599453 - pre_tanh - th.nn.functional.softplus(-2 * pre_tanh))
            )
            density = th.exp(-0.5 * noise**2 - 0.9189385332046727)
            cost = ALPHA.double() * log_pi + 2.0 * (pre_tanh.tanh() - 0.3) ** 2
            return th.trapezoid((density * cost).flatten(), noise.flatten()).item()

    numeric = (objective(1e-4) - objective(-1e-4)) / 2e-4
    th.manual_seed(1)
    support = actor.support(obs, 400_000)
    value = losses.soft_value(q_of(support.actions), support.log_pi, support.weight, ALPHA.double())
    (bias_gradient,) = th.autograd.grad(losses.reparameterized_actor_loss(value), actor.mu.bias)
    assert bias_gradient.item() == pytest.approx(numeric, rel=0.02)


def test_support_is_a_named_tuple_of_matching_shapes():
    for kind in ("gaussian", "mixture", "categorical"):
        actor = make_actor(kind)
        support = actor.support(th.ones(5, 2), 2)
        assert isinstance(support, PolicySupport)
        assert support.log_pi.shape == support.weight.shape
        th.testing.assert_close(support.weight.sum(dim=1), th.ones(5))


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"variant": "v1"}, 3.0),
        ({"variant": "v1", "baseline": "none"}, 0.0),
        ({"baseline": "none"}, 0.0),
        ({"ent_coef": 0.5}, 2.0 + 0.5 * math.log(3)),
    ],
    ids=str,
)
def test_which_baseline_a_model_subtracts(kwargs, expected):
    """Q is 2, V of v1 is 3, and the policy uniform over three actions."""
    settings = {"actor_gradient": "score_function", "buffer_size": 10, "policy_kwargs": {"net_arch": []}}
    model = ready(SoftAC("MlpPolicy", DiscreteTarget(), **settings, **kwargs))
    for parameter in model.policy.parameters():
        parameter.data.zero_()
    for network in model.critic.q_networks:
        network[-1].bias.data.fill_(2.0)
    if model.variant == "v1":
        model.value_net.vf[-1].bias.data.fill_(3.0)
    settings = model.current_settings().update
    update, obs = make_update(model.variant, model.policy.networks(), model.temperature, settings), th.zeros(4, 3)
    support = update.actor.support_at(obs, is_due=True)
    q = update.critics.reduce_q(update.critics.q_of(obs, support, is_due=True))
    baseline = update.actor.gradient._baseline_value(obs, q, support, model.temperature.alpha())
    th.testing.assert_close(baseline, th.full((4, 1), expected))
