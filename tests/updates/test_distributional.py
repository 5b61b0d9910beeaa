"""Equations of distributional critics against numbers worked out by hand, and their TD targets."""

import math
from itertools import pairwise

import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.networks.distributions import PolicySupport, equally_weighted
from sb3_softac.networks.heads import HEADS, CategoricalHead, HLGaussHead, QuantileHead, make_head
from sb3_softac.settings.policy import CRITIC_HEADS
from sb3_softac.updates import distributional, losses
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.td import TDS, CategoricalTD, HLGaussTD, QuantileTD, weight_of_each
from tests.helpers import SMALL, Target, ready, update_once

ATOMS = th.tensor([-1.0, 0.0, 1.0])


def test_every_kind_of_critic_has_its_rows():
    assert set(CRITIC_HEADS) == HEADS.keys()
    assert set(HEADS.values()) == TDS.keys()


# Equations


def test_soft_atoms():
    atoms = th.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    log_pi = th.tensor([[-1.0, 2.0]])
    th.testing.assert_close(
        distributional.soft_atoms(atoms, log_pi, 0.5), th.tensor([[[1.5, 2.5], [2.0, 3.0]]]), rtol=0, atol=0
    )


def test_td_atoms():
    target = distributional.td_atoms(
        th.tensor([1.0, 2.0]), th.tensor([0.0, 1.0]), th.tensor([0.5, 0.5]), th.tensor([[2.0, 4.0], [2.0, 4.0]])
    )
    th.testing.assert_close(target, th.tensor([[2.0, 3.0], [2.0, 2.0]]))


def test_a_projection_divides_a_weight_by_the_distances_and_keeps_the_mean():
    values = th.tensor([[0.25, -0.5], [1.0, 7.0], [-1.0, 0.0], [-9.0, 0.0]])
    weight = th.tensor([[0.8, 0.2], [0.5, 0.5], [0.5, 0.5], [0.3, 0.7]])
    expected = [[0.1, 0.6 + 0.1, 0.2], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0], [0.3, 0.7, 0.0]]
    projected = distributional.projection(values, weight, ATOMS)
    th.testing.assert_close(projected, th.tensor(expected))
    means = (weight * values.clamp(-1.0, 1.0)).sum(dim=1)
    th.testing.assert_close((projected * ATOMS).sum(dim=1), means)


def test_a_projection_of_many_atoms_is_the_one_of_a_triangle_around_each():
    generator = th.Generator().manual_seed(0)
    atoms = th.linspace(-5.0, 5.0, 101, dtype=th.float64)
    values = 14.0 * th.rand(20, 30, generator=generator, dtype=th.float64) - 7.0
    weight = th.rand(20, 30, generator=generator, dtype=th.float64)
    distance = (values.clamp(-5.0, 5.0).unsqueeze(2) - atoms).abs() / 0.1
    expected = (weight.unsqueeze(2) * (1.0 - distance).clamp_min(0.0)).sum(dim=1)
    th.testing.assert_close(distributional.projection(values, weight, atoms), expected)


def test_a_gaussian_histogram():
    def below(edge: float) -> float:
        return 0.5 * (1.0 + math.erf(edge / math.sqrt(2.0)))

    # Bins from -1.5 to 1.5 in widths of 1, a deviation of 0.5, a value of 0.2: edges at (e - 0.2) / 0.5.
    edges = [below((edge - 0.2) / 0.5) for edge in (-1.5, -0.5, 0.5, 1.5)]
    expected = [(high - low) / (edges[3] - edges[0]) for low, high in pairwise(edges)]
    histogram = distributional.gaussian_histogram(th.tensor([0.2, 100.0]), ATOMS, 0.5)
    th.testing.assert_close(histogram[0], th.tensor(expected))
    assert histogram[1].argmax() == 2  # a value outside is at the last atom
    th.testing.assert_close(histogram.sum(dim=1), th.ones(2))


def test_the_histogram_has_the_mean_of_its_value_where_the_bins_reach():
    atoms = th.linspace(-5.0, 5.0, 101)
    value = th.linspace(-4.0, 4.0, 33)
    histogram = distributional.gaussian_histogram(value, atoms, 0.75)
    th.testing.assert_close((histogram * atoms).sum(dim=1), value, atol=1e-3, rtol=0)


