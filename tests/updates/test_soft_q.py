"""Soft Q-learning: its equations by numbers worked by hand, its actors, and what it refuses."""

import math

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scipy.stats import qmc

from sb3_softac import SoftAC
from sb3_softac.diagnostics import policy_improvement
from sb3_softac.networks.boltzmann_actor import BoltzmannActor
from sb3_softac.networks.distributions import boltzmann_support
from sb3_softac.networks.sampling_actor import SamplingActor
from sb3_softac.updates import losses, stein
from tests.helpers import SMALL, DiscreteTarget, Target


def make_model(env=None, **kwargs) -> SoftAC:
    return SoftAC("MlpPolicy", env or DiscreteTarget(), **SMALL | {"variant": "soft_q", "seed": 0} | kwargs)


# Equations


def test_boltzmann_support_of_all_actions():
    """exp(Q / alpha) is 1, 2 and 5 with alpha = 1/2, so that Z = 8 and V = log(8) / 2."""
    alpha = th.tensor([0.5])
    q = 0.5 * th.tensor([[1.0, 2.0, 5.0]]).log()
    support = boltzmann_support(None, q, alpha)
    assert support.actions is None
    th.testing.assert_close(support.weight, th.tensor([[0.125, 0.25, 0.625]]))
    th.testing.assert_close(support.log_pi, support.weight.log())
    value = losses.soft_value(q, support.log_pi, support.weight, alpha)
    th.testing.assert_close(value, th.tensor([0.5 * math.log(8.0)]))


def test_masked_actions_have_no_part_in_the_value():
    """Without the action of 5, Z = 3."""
    alpha = th.tensor([0.5])
    q = 0.5 * th.tensor([[1.0, 2.0, 5.0]]).log()
    support = boltzmann_support(None, q, alpha, allowed=th.tensor([[True, True, False]]))
    th.testing.assert_close(support.weight, th.tensor([[1 / 3, 2 / 3, 0.0]]))
    value = losses.soft_value(q, support.log_pi, support.weight, alpha)
    th.testing.assert_close(value, th.tensor([0.5 * math.log(3.0)]))


def test_boltzmann_support_of_samples_is_importance_sampling():
    """Two samples of densities 1/4 and 1/2: v = (2, 1), v exp(Q / alpha) = (2 * 3, 1 * 2), V = alpha log 8."""
    alpha = th.tensor([2.0])
    q = 2.0 * th.tensor([[3.0, 2.0]]).log()
    log_volume = th.tensor([[2.0, 1.0]]).log()
    support = boltzmann_support(th.zeros(1, 2, 1), q, alpha, log_volume)
    th.testing.assert_close(support.weight, th.tensor([[0.75, 0.25]]))
    th.testing.assert_close(support.log_pi, th.tensor([[3 / 8, 2 / 8]]).log())  # exp((Q - V) / alpha)
    value = losses.soft_value(q, support.log_pi, support.weight, alpha)
    th.testing.assert_close(value, th.tensor([2.0 * math.log(8.0)]))


def test_the_estimate_from_uniform_actions_is_the_integral():
    """Q = -a^2 / 2, alpha = 1: the integral of exp(Q) from -1 to 1 is sqrt(2 pi) erf(1 / sqrt(2))."""
    actions = th.linspace(-1.0, 1.0, 2001).view(1, -1, 1)
    q = -0.5 * actions.squeeze(-1).square()
    support = boltzmann_support(actions, q, th.ones(1), math.log(2.0) - math.log(2001))
    value = losses.soft_value(q, support.log_pi, support.weight, th.ones(1)).item()
    assert value == pytest.approx(math.log(math.sqrt(2 * math.pi) * math.erf(math.sqrt(0.5))), abs=1e-3)


def test_median_bandwidth():
    """Squared distances of 0, 1 and 3: three times 0, and twice each of 1, 4 and 9; the median is 1."""
    particles = th.tensor([[[0.0], [1.0], [3.0]], [[2.0], [2.0], [2.0]]])
    bandwidth = stein.median_bandwidth(particles)
    assert bandwidth.shape == (2, 1, 1)
    assert bandwidth.flatten().tolist() == pytest.approx([1.0 / math.log(4.0), stein.MIN_BANDWIDTH])


