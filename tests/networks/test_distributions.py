"""Log-densities against torch.distributions in double precision, and numbers worked by hand."""

import math

import pytest
import torch as th
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from sb3_softac.networks import distributions


def test_tanh_log_det_by_hand():
    # u = 0: 1 - tanh^2 = 1. u = 1: 1 - 0.7615942^2 = 0.4199743.
    log_det = distributions.tanh_log_det(th.tensor([[0.0, 1.0]]))
    assert log_det.item() == pytest.approx(math.log(0.4199743), abs=1e-6)


@pytest.mark.parametrize("u", [5.0, 7.0, 8.0, 10.0, -10.0, 40.0])
def test_tanh_log_det_and_its_gradient_far_out(u):
    """Where log(1 - a^2 + 1e-6) has lost its gradient, this one keeps pulling with strength 2."""
    pre_tanh = th.tensor([u], requires_grad=True)
    log_det = distributions.tanh_log_det(pre_tanh)
    log_det.backward()
    exact = 2 * (math.log(2) - abs(u) - math.log1p(math.exp(-2 * abs(u))))
    assert log_det.item() == pytest.approx(exact, rel=1e-6)
    assert pre_tanh.grad.item() == pytest.approx(-2 * math.tanh(u), abs=1e-5)


def test_squashed_gaussian_log_prob_equals_torch_distributions():
    th.manual_seed(0)
    mean, log_std, noise = (th.randn(32, 3, dtype=th.float64) for _ in range(3))
    pre_tanh = mean + log_std.exp() * noise
    reference = TransformedDistribution(Independent(Normal(mean, log_std.exp()), 1), TanhTransform(cache_size=1))
    expected = Independent(Normal(mean, log_std.exp()), 1).log_prob(pre_tanh) - reference.transforms[
        0
    ].log_abs_det_jacobian(pre_tanh, pre_tanh.tanh()).sum(-1)
    log_prob = distributions.squashed_gaussian_log_prob(noise, log_std, pre_tanh)
    assert log_prob.shape == (32,)
    th.testing.assert_close(log_prob, expected)


def test_squashed_gaussian_is_a_density():
    """It integrates to one over (-1, 1)."""
    action = th.linspace(-0.9999, 0.9999, 20001, dtype=th.float64)
    pre_tanh = th.atanh(action)
    log_std = th.tensor([-0.3], dtype=th.float64)
    noise = (pre_tanh - 0.4) / log_std.exp()
    density = distributions.squashed_gaussian_log_prob(noise[:, None], log_std, pre_tanh[:, None]).exp()
    assert th.trapezoid(density, action).item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("use_expln", [False, True])
def test_state_dependent_noise_equals_stable_baselines3(use_expln):
    reference = StateDependentNoiseDistribution(2, use_expln=use_expln, squash_output=True, learn_features=True)
    _, log_std = reference.proba_distribution_net(latent_dim=4, log_std_init=0.3)
    log_std.data.add_(th.linspace(-1, 1, 8).reshape(4, 2))
    noise = distributions.StateDependentNoise(use_expln)
    latent = th.randn(5, 4)
    for n_envs in (1, 5):
        th.manual_seed(1)
        reference.sample_weights(log_std, batch_size=n_envs)
        th.manual_seed(1)
        noise.resample(log_std, batch_size=n_envs)
        reference.proba_distribution(th.zeros(5, 2), log_std, latent)
        th.testing.assert_close(noise.std(log_std), reference.get_std(log_std), rtol=1e-5, atol=1e-6)
        th.testing.assert_close(noise(latent, log_std), reference.get_noise(latent), rtol=1e-5, atol=1e-5)
        th.testing.assert_close(
            noise.marginal_log_std(latent, log_std).exp(), reference.distribution.stddev, rtol=1e-5, atol=1e-6
        )


def test_expln_has_no_nan_gradient_at_large_log_std():
    log_std = th.tensor([[-200.0, 200.0]], requires_grad=True)
    distributions.StateDependentNoise(use_expln=True).std(log_std).sum().backward()
    assert th.isfinite(log_std.grad).all()


def test_hard_clip_bounds_only_when_asked():
    layer = th.nn.Linear(1, 1)
    assert distributions.hard_clip(layer, 0.0) is layer
    assert distributions.hard_clip(layer, 2.0)(th.tensor([[1e9]])).abs().item() <= 2.0
