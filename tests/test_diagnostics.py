"""The divergence from the Boltzmann distribution, where it is known."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_softac import SoftAC
from sb3_softac.diagnostics import policy_improvement
from tests.helpers import DiscreteTarget, Target


def zeroed(model: SoftAC) -> SoftAC:
    for parameter in model.policy.parameters():
        parameter.data.zero_()
    return model


def test_discrete_by_hand():
    model = zeroed(SoftAC("MlpPolicy", DiscreteTarget(), buffer_size=10, ent_coef=0.5))
    for q_network in model.critic.q_networks:
        q_network[-1].bias.data.copy_(th.tensor([1.0, 0.0, 0.0]))
    result = policy_improvement(model, np.zeros((2, 3), dtype=np.float32))
    target = np.exp([2.0, 0.0, 0.0]) / np.exp([2.0, 0.0, 0.0]).sum()
    np.testing.assert_allclose(np.exp(result.log_target[0]), target, rtol=1e-5)
    np.testing.assert_allclose(result.kl, [np.sum(np.log((1 / 3) / target) / 3)] * 2, rtol=1e-5)


def test_the_target_leaves_out_actions_that_are_masked():
    """With Q = 0 a policy that is uniform over the allowed actions is optimal."""
    space = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (2,)), "action_mask": spaces.MultiBinary(3)})
    model = zeroed(SoftAC("MultiInputPolicy", DiscreteTarget(space), buffer_size=10, ent_coef=0.5))
    observations = {"x": np.zeros((2, 2), np.float32), "action_mask": np.array([[1, 0, 1], [0, 1, 0]], np.int8)}
    result = policy_improvement(model, observations)
    np.testing.assert_allclose(np.exp(result.log_target), [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]], atol=1e-7)
    np.testing.assert_allclose(result.kl, [0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("n_components", [1, 3])
@pytest.mark.parametrize("action_dim", [1, 2])
def test_box_against_a_uniform_target(action_dim, n_components):
    """With Q = 0 the target is uniform: KL = -H(pi) + log 2^D, and pi integrates to one."""
    space = spaces.Box(-1.0, 1.0, (action_dim,))
    kwargs = {"policy_kwargs": {"net_arch": [8], "n_components": n_components}, "seed": 0}
    model = SoftAC("MlpPolicy", Target(action_space=space), buffer_size=10, ent_coef=0.5, **kwargs)
    for parameter in model.critic.parameters():
        parameter.data.zero_()
    result = policy_improvement(model, np.zeros((1, 3), dtype=np.float32))
    assert np.exp(result.log_pi).sum() == pytest.approx(1.0, abs=1e-4)
    with th.no_grad():
        support = model.actor.support(th.zeros(1, 3), 100_000)
    entropy = -(support.weight * support.log_pi).sum().item()
    assert result.kl[0] == pytest.approx(action_dim * np.log(2) - entropy, abs=0.02)
    assert result.actions.shape[1] == action_dim


def test_a_perfect_policy_has_no_divergence():
    """Q = alpha log pi makes pi its own target."""
    model = SoftAC("MlpPolicy", Target(action_space=spaces.Box(-1.0, 1.0, (1,))), buffer_size=10, ent_coef=0.7, seed=0)
    obs = np.zeros((1, 3), dtype=np.float32)

    def q_values(obs, actions):
        return 0.7 * model.actor.log_prob(obs, actions.clamp(-0.999999, 0.999999).atanh()).unsqueeze(0)

    model.critic.q_values = q_values
    assert policy_improvement(model, obs).kl[0] == pytest.approx(0.0, abs=1e-3)


def test_what_it_cannot_do():
    wide = SoftAC("MlpPolicy", Target(action_space=spaces.Box(-1.0, 1.0, (3,))), buffer_size=10)
    with pytest.raises(ValueError, match="one or two dimensions, but these have 3"):
        policy_improvement(wide, np.zeros((1, 3), dtype=np.float32))
    cold = SoftAC("MlpPolicy", Target(), buffer_size=10, ent_coef=0.0)
    with pytest.raises(ValueError, match="`ent_coef` is 0"):
        policy_improvement(cold, np.zeros((1, 3), dtype=np.float32))


def test_q_is_reduced_as_in_the_loss_of_the_actor():
    model = SoftAC("MlpPolicy", DiscreteTarget(), buffer_size=10, ent_coef=1.0, actor_q_reduction="mean", seed=0)
    obs = np.zeros((1, 3), dtype=np.float32)
    q = model.critic.q_values(th.as_tensor(obs), None).mean(dim=0).detach()
    np.testing.assert_allclose(policy_improvement(model, obs).log_target, q.log_softmax(dim=-1).numpy(), rtol=1e-5)


@pytest.mark.parametrize("dim", [1, 2])
def test_a_policy_that_falls_between_the_actions_of_the_grid_has_no_divergence(dim: int):
    model = zeroed(SoftAC("MlpPolicy", Target(action_space=spaces.Box(-1.0, 1.0, (dim,))), buffer_size=10))
    model.actor.mu.bias.data.fill_(0.033)
    model.actor.log_std.bias.data.fill_(-7.0)
    with pytest.warns(UserWarning, match="too narrow for the grid of actions at 2 of 2 observations"):
        result = policy_improvement(model, np.zeros((2, 3), dtype=np.float32))
    assert np.isnan(result.kl).all()