def test_stein_direction_of_two_particles():
    """Particles 0 and 1 with h = 1 / log 2, so that k = 1/2 between them; alpha = 3, gradients 4 and -2.

    phi_0 = -2 / 2 + 3 * 2 log 2 (0 - 1) / 2, and phi_1 = 4 / 2 + 3 * 2 log 2 (1 - 0) / 2.
    """
    particles, score = th.tensor([[[0.0], [1.0]]]), th.tensor([[[4.0], [-2.0]]])
    direction = stein.stein_direction(particles, score, 3.0, th.full((1, 1, 1), 1.0 / math.log(2.0)))
    apart = 3.0 * math.log(2.0)
    assert direction.flatten().tolist() == pytest.approx([-1.0 - apart, 2.0 + apart])


def test_stein_loss_moves_particles_along_the_direction():
    particles = th.tensor([[[1.0, 2.0], [0.0, 1.0]]], requires_grad=True)
    direction = th.tensor([[[1.0, -1.0], [2.0, 0.5]]], requires_grad=True)
    loss = stein.stein_loss(particles, direction)
    assert loss.item() == pytest.approx(-((1 - 2) + 0.5) / 2)
    loss.backward()
    th.testing.assert_close(particles.grad, -direction.detach() / 2)
    assert direction.grad is None


def test_particles_of_a_gaussian_rest_where_they_are():
    """Of a normal sample, attraction and repulsion nearly cancel; of a shifted one, they do not."""
    points = th.as_tensor(qmc.MultivariateNormalQMC([0.0], rng=0).random(512), dtype=th.float32).unsqueeze(0)
    bandwidth = stein.median_bandwidth(points)
    assert stein.stein_direction(points, -points, 1.0, bandwidth).abs().mean() < 0.02
    shifted = points + 1.0
    assert stein.stein_direction(shifted, -shifted, 1.0, bandwidth).mean() < -0.1


@pytest.mark.parametrize("function", [stein.median_bandwidth, lambda x: stein.stein_loss(x, x)])
def test_wrong_shapes_are_refused(function):
    with pytest.raises(ValueError, match="`particles` must have 3"):
        function(th.zeros(2, 3))


# Actors


@pytest.mark.parametrize("q_reduction", ["min", "mean"])
def test_the_discrete_policy_is_the_softmax_of_the_critics(q_reduction: str):
    model = make_model(ent_coef=0.3, q_reduction=q_reduction).learn(40)
    obs = th.rand(5, 3)
    with th.no_grad():
        q_NBA = model.critic.q_values(obs, None)
        q = q_NBA.mean(dim=0) if q_reduction == "mean" else q_NBA.amin(dim=0)
        th.testing.assert_close(model.actor.log_probs(obs), (q / 0.3).log_softmax(dim=-1))
    assert isinstance(model.actor, BoltzmannActor)
    assert model.predict(obs.numpy(), deterministic=True)[0].tolist() == q.argmax(dim=-1).tolist()
    assert policy_improvement(model, obs.numpy()).kl == pytest.approx(0.0, abs=1e-5)


def test_the_policy_follows_a_temperature_before_and_after_a_training():
    model = make_model(ent_coef=0.3)
    assert model.actor.alpha.item() == pytest.approx(0.3)
    model.change_ent_coef(0.7)
    assert model.actor.alpha.item() == pytest.approx(0.7)
    learned = make_model(ent_coef="auto_0.5", ent_coef_learning_rate=0.1).learn(40)
    assert learned.actor.alpha.item() != pytest.approx(0.5, rel=1e-3)
    assert learned.actor.alpha.item() == pytest.approx(learned.log_ent_coef.exp().item(), rel=0.2)


