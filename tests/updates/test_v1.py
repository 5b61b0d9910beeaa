"""What is special to SAC v1: its updates by hand, and its reward scale."""

import math

import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.updates import losses
from sb3_softac.updates.batch import Batch
from tests.helpers import DiscreteTarget, Target, ready, update_once, zeroed

LEARNING_RATE = 1e-3


def make_model(env=None, **kwargs) -> SoftAC:
    settings = {"policy_kwargs": {"net_arch": [8]}, "buffer_size": 10, "seed": 0, "learning_rate": LEARNING_RATE}
    return ready(SoftAC("MlpPolicy", env or Target(), variant="v1", **settings | kwargs))


def test_box_update_by_hand():
    """With every weight zero but the biases of V, Q and V', each loss follows from the noise alone."""
    model = zeroed(make_model(ent_coef=0.5))
    model.value_net.vf[-1].bias.data.fill_(3.0)
    model.value_target.vf[-1].bias.data.fill_(10.0)
    batch = Batch(
        obs=th.zeros(2, 3),
        action=th.zeros(2, 2),
        reward=th.tensor([1.0, 2.0]),
        next_obs=th.zeros(2, 3),
        done=th.tensor([1.0, 0.0]),
        discount=0.9,
    )
    th.manual_seed(5)
    metrics = update_once(model, batch)
    th.manual_seed(5)
    noise = th.randn(2, 2).tolist()
    log_pi = [
        sum(-0.5 * u * u - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(u) ** 2) for u in row) for row in noise
    ]
    target = [1.0, 2.0 + 0.9 * 10.0]  # the target V, no action and no entropy at s'
    assert metrics["critic_loss"] == pytest.approx((target[0] ** 2 + target[1] ** 2) / 2, rel=1e-5)
    q = LEARNING_RATE  # one step of Adam moved each critic's bias up by the learning rate
    soft_values = [q - 0.5 * log_prob for log_prob in log_pi]
    assert metrics["value_loss"] == pytest.approx(0.5 * sum((3.0 - v) ** 2 for v in soft_values) / 2, rel=1e-4)
    assert metrics["actor_loss"] == pytest.approx(-sum(soft_values) / 2, rel=1e-4)
    assert metrics["ent_coef"] == 0.5
    assert "ent_coef_loss" not in metrics


def test_discrete_update_by_hand():
    """Uniform policy over three actions: V(s) = Q + alpha log 3."""
    model = zeroed(make_model(DiscreteTarget(), ent_coef=0.5))
    batch = Batch(th.zeros(1, 3), th.tensor([[1]]), th.tensor([2.0]), th.zeros(1, 3), th.zeros(1), 0.9)
    metrics = update_once(model, batch)
    assert metrics["critic_loss"] == pytest.approx(2 * 0.5 * 2.0**2)
    assert metrics["entropy"] == pytest.approx(math.log(3), rel=1e-5)
    soft_value = LEARNING_RATE / 3 + 0.5 * math.log(3)  # only the taken action's value has moved
    assert metrics["value_loss"] == pytest.approx(0.5 * soft_value**2, rel=1e-4)
    assert metrics["actor_loss"] == pytest.approx(-soft_value, rel=1e-4)


def test_reward_scale_is_the_inverse_of_the_temperature():
    """With rewards times c and alpha 1, values are c times those with alpha 1/c, and so are targets and losses."""
    scale = 7.0
    log_pi, weight = th.randn(5, 3), th.rand(5, 3).softmax(dim=-1)
    q, reward, done = th.randn(5, 3), th.randn(5), th.zeros(5)
    value = losses.soft_value(q, log_pi, weight, th.tensor(1 / scale))
    th.testing.assert_close(losses.soft_value(scale * q, log_pi, weight, th.tensor(1.0)), scale * value)
    target = losses.td_target(reward, done, 0.9, value)
    th.testing.assert_close(losses.td_target(scale * reward, done, 0.9, scale * value), scale * target)
    th.testing.assert_close(
        losses.value_loss(scale * q[:, 0], scale * value), scale**2 * losses.value_loss(q[:, 0], value)
    )
    th.testing.assert_close(
        losses.reparameterized_actor_loss(scale * value), scale * losses.reparameterized_actor_loss(value)
    )


def test_the_value_takes_a_subset_of_the_critics_and_the_actor_all_of_them():
    """Critics worth 1, 2 and 4 by their biases alone; alpha is 0, so that V learns from the subset's minimum."""
    settings = {"ent_coef": 0.0, "n_target_critics": 2, "actor_q_reduction": "mean", "learning_rate": 0.0}
    model = zeroed(make_model(policy_kwargs={"net_arch": [8], "n_critics": 3}, **settings))
    for index, value in enumerate((1.0, 2.0, 4.0)):
        model.critic.q_networks[index][-1].bias.data.fill_(value)
    model._update_learning_rates(model.current_settings())
    metrics = [update_once(model) for _ in range(60)]
    assert {round(each["value_loss"], 4) for each in metrics} == {0.5, 2.0}
    assert sum(each["value_loss"] < 1.0 for each in metrics) / 60 == pytest.approx(2 / 3, abs=0.2)
    assert metrics[0]["actor_loss"] == pytest.approx(-7 / 3)