def test_cross_entropy():
    logits = th.tensor([[[0.0, math.log(3.0)]], [[0.0, 0.0]]], requires_grad=True)
    target = th.tensor([[0.5, 0.5]])
    expected = -0.5 * (math.log(0.25) + math.log(0.75)) + math.log(2.0)
    loss = distributional.cross_entropy(logits, target)
    assert loss.item() == pytest.approx(expected)
    (gradient,) = th.autograd.grad(loss, logits)  # softmax minus target
    th.testing.assert_close(gradient, th.tensor([[[-0.25, 0.25]], [[0.0, 0.0]]]))


def test_the_largest_quantiles_are_left_out():
    quantiles = th.tensor([[[[1.0, 5.0, 3.0]]], [[[2.0, 6.0, 4.0]]]])  # two critics, one state, one action
    th.testing.assert_close(distributional.lowest_quantiles(quantiles, 1), th.tensor([[[1.0, 2.0, 3.0, 4.0]]]))
    th.testing.assert_close(distributional.lowest_quantiles(quantiles, 0)[0, 0], th.arange(1.0, 7.0))


def test_quantile_huber_loss():
    quantiles = th.tensor([[[0.0, 1.0]]], requires_grad=True)  # levels 0.25 and 0.75
    values, weight = th.tensor([[0.5, 3.0]]), th.tensor([[0.6, 0.4]])
    # u: 0.5 and 3 of the first quantile, -0.5 and 2 of the second
    first = 0.6 * 0.25 * 0.125 + 0.4 * 0.25 * 2.5
    second = 0.6 * 0.25 * 0.125 + 0.4 * 0.75 * 1.5
    loss = distributional.quantile_huber_loss(quantiles, values, weight)
    assert loss.item() == pytest.approx((first + second) / 2)


def test_the_quantile_loss_is_that_of_sb3_contrib():
    contrib = pytest.importorskip("sb3_contrib.common.utils")
    generator = th.Generator().manual_seed(0)
    quantiles = th.randn(3, 8, 5, generator=generator)
    values = 2.0 * th.randn(8, 11, generator=generator)
    theirs = contrib.quantile_huber_loss(quantiles.transpose(0, 1), values.unsqueeze(1), sum_over_quantiles=False)
    ours = distributional.quantile_huber_loss(quantiles, values, th.full_like(values, 1 / 11))
    th.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("equation", "arguments"),
    [
        (distributional.soft_atoms, (th.zeros(2, 3, 4), th.zeros(3, 2), 1.0)),
        (distributional.td_atoms, (th.zeros(2), th.zeros(2), 0.9, th.zeros(3, 4))),
        (distributional.projection, (th.zeros(2, 3), th.zeros(3, 2), ATOMS)),
        (distributional.gaussian_histogram, (th.zeros(2, 1), ATOMS, 0.75)),
        (distributional.cross_entropy, (th.zeros(2, 5, 3), th.zeros(3, 5))),
        (distributional.lowest_quantiles, (th.zeros(2, 5, 3), 1)),
        (distributional.quantile_huber_loss, (th.zeros(2, 5, 3), th.zeros(5, 4), th.zeros(4, 5))),
    ],
)
def test_wrong_shapes_are_refused(equation, arguments):
    with pytest.raises(ValueError, match="must"):
        equation(*arguments)


# Which critic