def test_a_loaded_model_acts_by_its_temperature_and_reduction(tmp_path):
    model = make_model(ent_coef=0.3, q_reduction="mean").learn(20)
    model.save(tmp_path / "agent")
    model.policy.save(tmp_path / "policy")
    obs = th.rand(5, 3)
    with th.no_grad():
        expected = model.actor.log_probs(obs)
        for policy in (SoftAC.load(tmp_path / "agent").policy, type(model.policy).load(tmp_path / "policy")):
            th.testing.assert_close(policy.actor.log_probs(obs), expected)


def test_a_mask_is_of_joint_actions():
    """Of two factors with 2 and 3 ids, the mask leaves 1 and 2: two joint actions, (0, 0) and (0, 2)."""
    space = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (3,)), "action_mask": spaces.MultiBinary(5)})
    env = Target(space)
    env.action_space = spaces.MultiDiscrete([2, 3])
    model = SoftAC("MultiInputPolicy", env, variant="soft_q", ent_coef=0.3, buffer_size=10)
    obs = {"x": th.zeros(1, 3), "action_mask": th.tensor([[1, 0, 1, 0, 1]])}
    with th.no_grad():
        support = model.actor.support(obs)
        assert support.weight.sum().item() == pytest.approx(1.0)
        assert (support.weight > 0).tolist() == [[True, False, True, False, False, False]]
        taken = {tuple(model.actor(obs).flatten().tolist()) for _ in range(50)}
    assert taken == {(0, 0), (0, 2)}
    assert model.actor.max_entropy(obs).item() == pytest.approx(math.log(2))


def test_the_critics_are_saved_and_trained_once():
    model = make_model()
    assert model.actor.critic is model.critic
    assert model.optimizers()["actor"] == []
    assert len({id(each) for each in model.policy.parameters()}) == len(list(model.policy.parameters()))


def test_an_average_of_the_discrete_policy_is_one_of_its_critics():
    model = make_model(actor_tau=0.5)
    before = [parameter.clone() for parameter in model.critic.parameters()]
    model.learn(17)  # one gradient step
    averages = model.policy.actor_average.critic.parameters()
    for start, online, average in zip(before, model.critic.parameters(), averages, strict=True):
        th.testing.assert_close(average, 0.5 * (start + online))


def test_a_deterministic_action_lies_at_a_mode():
    """Noise below zero becomes -1, above 1: its middle, 0, would be no mode."""
    model = make_model(Target(action_space=spaces.Box(-1.0, 1.0, (1,))), policy_kwargs={"net_arch": []})
    actor = model.actor
    assert isinstance(actor, SamplingActor)
    with th.no_grad():
        actor.mu.weight.copy_(th.tensor([[0.0, 0.0, 0.0, 50.0]]))
        actor.mu.bias.zero_()
    actions = {model.predict(np.zeros(3, np.float32), deterministic=True)[0].item() for _ in range(3)}
    assert len(actions) == 1
    assert abs(actions.pop()) == pytest.approx(1.0)
    samples = model.predict(np.zeros((400, 3), np.float32))[0]
    assert (samples < 0).mean() == pytest.approx(0.5, abs=0.1)


# What it refuses


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"ent_coef": 0.0}, "`ent_coef` divides"),
        ({"actor_gradient": "score_function"}, "`actor_gradient` belongs"),
        ({"n_action_samples": 2}, "`n_action_samples` belongs"),
        ({"policy_kwargs": {"n_components": 3}}, "`n_components=3`.*Gaussians"),
        ({"policy_kwargs": {"share_features_extractor": True}}, "`share_features_extractor=True`"),
    ],
)
def test_what_the_discrete_policy_does_not_have_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_model(**kwargs)


def test_too_many_joint_actions_are_refused():
    env = Target()
    env.action_space = spaces.MultiDiscrete([20, 20, 20])
    with pytest.raises(ValueError, match="too many joint actions to list"):
        make_model(env)


def test_the_density_of_the_sampling_network_is_not_known():
    model = make_model(Target(action_space=spaces.Box(-1.0, 1.0, (1,))))
    with pytest.raises(ValueError, match="density is not known"):
        policy_improvement(model, np.zeros((1, 3), np.float32))
