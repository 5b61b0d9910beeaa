"""What is special to SAC v2: its updates by hand, and on which states its actor is computed."""

import math

import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.updates.batch import Batch
from tests.helpers import DiscreteTarget, Target, random_samples, ready, update_once, zeroed


def make_model(**kwargs) -> SoftAC:
    kwargs = {"policy_kwargs": {"net_arch": [8]}, "buffer_size": 10, "seed": 0} | kwargs
    return ready(SoftAC("MlpPolicy", Target(), **kwargs))


def test_metrics_by_hand():
    """With every weight zero, pi is tanh(N(0, 1)), Q is 0, and the losses follow from the noise alone."""
    model = make_model(ent_coef=0.5)
    zeroed(model)
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
    log_pi, next_log_pi = (_log_prob_of_noise(th.randn(2, 2, dtype=th.float32)) for _ in range(2))
    target = [1.0, 2.0 + 0.9 * (0.0 - 0.5 * next_log_pi[1])]
    assert metrics["ent_coef"] == pytest.approx(0.5)
    assert metrics["entropy"] == pytest.approx(-sum(log_pi) / 2, rel=1e-5)
    assert metrics["q_value"] == 0.0
    assert metrics["critic_loss"] == pytest.approx(2 * 0.5 * (target[0] ** 2 + target[1] ** 2) / 2, rel=1e-5)
    # The actor's loss is by the critics after their step: each bias moved by lr in the direction of its target.
    bias = model.critic.qf0[-1].bias.item()
    assert bias == pytest.approx(3e-4, rel=1e-3)
    assert metrics["actor_loss"] == pytest.approx(0.5 * sum(log_pi) / 2 - bias, rel=1e-4)


def test_discrete_update_by_hand():
    """Uniform policy over three actions, target critics worth 4: V(s') = 4 + alpha log 3."""
    model = ready(
        SoftAC("MlpPolicy", DiscreteTarget(), buffer_size=10, ent_coef=0.5, policy_kwargs={"net_arch": [8]}, seed=0)
    )
    zeroed(model)
    for q_network in model.critic_target.q_networks:
        q_network[-1].bias.data.fill_(4.0)
    batch = Batch(th.zeros(1, 3), th.tensor([[2]]), th.tensor([1.0]), th.zeros(1, 3), th.zeros(1), 0.9)
    metrics = update_once(model, batch)
    target = 1.0 + 0.9 * (4.0 + 0.5 * math.log(3))
    assert metrics["critic_loss"] == pytest.approx(2 * 0.5 * target**2, rel=1e-5)
    assert metrics["actor_loss"] == pytest.approx(-(3e-4 / 3 + 0.5 * math.log(3)), rel=1e-4)


@pytest.mark.parametrize(("critic_ent_coef", "expected"), [(None, 1.0 + 0.9 * 0.5 * math.log(3)), (0.0, 1.0)])
def test_the_critics_may_have_a_temperature_of_their_own(critic_ent_coef, expected):
    model = ready(
        SoftAC("MlpPolicy", DiscreteTarget(), buffer_size=10, ent_coef=0.5, critic_ent_coef=critic_ent_coef, seed=0)
    )
    zeroed(model)
    batch = Batch(th.zeros(1, 3), th.tensor([[2]]), th.tensor([1.0]), th.zeros(1, 3), th.zeros(1), 0.9)
    assert update_once(model, batch)["critic_loss"] == pytest.approx(expected**2, rel=1e-5)


def _log_prob_of_noise(noise: th.Tensor) -> list[float]:
    return [
        sum(-0.5 * u * u - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(u) ** 2) for u in row)
        for row in noise.tolist()
    ]


