"""Batch renormalisation: numbers worked by hand, its two limits, and which passes it learns from."""

import copy

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_softac import SoftAC
from sb3_softac.networks.batch_renorm import (
    D_MAX,
    D_PASSES,
    EPSILON,
    R_MAX,
    R_PASSES,
    WARMUP_STEPS,
    BatchRenorm,
    BatchStatistics,
    layers_of,
    moments,
)
from sb3_softac.networks.blocks import HiddenLayers, make_mlp
from sb3_softac.updates.batch import Batch
from tests.helpers import DiscreteTarget, Target, random_samples, ready

RELAXED = WARMUP_STEPS + R_PASSES  # passes after which the limits are what they stay


def layer(n_features: int = 1, passes: int = 0, momentum: float = 0.1) -> BatchRenorm:
    made = BatchRenorm(n_features, momentum).double()
    made.num_batches_tracked.fill_(passes)
    return made


@pytest.mark.parametrize(
    ("passes", "r_max", "d_max"),
    [
        (0, 1.0, 0.0),
        (WARMUP_STEPS, 1.0, 0.0),
        (WARMUP_STEPS + D_PASSES // 2, 1.0 + (R_MAX - 1.0) * 10_000 / 35_000, D_MAX / 2),
        (RELAXED, R_MAX, D_MAX),
        (10**6, R_MAX, D_MAX),
    ],
)
def test_limits_are_relaxed_linearly(passes, r_max, d_max):
    assert [limit.item() for limit in layer(passes=passes).limits()] == pytest.approx([r_max, d_max])


def test_the_warm_up_is_the_users_and_is_kept_by_a_policy_that_is_saved(tmp_path):
    policy = make_model(policy_kwargs={"renorm_warmup_steps": 100}).policy
    policy.save(tmp_path / "policy.pt")
    for network in (policy.actor, policy.critic, type(policy).load(tmp_path / "policy.pt").critic_target):
        for renorm in layers_of(network):
            renorm.num_batches_tracked.fill_(100 + D_PASSES)
            assert [limit.item() for limit in renorm.limits()] == pytest.approx([1.0 + 2.0 * 20 / 35, D_MAX])


def test_an_unlimited_correction_by_hand():
    """The running statistics, 1 and 4 - eps: whatever the batch, y = (x - 1) / 2."""
    renorm = layer(passes=RELAXED)
    renorm.running_mean.fill_(1.0)
    renorm.running_var.fill_(4.0 - EPSILON)
    x = th.tensor([[2.0], [6.0]], dtype=th.float64)  # mean 4, variance 4
    assert renorm(x).flatten().tolist() == pytest.approx([0.5, 2.5], abs=1e-9)
    assert renorm.running_mean.item() == pytest.approx(1.3)  # 1 + 0.1 (4 - 1)
    assert renorm.running_var.item() == pytest.approx(0.9 * (4.0 - EPSILON) + 0.1 * 4.0)
    assert renorm.num_batches_tracked.item() == RELAXED + 1


def test_a_limited_correction_by_hand():
    """r of 5 becomes 3, d of 15 becomes 5; then the scale 2 and the shift -1."""
    renorm = layer(passes=RELAXED)
    renorm.running_mean.fill_(-10.0)
    renorm.running_var.fill_(4.0 - EPSILON)
    renorm.weight.data.fill_(2.0)
    renorm.bias.data.fill_(-1.0)
    x = th.tensor([[10.0], [30.0]], dtype=th.float64)  # mean 20, deviation 10: d = 30 / 2
    y = 10.0 / (100.0 + EPSILON) ** 0.5
    expected = [2.0 * (-3.0 * y + 5.0) - 1.0, 2.0 * (3.0 * y + 5.0) - 1.0]
    assert renorm(x).flatten().tolist() == pytest.approx(expected)


def test_without_a_correction_it_is_batch_normalisation_with_its_gradient():
    renorm, norm = layer(4), nn.BatchNorm1d(4, eps=EPSILON).double()
    for module in (renorm, norm):
        th.manual_seed(0)
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
    x = th.randn(32, 4, dtype=th.float64) * 3 + 1
    results = []
    for module in (renorm, norm):
        own = x.clone().requires_grad_(True)
        y = module(own)
        y.sin().sum().backward()
        results.append([y.detach(), own.grad, module.weight.grad, module.bias.grad])
    th.testing.assert_close(*results)


def test_the_gradient_treats_the_correction_as_constant():
    """Against the plain formula, differentiated by autograd with r and d held."""
    renorm = layer(3, passes=20_000)
    renorm.running_mean.normal_()
    renorm.running_var.uniform_(0.5, 2.0)
    x = th.randn(8, 3, dtype=th.float64, requires_grad=True)
    r, d = copy.deepcopy(renorm).correction(*moments(x.detach())[:2])
    constant = (x - x.mean(0)) / (x.var(0, correction=0) + EPSILON).sqrt() * r + d
    expected = th.autograd.grad((constant * renorm.weight + renorm.bias).sin().sum(), [x, renorm.weight])
    th.testing.assert_close(th.autograd.grad(renorm(x).sin().sum(), [x, renorm.weight]), expected)


def test_evaluation_takes_the_running_statistics_and_leaves_them():
    renorm = layer(2)
    renorm.running_mean.copy_(th.tensor([1.0, -1.0]))
    renorm.running_var.fill_(4.0 - EPSILON)
    renorm.eval()
    y = renorm(th.tensor([[3.0, 1.0]], dtype=th.float64))  # one row is enough
    assert y.flatten().tolist() == pytest.approx([1.0, 1.0])
    assert renorm.running_mean.tolist() == [1.0, -1.0]
    assert renorm.num_batches_tracked.item() == 0


def test_running_statistics_converge_to_those_of_the_data_and_both_modes_agree():
    renorm, x = layer(2, passes=RELAXED), th.randn(64, 2, dtype=th.float64) * 3 + 2
    for _ in range(300):
        trained = renorm(x)
    th.testing.assert_close(renorm.running_mean, x.mean(0))
    th.testing.assert_close(renorm.running_var, x.var(0, correction=0))
    th.testing.assert_close(renorm.eval()(x), trained)


def test_it_is_before_each_linear_layer():
    assert [type(module) for module in make_mlp(3, 1, [8, 8], nn.ReLU, HiddenLayers(batch_norm=BatchRenorm))] == [
        *[BatchRenorm, nn.Linear, nn.ReLU] * 2,
        BatchRenorm,
        nn.Linear,
    ]
    assert [type(module) for module in make_mlp(3, -1, [8], nn.ReLU, HiddenLayers(batch_norm=BatchRenorm))] == [
        BatchRenorm,
        nn.Linear,
        nn.ReLU,
        BatchRenorm,
    ]
    assert [module.n_features for module in make_mlp(3, -1, [], nn.ReLU, HiddenLayers(batch_norm=BatchRenorm))] == [3]


def make_model(env=None, **kwargs) -> SoftAC:
    policy_kwargs = {"net_arch": [8], "batch_norm": True, "batch_norm_momentum": 0.5} | kwargs.pop("policy_kwargs", {})
    settings = {"buffer_size": 100, "learning_starts": 20, "batch_size": 16, "seed": 0, "policy_kwargs": policy_kwargs}
    return ready(SoftAC("MlpPolicy", env or Target(), **settings | kwargs))


def counts(network: nn.Module) -> set[int]:
    """Passes from which the layers have learnt."""
    return {each.num_batches_tracked.item() for each in layers_of(network)}


def train(model: SoftAC, n_steps: int) -> None:
    samples = random_samples(1)[0]
    if not hasattr(model.action_space, "low"):
        samples = samples._replace(actions=(samples.actions[:, :1] > 0).long())
    model.policy.set_training_mode(True)
    engine = model._current_engine()
    for n_updates in range(1, n_steps + 1):
        engine.update(Batch.from_samples(samples, 0.9, 1.0), n_updates)


@pytest.mark.parametrize("env", [Target, DiscreteTarget])
@pytest.mark.parametrize("target_networks", [True, False])
@pytest.mark.parametrize("gradient", ["reparameterized", "score_function"])
@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_each_network_learns_its_statistics_once_in_each_of_its_steps(variant, gradient, target_networks, env):
    kwargs = {"variant": variant, "actor_gradient": gradient, "target_networks": target_networks}
    model = make_model(env(), policy_delay=2, **kwargs)
    places = [buffer.data_ptr() for buffer in model.policy.buffers()]
    train(model, 5)
    assert [buffer.data_ptr() for buffer in model.policy.buffers()] == places  # which a CUDA graph holds
    assert counts(model.actor) == {2}
    assert counts(model.critic) == {5}
    if variant == "v1":
        assert counts(model.value_net) == {5}
    if target_networks:
        online, target = (
            (model.critic, model.critic_target) if variant == "v2" else (model.value_net, model.value_target)
        )
        assert counts(target) == {0}
        for ours, theirs in zip(layers_of(target), layers_of(online), strict=True):
            th.testing.assert_close(ours.running_mean, theirs.running_mean)
            th.testing.assert_close(ours.running_var, theirs.running_var)
    assert not any(each.training for each in layers_of(model.policy))


def test_acting_and_evaluating_learn_nothing_and_do_not_depend_on_the_batch():
    model = make_model()
    train(model, 20)
    before = copy.deepcopy(model.policy.state_dict())
    obs = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    model.policy.train()  # whatever the user left it in
    together = model.predict(obs, deterministic=True)[0]
    alone = np.concatenate([model.predict(row[None], deterministic=True)[0] for row in obs])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    assert all(th.equal(value, before[name]) for name, value in model.policy.state_dict().items())
    model.learn(20)  # random actions, and acting, but no gradient step
    assert all(th.equal(value, before[name]) for name, value in model.policy.state_dict().items())


def test_the_mode_of_a_policy_does_not_reach_the_statistics():
    model = make_model(policy_kwargs={"dropout": 0.1})
    model.policy.set_training_mode(True)
    assert not any(each.training for each in layers_of(model.policy))
    assert any(type(each) is nn.Dropout and each.training for each in model.critic.modules())
    statistics = BatchStatistics(model.critic)
    with statistics:
        assert all(each.training for each in layers_of(model.critic))
        assert not any(each.training for each in layers_of(model.actor))
    assert not any(each.training for each in layers_of(model.critic))


def test_the_joint_pass_normalises_by_the_mixture_of_both_halves():
    """One linear layer on normalised inputs: the statistics are those of (s, a) and (s', a') together."""
    model = make_model(target_networks=False, policy_kwargs={"net_arch": []})
    obs, next_obs = th.randn(20, 3), th.randn(20, 3) + 4
    action, next_actions = th.rand(20, 2), th.rand(20, 3, 2)
    with BatchStatistics(model.critic), th.no_grad():
        outputs = model.critic.outputs_joint(obs, action, next_obs, next_actions)
    q_NB, next_q_NBK = map(model.critic.head.values, outputs)
    assert (q_NB.shape, next_q_NBK.shape) == ((2, 20), (2, 20, 3))
    rows = th.cat([th.cat([obs, action], 1), th.cat([next_obs.repeat_interleave(3, 0), next_actions.flatten(0, 1)], 1)])
    normalised = (rows - rows.mean(0)) / (rows.var(0, correction=0) + EPSILON).sqrt()
    for q, next_q, network in zip(q_NB, next_q_NBK, model.critic.q_networks, strict=True):
        expected = (normalised @ network[1].weight.T + network[1].bias).flatten()
        th.testing.assert_close(th.cat([q, next_q.flatten()]), expected, rtol=1e-4, atol=1e-5)
        th.testing.assert_close(network[0].running_mean, 0.5 * rows.mean(0))


@pytest.mark.parametrize("variant", ["v1", "v2"])
@pytest.mark.parametrize("env", [Target, DiscreteTarget])
def test_without_batch_norm_the_joint_pass_is_two_passes(env, variant):
    model = make_model(env(), variant=variant, target_networks=False, policy_kwargs={"batch_norm": False})
    obs, next_obs = th.randn(5, 3), th.randn(5, 3)
    action = th.randint(3, (5, 1)) if env is DiscreteTarget else th.rand(5, 2)
    next_actions = None if env is DiscreteTarget else th.rand(5, 2, 2)
    outputs = model.critic.outputs_joint(obs, action, next_obs, next_actions)
    q_NB, next_q_NBK = map(model.critic.head.values, outputs)
    th.testing.assert_close(q_NB, model.critic.q_taken(obs, action))
    th.testing.assert_close(next_q_NBK, model.critic.q_values(next_obs, next_actions))
    if variant == "v1":
        expected = (model.value_net(obs), model.value_net(next_obs))
        th.testing.assert_close(model.value_net.joint(obs, next_obs), expected)


@pytest.mark.parametrize("variant", ["v1", "v2"])
@pytest.mark.parametrize("env", [Target, DiscreteTarget])
def test_saved_and_loaded(env, variant, tmp_path):
    model = make_model(env(), variant=variant, target_networks=False, policy_delay=2).learn(40)
    assert not {"critic_target", "value_target"} & {name.split(".")[0] for name in model.policy.state_dict()}
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=env())
    assert (loaded.target_networks, loaded.policy_delay) == (False, 2)
    obs = th.randn(4, 3).numpy()
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    for name, value in model.policy.state_dict().items():
        assert th.equal(loaded.policy.state_dict()[name], value), name
    before = counts(loaded.critic)
    loaded.learn(20, reset_num_timesteps=False)
    assert counts(loaded.critic) == {next(iter(before)) + 20}


