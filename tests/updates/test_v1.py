"""One update of SAC v1 by hand, which network each step moves, and its reward scale."""

import math

import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.updates import losses
from sb3_softac.updates.batch import Batch
from tests.helpers import DiscreteTarget, Target, parameters_of, random_samples, ready

LEARNING_RATE = 1e-3


def make_model(env=None, **kwargs) -> SoftAC:
    settings = {"policy_kwargs": {"net_arch": [8]}, "buffer_size": 10, "seed": 0, "learning_rate": LEARNING_RATE}
    return ready(SoftAC("MlpPolicy", env or Target(), variant="v1", **settings | kwargs))


def update_once(model: SoftAC, batch: Batch | None = None, n_updates: int = 1) -> dict[str, float]:
    engine = model._current_engine()
    engine.update(batch or Batch.from_samples(random_samples(1)[0], 0.9, 1.0), n_updates)
    return engine.read_metrics()


def zeroed(model: SoftAC) -> SoftAC:
    for parameter in model.policy.parameters():
        parameter.data.zero_()
    return model


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


@pytest.mark.parametrize("gradient", ["reparameterized", "score_function"])
def test_every_network_moves_but_by_its_own_loss(gradient):
    model = make_model(tau=0.5, actor_gradient=gradient)
    assert model.policy.critic_target is None
    before = parameters_of(model)
    update_once(model)
    moved = {name.split(".")[0] for name, value in parameters_of(model).items() if not th.equal(value, before[name])}
    assert moved == {"actor", "critic", "value_net", "value_target"}
    assert all(parameter.grad is None for parameter in model.value_target.parameters())


def test_periodic_hard_copy_of_the_target():
    model = make_model(tau=1.0, target_update_interval=1000)
    before = model.value_target.state_dict()["vf.0.weight"].clone()
    update_once(model, n_updates=999)
    assert th.equal(model.value_target.state_dict()["vf.0.weight"], before)
    update_once(model, n_updates=1000)
    assert th.equal(model.value_target.state_dict()["vf.0.weight"], model.value_net.state_dict()["vf.0.weight"])


def test_target_starts_as_a_copy():
    model = make_model()
    for online, target in zip(model.value_net.parameters(), model.value_target.parameters(), strict=True):
        assert th.equal(online, target)


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


def test_learning_rate_of_the_critics_is_that_of_v_too():
    model = make_model(critic_learning_rate=0.5)
    model._update_learning_rates(model.current_settings())
    assert model.value_net.optimizer.param_groups[0]["lr"] == 0.5
    assert model.actor.optimizer.param_groups[0]["lr"] == LEARNING_RATE


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


@pytest.mark.parametrize("gradient", ["reparameterized", "score_function"])
def test_the_actor_waits_for_its_turn_and_the_value_does_not(gradient):
    model = make_model(tau=0.5, policy_delay=2, actor_gradient=gradient, ent_coef="auto_0.5")
    for n_updates in (1, 2, 3):
        before = parameters_of(model)
        metrics = update_once(model, n_updates=n_updates)
        after = parameters_of(model)
        moved = {name.split(".")[0] for name, value in after.items() if not th.equal(value, before[name])}
        is_due = n_updates == 2
        assert moved == {"critic", "value_net", "value_target"} | ({"actor"} if is_due else set())
        assert ({"actor_loss", "entropy", "ent_coef_loss"} <= metrics.keys()) is is_due
        assert {"critic_loss", "value_loss"} <= metrics.keys()


def test_losses_are_by_the_temperature_before_its_step():
    def losses_of(**kwargs) -> dict[str, float]:
        model = zeroed(make_model(**kwargs))
        model._update_learning_rates(model.current_settings())
        th.manual_seed(5)
        return update_once(model)

    learned = losses_of(ent_coef="auto_0.5", ent_coef_learning_rate=1.0)
    fixed = losses_of(ent_coef=0.5)
    assert {name: learned[name] for name in fixed} == pytest.approx(fixed)


def test_gradient_clipping_bounds_every_step():
    model = make_model(max_grad_norm=1e-3)
    update_once(model)
    for network in (model.actor, model.critic, model.value_net):
        norm = th.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm()
        assert norm.item() <= 1.001e-3
