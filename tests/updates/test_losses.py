"""Every equation against numbers worked by hand."""

import math

import pytest
import torch as th

from sb3_softac.networks import distributions
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
    entropy = th.tensor([policy_entropy], requires_grad=True)
    gradient = losses.temperature_gradient(entropy, th.tensor(1.0))
    # d J / d log alpha = H - target, and the optimizer moves against it.
    assert gradient.item() == pytest.approx(policy_entropy - 1.0)
    assert math.copysign(1, -gradient.item()) == direction
    assert not gradient.requires_grad


def test_mean_and_minimum_of_the_critics():
    q_NBK = th.tensor([[[1.0, 4.0]], [[3.0, 2.0]]])
    assert losses.min_q(q_NBK).tolist() == [[1.0, 2.0]]
    assert losses.mean_q(q_NBK).tolist() == [[2.0, 3.0]]


def test_soft_value_of_a_masked_action_is_finite():
    log_pi = distributions.masked_log_softmax(th.zeros(1, 3), th.tensor([[1, 0, 1]]))
    weight = log_pi.exp()
    assert weight.tolist() == [[0.5, 0.0, 0.5]]
    value = losses.soft_value(th.tensor([[1.0, 99.0, 3.0]]), log_pi, weight, th.tensor(1.0))
    assert value.item() == pytest.approx(2.0 + math.log(2))
    assert losses.entropy(log_pi, weight).item() == pytest.approx(math.log(2))


def test_value_loss_by_hand_and_its_gradient():
    value = th.tensor([1.0, 2.0], requires_grad=True)
    target = th.tensor([3.0, 2.0], requires_grad=True)
    loss = losses.value_loss(value, target)
    assert loss.item() == pytest.approx(1.0)  # (4 + 0) / 2 / 2
    loss.backward()
    assert value.grad.tolist() == [-1.0, 0.0]
    assert target.grad is None


def test_clipped_critic_loss_by_hand():
    """Transition by transition: the larger of the two errors counts, never the larger of two means."""
    q = th.tensor([[3.0, 3.0]], requires_grad=True)
    q_target = th.tensor([[0.0, 0.0]])
    target = th.tensor([4.0, 1.0])
    # near = 0 + clip(3, -0.5, 0.5) = 0.5; first: max((3-4)^2, (0.5-4)^2) = 12.25; second: max((3-1)^2, 0.25) = 4
    loss = losses.clipped_critic_loss(q, q_target, target, clip=0.5)
    assert loss.item() == pytest.approx(0.5 * (12.25 + 4.0) / 2)
    loss.backward()
    assert q.grad.tolist() == [[0.0, 1.0]]  # where the clipped error is larger, the critic has run away: no gradient


def test_score_function_loss_by_hand():
    log_pi = th.tensor([[-1.0, -2.0]], requires_grad=True)
    weight = th.tensor([[0.5, 0.5]], requires_grad=True)
    q = th.tensor([[1.0, 2.0]], requires_grad=True)
    baseline = th.tensor([[0.5]])
    losses.score_function_actor_loss(log_pi, weight, q, th.tensor(0.1), baseline).backward()
    # weight * (alpha log pi - Q + b)
    assert log_pi.grad.flatten().tolist() == pytest.approx([0.5 * (-0.1 - 1.0 + 0.5), 0.5 * (-0.2 - 2.0 + 0.5)])
    assert q.grad is None
    assert weight.grad is None


def test_leave_one_out_baseline_by_hand():
    q = th.tensor([[1.0, 2.0, 6.0]])
    log_pi = th.tensor([[-1.0, 0.0, -2.0]])
    # soft q with alpha 1: 2, 2, 8
    assert losses.leave_one_out_baseline(q, log_pi, th.tensor(1.0)).tolist() == [[5.0, 5.0, 2.0]]


def test_exact_gradient_of_the_discrete_objective():
    """d/d logit_i of -sum_a pi_a (Q_a - alpha log pi_a) is -pi_i (Q_i - alpha log pi_i - V)."""
    logits = th.tensor([[0.3, -0.5, 1.0]], dtype=th.float64, requires_grad=True)
    q = th.tensor([[1.0, -2.0, 0.5]], dtype=th.float64)
    alpha = th.tensor(0.4, dtype=th.float64)
    log_pi = logits.log_softmax(-1)
    value = losses.soft_value(q, log_pi, log_pi.exp(), alpha)
    losses.reparameterized_actor_loss(value).backward()
    soft_q = q - alpha * log_pi
    expected = -(log_pi.exp() * (soft_q - value.unsqueeze(-1)))
    th.testing.assert_close(logits.grad, expected.detach())