def test_without_an_end_of_the_warm_up_it_is_batch_normalisation_for_ever():
    layer = BatchRenorm(3, momentum=0.5, warmup_steps=None)
    layer.num_batches_tracked.fill_(10**9)
    assert [limit.item() for limit in layer.limits()] == [1.0, 0.0]
    x = th.randn(40, 3)
    layer.running_mean.fill_(5.0)
    expected = (x - x.mean(dim=0)) / (x.var(dim=0, correction=0) + 1e-3).sqrt()
    assert layer.correction(*moments(x)[:2]) is None
    th.testing.assert_close(layer(x), expected)
    th.testing.assert_close(layer.running_mean, 0.5 * (5.0 + x.mean(dim=0)))
    policy = make_model(policy_kwargs={"renorm_warmup_steps": None}).policy
    assert {each.warmup_steps for each in layers_of(policy)} == {None}


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"`q_target_clip`.*`target_networks=False`"):
        make_model(target_networks=False, q_target_clip=0.5)
    with pytest.raises(ValueError, match="`target_networks` must be True or False, but 'no' was given"):
        make_model(target_networks="no")
    with pytest.raises(ValueError, match="`batch_size=1` was given; pass at least 2"):
        make_model(batch_size=1)
    for momentum in (0.0, 1.5, "slow"):
        with pytest.raises(ValueError, match="`batch_norm_momentum` must be"):
            make_model(policy_kwargs={"batch_norm_momentum": momentum})
    for steps in (-1, 0.5, "long"):
        with pytest.raises(ValueError, match="`renorm_warmup_steps` must be a whole number of at least 0"):
            make_model(policy_kwargs={"renorm_warmup_steps": steps})
    for switch in ("batch_norm", "layer_norm", "share_features_extractor"):
        with pytest.raises(ValueError, match=f"`{switch}` must be True or False, but 'yes' was given"):
            make_model(policy_kwargs={switch: "yes"})
    model, own_targets = make_model(), make_model(target_networks=False)
    with pytest.raises(ValueError, match="only one of the two"):
        own_targets.set_parameters(model.get_parameters())