def test_more_action_samples_estimate_the_same_loss_with_less_variance():
    def actor_losses(n_action_samples: int) -> th.Tensor:
        model = make_model(
            ent_coef=1.0,
            n_action_samples=n_action_samples,
            actor_learning_rate=0.0,
            critic_learning_rate=0.0,
            learning_rate=1e-3,
        )
        model._update_learning_rates(model.current_settings())
        return th.tensor([update_once(model)["actor_loss"] for _ in range(200)])

    one, many = actor_losses(1), actor_losses(16)
    assert many.std() < 0.5 * one.std()
    assert abs(many.mean() - one.mean()) < 4 * one.std() / 200**0.5


def test_the_target_takes_a_subset_of_the_critics_and_the_actor_all_of_them():
    """Target critics worth 1, 2 and 4 by their biases alone; alpha is 0, so that V(s') is the subset's minimum."""
    kwargs = {"ent_coef": 0.0, "n_target_critics": 2, "actor_q_reduction": "mean", "critic_learning_rate": 0.0}
    model = make_model(policy_kwargs={"net_arch": [8], "n_critics": 3}, **kwargs)
    zeroed(model)
    for index, value in enumerate((1.0, 2.0, 4.0)):
        model.critic.q_networks[index][-1].bias.data.fill_(value)
        model.critic_target.q_networks[index][-1].bias.data.fill_(value)
    batch = Batch(th.zeros(1, 3), th.zeros(1, 2), th.zeros(1), th.zeros(1, 3), th.zeros(1), 0.5)
    model._update_learning_rates(model.current_settings())
    metrics = [update_once(model, batch) for _ in range(60)]
    losses_of_subsets = [0.5 * sum((q - 0.5 * y) ** 2 for q in (1.0, 2.0, 4.0)) for y in (1.0, 2.0)]
    seen = {round(each["critic_loss"], 4) for each in metrics}
    assert seen == {round(loss, 4) for loss in losses_of_subsets}
    # A minimum of 1 in two subsets of three.
    share = sum(each["critic_loss"] == pytest.approx(losses_of_subsets[0]) for each in metrics) / 60
    assert share == pytest.approx(2 / 3, abs=0.2)
    assert metrics[0]["actor_loss"] == pytest.approx(-7 / 3)


@pytest.mark.parametrize("gradient", ["reparameterized", "score_function"])
@pytest.mark.parametrize("engine", ["eager", "fused"])
def test_an_actor_that_waits_is_computed_at_the_next_state_alone(gradient, engine):
    model = make_model(policy_delay=3, actor_gradient=gradient, engine=engine)
    seen, extract = [], model.actor.extract_features
    model.actor.extract_features = lambda obs, extractor: seen.append(obs) or extract(obs, extractor)
    batch = Batch.from_samples(random_samples(1)[0], 0.9, 1.0)
    for n_updates in range(1, 7):
        seen.clear()
        update_once(model, batch, n_updates)
        assert ([obs is batch.next_obs for obs in seen] == [True]) is (n_updates % 3 != 0)


def test_clipped_critic_loss_by_hand():
    kwargs = {"q_target_clip": 0.5, "policy_kwargs": {"net_arch": []}, "buffer_size": 10, "seed": 0}
    model = ready(SoftAC("MlpPolicy", DiscreteTarget(), **kwargs))
    zeroed(model)
    for network, target in zip(model.critic.q_networks, model.critic_target.q_networks, strict=True):
        network[-1].bias.data.fill_(3.0)
        target[-1].weight.data[:, 1] = 2.0  # 0 at s, 2 at s'
    batch = Batch(
        obs=th.tensor([[1.0, 0.0, 0.0]]),
        action=th.tensor([[2]]),
        reward=th.tensor([4.0]),
        next_obs=th.tensor([[0.0, 1.0, 0.0]]),
        done=th.ones(1),
        discount=0.9,
    )
    # 0.5 is as far as Q = 3 may be from Q' = 0: two critics, each half of the larger of (3 - 4)^2 and (0.5 - 4)^2.
    assert update_once(model, batch)["critic_loss"] == pytest.approx(12.25)
