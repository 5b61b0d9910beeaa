"""Every equation against numbers worked by hand."""

import math

import pytest
import torch as th

from sb3_softac.updates import losses


def test_soft_value_of_two_actions_by_hand():
    # Two critics, one state, two actions; the minimum is taken action by action.
    q_NBK = th.tensor([[[1.0, 5.0]], [[3.0, 2.0]]])
    weight = th.tensor([[0.25, 0.75]])
    log_pi = weight.log()
    alpha = th.tensor([0.5])
    # 0.25 (1 - 0.5 log 0.25) + 0.75 (2 - 0.5 log 0.75)
    expected = 0.25 * (1 - 0.5 * math.log(0.25)) + 0.75 * (2 - 0.5 * math.log(0.75))
    value = losses.soft_value(losses.min_q(q_NBK), log_pi, weight, alpha)
    assert value.shape == (1,)
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_minimum_is_inside_the_expectation():
    # The minimum of the two expectations would be 2.5, the expectation of the minimum is 1.
    q_NBK = th.tensor([[[1.0, 4.0]], [[4.0, 1.0]]])
    value = losses.soft_value(losses.min_q(q_NBK), th.zeros(1, 2), th.full((1, 2), 0.5), th.tensor(0.0))
    assert value.item() == pytest.approx(1.0)


def test_entropy_sums_over_actions_and_not_means():
    probabilities = th.full((3, 4), 0.25)
    assert losses.entropy(probabilities.log(), probabilities).tolist() == pytest.approx([math.log(4)] * 3)


def test_td_target_by_hand():
    target = losses.td_target(
        reward=th.tensor([1.0, 1.0, 1.0]),
        done=th.tensor([0.0, 1.0, 0.0]),
        discount=th.tensor([0.9, 0.9, 0.81]),
        next_value=th.tensor([10.0, 10.0, 10.0]),
    )
    assert target.tolist() == pytest.approx([10.0, 1.0, 9.1])


def test_td_target_takes_one_discount_for_all():
    target = losses.td_target(th.zeros(2), th.zeros(2), 0.5, th.tensor([2.0, 4.0]))
    assert target.tolist() == [1.0, 2.0]


def test_critic_loss_by_hand_and_its_gradient():
    q_NB = th.tensor([[1.0, 2.0], [0.0, 4.0]], requires_grad=True)
    target = th.tensor([0.0, 1.0])
    loss = losses.critic_loss(q_NB, target)
    # ((1 + 1) / 2 + (0 + 9) / 2) / 2
    assert loss.shape == ()
    assert loss.item() == pytest.approx(2.75)
    loss.backward()
    assert q_NB.grad.tolist() == [[0.5, 0.5], [0.0, 1.5]]


def test_actor_loss_is_minus_the_mean_value():
    value = th.tensor([1.0, 3.0], requires_grad=True)
    loss = losses.reparameterized_actor_loss(value)
    assert loss.item() == -2.0
    loss.backward()
    assert value.grad.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize(("policy_entropy", "direction"), [(-3.0, +1), (5.0, -1)])
def test_too_little_entropy_raises_the_temperature(policy_entropy, direction):
    log_alpha = th.zeros(1, requires_grad=True)
    entropy = th.tensor([policy_entropy], requires_grad=True)
    losses.temperature_loss(log_alpha, entropy, th.tensor(1.0)).backward()
    # d J / d log alpha = H - target, and the optimizer moves against it.
    assert log_alpha.grad.item() == pytest.approx(policy_entropy - 1.0)
    assert math.copysign(1, -log_alpha.grad.item()) == direction
    assert entropy.grad is None


def test_step_of_log_alpha_does_not_depend_on_alpha():
    gradients = []
    for start in (-5.0, 2.0):
        log_alpha = th.tensor([start], requires_grad=True)
        losses.temperature_loss(log_alpha, th.tensor([0.0]), th.tensor(1.0)).backward()
        gradients.append(log_alpha.grad.item())
    assert gradients[0] == gradients[1]