def test_the_weights_of_the_critics_are_those_of_the_reduction():
    q = th.tensor([[[1.0, 5.0]], [[2.0, 4.0]], [[3.0, 6.0]]])
    th.testing.assert_close(weight_of_each(losses.min_q, q)[:, 0], th.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    th.testing.assert_close(weight_of_each(losses.mean_q, q), th.full((3, 1, 2), 1 / 3))
    with th.no_grad():
        subset = weight_of_each(lambda values: losses.mean_q(losses.random_subset(values, 2)), q)
    assert sorted(subset[:, 0, 0].tolist()) == [0.0, 0.5, 0.5]
    assert not subset.requires_grad


# TD targets


def batch_of(reward: float, done: float = 0.0, discount: float = 0.5) -> Batch:
    return Batch(th.zeros(1, 1), th.zeros(1, 1), th.tensor([reward]), th.zeros(1, 1), th.tensor([done]), discount)


def one_action(log_pi: float) -> PolicySupport:
    return equally_weighted(th.zeros(1, 1, 1), th.tensor([[log_pi]]))


def logits(*probabilities: list[float]) -> th.Tensor:
    """Outputs of critics with these probabilities, (N, 1, 1, M)."""
    return th.tensor(probabilities).log()[:, None, None]


def test_the_target_distribution_is_that_of_the_critic_with_the_lower_mean():
    td = CategoricalTD(CategoricalHead(3, -1.0, 1.0), losses.min_q)
    outputs = logits([0.0, 0.5, 0.5], [0.2, 0.8, 0.0])  # means of 0.5 and -0.2
    # y = 0.25 + 0.5 (z + 0.5): 0 at -1, 0.5 at 0
    target = td.target(batch_of(0.25), outputs, one_action(-1.0), th.tensor([0.5]))
    th.testing.assert_close(target, th.tensor([[0.0, 0.2 + 0.4, 0.4]]))
    assert not target.requires_grad


def test_with_the_mean_it_is_the_mixture_of_all():
    td = CategoricalTD(CategoricalHead(3, -1.0, 1.0), losses.mean_q, ent_coef=0.0)
    target = td.target(batch_of(0.0, discount=1.0), logits([0.0, 0.5, 0.5], [0.2, 0.8, 0.0]), one_action(-1.0), 0.5)
    th.testing.assert_close(target, th.tensor([[0.1, 0.65, 0.25]]))


def test_a_terminal_state_has_its_reward_alone():
    td = CategoricalTD(CategoricalHead(3, -1.0, 1.0), losses.min_q)
    target = td.target(batch_of(0.75, done=1.0), logits([0.1, 0.4, 0.5]), one_action(-4.0), th.tensor([0.5]))
    th.testing.assert_close(target, th.tensor([[0.0, 0.25, 0.75]]))


def test_discrete_actions_mix_their_distributions_by_their_probabilities():
    td = CategoricalTD(CategoricalHead(3, -1.0, 1.0), losses.min_q)
    outputs = th.tensor([[[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]]).log().clamp_min(-1e4)
    # The last action is masked: its log pi is hugely negative, and its weight 0.
    support = PolicySupport(None, th.tensor([[math.log(0.25), math.log(0.75), -1e8]]), th.tensor([[0.25, 0.75, 0.0]]))
    target = td.target(batch_of(0.0, discount=0.5), outputs, support, th.tensor([0.0]))
    th.testing.assert_close(target, th.tensor([[0.125, 0.125 + 0.375, 0.375]]))
    masked = td.target(batch_of(0.0, discount=0.5), outputs, support, th.tensor([0.1]))
    th.testing.assert_close(masked.sum(), th.tensor(1.0))


def test_the_mean_of_the_target_is_the_scalar_target():
    generator = th.Generator().manual_seed(0)
    head = CategoricalHead(101, -50.0, 50.0)
    outputs = th.randn(2, 7, 3, 101, generator=generator)
    log_pi = th.randn(7, 3, generator=generator)
    support = PolicySupport(None, log_pi, log_pi.softmax(dim=-1))
    batch = Batch(*[th.randn(7, 1)] * 2, th.randn(7), th.zeros(7, 1), th.tensor([0.0, 1.0] * 3 + [0.0]), 0.9)
    target = CategoricalTD(head, losses.min_q).target(batch, outputs, support, th.tensor([0.3]))
    value = losses.soft_value(losses.min_q(head.values(outputs)), log_pi, support.weight, 0.3)
    expected = losses.td_target(batch.reward, batch.done, batch.discount, value)
    th.testing.assert_close((target * head.atoms).sum(dim=-1), expected, atol=1e-3, rtol=1e-3)


def test_hl_gauss_learns_from_the_scalar_target():
    head = HLGaussHead(3, -1.0, 1.0, deviation=0.5)
    td = HLGaussTD(head, losses.min_q)
    outputs = logits([0.0, 0.5, 0.5], [0.2, 0.8, 0.0])
    target = td.target(batch_of(0.25), outputs, one_action(-1.0), th.tensor([0.5]))
    y = 0.25 + 0.5 * (-0.2 + 0.5)
    th.testing.assert_close(target, distributional.gaussian_histogram(th.tensor([y]), head.atoms, 0.5))
    assert td.errors(outputs[:, :, 0], target)[1].item() == pytest.approx(-0.2 - (target * head.atoms).sum().item())


@pytest.mark.parametrize("td", [CategoricalTD(CategoricalHead(3, -1.0, 1.0), losses.min_q)])
def test_a_state_value_is_a_point_between_two_atoms(td):
    th.testing.assert_close(td.target_of_value(batch_of(0.5), th.tensor([0.5])), th.tensor([[0.0, 0.25, 0.75]]))


def test_targets_of_quantiles():
    td = QuantileTD(QuantileHead(2, n_dropped=1), losses.min_q)
    outputs = th.tensor([[[[1.0, 3.0]]], [[[2.0, 4.0]]]])
    values, weight = td.target(batch_of(1.0), outputs, one_action(-2.0), th.tensor([0.5]))
    th.testing.assert_close(values, th.tensor([[1.0 + 0.5 * 2.0, 1.0 + 0.5 * 3.0]]))  # 1 and 2 are left; + 0.5 * 2
    th.testing.assert_close(weight, th.tensor([[0.5, 0.5]]))
    target = th.stack([values, weight])
    th.testing.assert_close(td.errors(th.tensor([[[1.0, 3.0]]]), target), th.tensor([[2.0 - 2.25]]))
    support = PolicySupport(None, th.zeros(1, 2), th.tensor([[0.25, 0.75]]))
    values, weight = td.target(batch_of(0.0), outputs.repeat(1, 1, 2, 1), support, th.tensor([0.5]))
    th.testing.assert_close(values, th.tensor([[0.5, 1.0, 0.5, 1.0]]))
    th.testing.assert_close(weight, th.tensor([[0.125, 0.125, 0.375, 0.375]]))
    values, weight = td.target_of_value(batch_of(1.0), th.tensor([3.0]))
    assert (values.item(), weight.item()) == (2.5, 1.0)


# Models


@pytest.mark.parametrize("head", [name for name in CRITIC_HEADS if name != "scalar"])
def test_critics_learn_the_reward_of_steps_that_end(head):
    """With gamma of 0 the value of an action is its mean reward, whatever the critics learn of its distribution."""
    kwargs = {"critic_head": head, "net_arch": [32]} | (
        {"critic_head_kwargs": {"n_dropped": 0}} if head == "quantile" else {}
    )
    arguments = SMALL | {"policy_kwargs": kwargs, "gamma": 0.0, "seed": 0, "learning_rate": 1e-2}
    model = ready(SoftAC("MlpPolicy", Target(), **arguments))
    generator = th.Generator().manual_seed(0)
    for n_updates in range(1, 301):
        obs = th.randint(0, 2, (64, 1), generator=generator).float()
        reward = obs[:, 0] + th.randint(0, 2, (64,), generator=generator)  # 0 or 1, and 1 or 2
        batch = Batch(obs.expand(-1, 3), th.zeros(64, 2), reward, obs.expand(-1, 3), th.zeros(64), 0.0)
        update_once(model, batch, n_updates)
    with th.no_grad():
        values = model.critic.q_taken(th.tensor([[0.0] * 3, [1.0] * 3]), th.zeros(2, 2))
    th.testing.assert_close(values, th.tensor([[0.5, 1.5]] * 2), atol=0.2, rtol=0)


@pytest.mark.parametrize(
    ("policy_kwargs", "kwargs", "message"),
    [
        ({"critic_head": "c51"}, {}, "`critic_head` must be"),
        ({"critic_head": "categorical", "critic_head_kwargs": {"low": 3.0, "high": 1.0}}, {}, "`low` must be below"),
        ({"critic_head": "categorical", "critic_head_kwargs": {"n_atoms": 1}}, {}, "`n_atoms` must be"),
        ({"critic_head": "categorical", "critic_head_kwargs": {"n_bins": 51}}, {}, "unknown key 'n_bins'"),
        ({"critic_head": "hl_gauss", "critic_head_kwargs": {"deviation": 0.0}}, {}, "`deviation` must be"),
        ({"critic_head": "quantile", "critic_head_kwargs": {"n_dropped": 25}}, {}, "`n_dropped` must be"),
        ({"critic_head_kwargs": {"n_atoms": 51}}, {}, "critic_head_kwargs"),
        ({"critic_head": "quantile"}, {"n_target_critics": 1}, "`n_target_critics` chooses some critics"),
        ({"critic_head": "categorical"}, {"q_target_clip": 0.5}, "`q_target_clip` bounds the distance of scalar"),
    ],
    ids=str,
)
def test_what_a_head_does_not_take_is_refused(policy_kwargs, kwargs, message):
    with pytest.raises(ValueError, match=message):
        SoftAC("MlpPolicy", Target(), buffer_size=10, policy_kwargs=policy_kwargs, **kwargs)


def test_heads_have_the_number_of_outputs_that_is_asked_for():
    assert make_head("categorical", {"n_atoms": 51}).n_outputs == 51
    assert make_head("quantile", {"n_quantiles": 10}).n_outputs == 10
    assert make_head("hl_gauss", {}).atoms[[0, -1]].tolist() == [-5.0, 5.0]