def test_value_of_a_random_subset_by_hand():
    """Of critics worth 1, 2 and 3, the value of a subset of two is 1 (two subsets of three) or 2: 4/3 on average."""
    q_NBK = th.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    th.manual_seed(0)
    values = th.stack([losses.min_q(losses.random_subset(q_NBK, 2)).squeeze() for _ in range(3000)])
    assert set(values.tolist()) == {1.0, 2.0}
    assert values.mean().item() == pytest.approx(4 / 3, abs=0.03)


def test_every_subset_is_as_likely_and_holds_no_critic_twice():
    q_NBK = th.arange(5.0).view(5, 1, 1).expand(5, 2, 3)
    th.manual_seed(0)
    counts = {}
    for _ in range(3000):
        subset = losses.random_subset(q_NBK, 2)
        assert subset.shape == (2, 2, 3)
        pair = frozenset(subset[:, 0, 0].tolist())
        counts[pair] = counts.get(pair, 0) + 1
    assert {len(pair) for pair in counts} == {2}
    assert len(counts) == 10
    assert all(count == pytest.approx(300, abs=5 * 300**0.5) for count in counts.values())


def test_a_subset_of_all_critics_is_all_of_them():
    q_NBK = th.randn(4, 2, 3)
    th.testing.assert_close(losses.min_q(losses.random_subset(q_NBK, 4)), losses.min_q(q_NBK))


# Shapes that would broadcast to something else


N, B, K = 2, 5, 3
RIGHT = {
    losses.min_q: {"q_NBK": (N, B, K)},
    losses.mean_q: {"q_NBK": (N, B, K)},
    losses.soft_value: {"q": (B, K), "log_pi": (B, K), "weight": (B, K), "alpha": (1,)},
    losses.entropy: {"log_pi": (B, K), "weight": (B, K)},
    losses.td_target: {"reward": (B,), "done": (B,), "discount": (B,), "next_value": (B,)},
    losses.critic_loss: {"q_NB": (N, B), "target": (B,)},
    losses.clipped_critic_loss: {"q_NB": (N, B), "q_target_NB": (N, B), "target": (B,)},
    losses.value_loss: {"value": (B,), "target": (B,)},
    losses.reparameterized_actor_loss: {"value": (B,)},
    losses.score_function_actor_loss: {
        "log_pi": (B, K),
        "weight": (B, K),
        "q": (B, K),
        "alpha": (1,),
        "baseline": (B, 1),
    },
    losses.leave_one_out_baseline: {"q": (B, K), "log_pi": (B, K), "alpha": (1,)},
    losses.temperature_gradient: {"policy_entropy": (B,), "target_entropy": (B,)},
    losses.masked_target_entropy: {"offset": (), "factor": (), "max_entropy": (B,)},
}
OTHERS = {losses.clipped_critic_loss: {"clip": 1.0}}
GUARDED = [
    (loss, name) for loss, shapes in RIGHT.items() for name in shapes if name not in ("alpha", "offset", "factor")
]


def call(loss, **changed):
    tensors = {name: th.ones(shape) for name, shape in (RIGHT[loss] | changed).items()}
    return loss(**tensors, **OTHERS.get(loss, {}))


@pytest.mark.parametrize(("loss", "name"), GUARDED, ids=lambda part: getattr(part, "__name__", part))
def test_a_shape_that_would_broadcast_is_refused(loss, name):
    """A target of (B, 1) against values of (B,) gives (B, B) differences, and a loss that looks like one."""
    call(loss)
    wrong = (*RIGHT[loss][name], 1) if name != "baseline" else (B,)
    with pytest.raises(ValueError, match=name):
        call(loss, **{name: wrong})


def test_every_equation_is_guarded():
    own = {value for value in vars(losses).values() if getattr(value, "__module__", None) == losses.__name__}
    public = {function for function in own if not function.__name__.startswith("_")}
    assert public - {losses.random_subset} == set(RIGHT)
