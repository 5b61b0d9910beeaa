"""One update of SAC v2 by hand, and which network each step moves."""

import math

import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.updates.batch import Batch
from tests.helpers import DiscreteTarget, Target, parameters_of, random_samples, ready


def make_model(**kwargs) -> SoftAC:
    kwargs = {"policy_kwargs": {"net_arch": [8]}, "buffer_size": 10, "seed": 0} | kwargs
    return ready(SoftAC("MlpPolicy", Target(), **kwargs))


def update_once(model: SoftAC, batch: Batch | None = None) -> dict[str, float]:
    engine = model._current_engine()
    engine.update(batch or Batch.from_samples(random_samples(1)[0], 0.9, 1.0), 1)
    return engine.read_metrics()


def test_metrics_by_hand():
    """With every weight zero, pi is tanh(N(0, 1)), Q is 0, and the losses follow from the noise alone."""
    model = make_model(ent_coef=0.5)
    for parameter in model.policy.parameters():
        parameter.data.zero_()
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
    for parameter in model.policy.parameters():
        parameter.data.zero_()
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
    for parameter in model.policy.parameters():
        parameter.data.zero_()
    batch = Batch(th.zeros(1, 3), th.tensor([[2]]), th.tensor([1.0]), th.zeros(1, 3), th.zeros(1), 0.9)
    assert update_once(model, batch)["critic_loss"] == pytest.approx(expected**2, rel=1e-5)


def _log_prob_of_noise(noise: th.Tensor) -> list[float]:
    return [
        sum(-0.5 * u * u - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(u) ** 2) for u in row)
        for row in noise.tolist()
    ]


def test_every_network_moves_but_by_its_own_loss():
    model = make_model(tau=0.5)
    before = parameters_of(model)
    update_once(model)
    moved = {name.split(".")[0] for name, value in parameters_of(model).items() if not th.equal(value, before[name])}
    assert moved == {"actor", "critic", "critic_target"}
    assert all(parameter.grad is None for parameter in model.critic_target.parameters())


def test_the_actor_step_leaves_no_gradient_in_the_critics():
    """The critics' gradients are those of the critic loss alone, not sums with the actor's."""
    model, reference = make_model(), make_model()
    batch = Batch.from_samples(random_samples(1)[0], 0.9, 1.0)
    reference.actor.requires_grad_(False)  # its loss is not differentiated
    for each in (model, reference):
        th.manual_seed(1)
        update_once(each, batch)
    for ours, theirs in zip(model.critic.parameters(), reference.critic.parameters(), strict=True):
        th.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0)


def test_gradient_clipping_bounds_both_steps():
    model = make_model(max_grad_norm=1e-3)
    update_once(model)
    for network in (model.actor, model.critic):
        norm = th.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm()
        assert norm.item() <= 1.001e-3


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
    for parameter in model.policy.parameters():
        parameter.data.zero_()
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
def test_actor_and_temperature_wait_for_their_turn(gradient, engine):
    model = make_model(policy_delay=3, tau=0.5, actor_gradient=gradient, engine=engine)
    seen, extract = [], model.actor.extract_features
    model.actor.extract_features = lambda obs, extractor: seen.append(obs) or extract(obs, extractor)
    batch = Batch.from_samples(random_samples(1)[0], 0.9, 1.0)
    for n_updates in range(1, 7):
        before, log_alpha = parameters_of(model), model.log_ent_coef.clone()
        seen.clear()
        engine_of_model = model._current_engine()
        engine_of_model.update(batch, n_updates)
        metrics = engine_of_model.read_metrics()
        after = parameters_of(model)
        moved = {name.split(".")[0] for name, value in after.items() if not th.equal(value, before[name])}
        is_due = n_updates % 3 == 0
        assert moved == {"critic", "critic_target"} | ({"actor"} if is_due else set())
        assert th.equal(model.log_ent_coef, log_alpha) is not is_due
        assert ({"actor_loss", "entropy", "ent_coef_loss"} <= metrics.keys()) is is_due
        assert {"critic_loss", "q_value", "ent_coef"} <= metrics.keys()
        if not is_due:
            assert [obs is batch.next_obs for obs in seen] == [True]  # one pass, of s' alone


def test_the_delay_counts_the_whole_run():
    model = make_model(policy_delay=4, learning_starts=5, batch_size=8, buffer_size=100)
    before = parameters_of(model)
    model.learn(8)
    assert model._n_updates == 3
    assert all(th.equal(value, before[name]) for name, value in parameters_of(model).items() if "actor" in name)
    model.learn(1, reset_num_timesteps=False)
    assert any(not th.equal(value, before[name]) for name, value in parameters_of(model).items() if "actor" in name)


def test_clipped_critic_loss_by_hand():
    kwargs = {"q_target_clip": 0.5, "policy_kwargs": {"net_arch": []}, "buffer_size": 10, "seed": 0}
    model = ready(SoftAC("MlpPolicy", DiscreteTarget(), **kwargs))
    for parameter in model.policy.parameters():
        parameter.data.zero_()
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
