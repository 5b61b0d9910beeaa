"""A traced update notices what a user changes after it was traced."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import pytest
import torch as th
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from sb3_softac import SoftAC
from sb3_softac.engines.traced import TraceCapture
from tests.engines.replays import make, n_graphs
from tests.helpers import Target, fixed_samples, random_samples


@pytest.fixture(autouse=True)
def early_graphs():
    with patch.object(TraceCapture, "warm_ups", 3):
        yield


def train(model: SoftAC, n_updates: int = 8) -> SoftAC:
    th.manual_seed(11)
    fixed_samples(model, random_samples(n_updates, batch_size=40))
    model.train(n_updates, batch_size=40)
    return model


def freeze(model: SoftAC) -> None:
    model.actor.mu.weight.requires_grad_(False)


def forget_less(model: SoftAC) -> None:
    model.critic.optimizer.param_groups[0]["betas"] = (0.5, 0.9)


def go_back(model: SoftAC) -> None:
    model.critic.optimizer.load_state_dict(train(make("eager", Target())).critic.optimizer.state_dict())


def move(model: SoftAC) -> None:
    model.actor.mu.weight.data = model.actor.mu.weight.data + 1.0


def slow_down(model: SoftAC) -> None:
    model.learning_rate = 1e-5
    model._setup_lr_schedule()
    for group in model.actor.optimizer.param_groups:
        group["lr"] = 1e-5


def test_no_gradients_of_the_recorded_update_are_left_behind():
    model = train(make("traced", Target()))
    assert n_graphs(model) == 1
    assert all(parameter.grad is None for parameter in (*model.policy.parameters(), model.log_ent_coef))


@pytest.mark.parametrize("change", [freeze, forget_less, go_back, move, slow_down])
def test_a_change_takes_effect(change: Callable[[SoftAC], None]):
    plain, traced = train(make("fused", Target())), train(make("traced", Target()))
    assert n_graphs(traced) == 1
    for model in (plain, traced):
        change(model)
        train(model)
    for name, value in plain.policy.state_dict().items():
        assert th.equal(traced.policy.state_dict()[name], value), name


def put_another_parameter(model: SoftAC) -> None:
    model.actor.mu.weight = nn.Parameter(th.zeros_like(model.actor.mu.weight))


def smooth_more(model: SoftAC) -> None:
    for module in model.critic.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 0.1


def follow_batches_faster(model: SoftAC) -> None:
    model.critic.qf0[0].momentum = 0.5


def put_another_buffer(model: SoftAC) -> None:
    model.critic.qf0[0].running_mean = th.full_like(model.critic.qf0[0].running_mean, 0.5)


@pytest.mark.parametrize(
    ("change", "kwargs"),
    [
        (put_another_parameter, {}),
        (smooth_more, {"layer_norm": True}),
        (follow_batches_faster, {"batch_norm": True, "renorm_warmup_steps": 0}),
        (put_another_buffer, {"batch_norm": True, "renorm_warmup_steps": 0}),
    ],
)
def test_a_change_in_a_module_takes_effect(change: Callable[[SoftAC], None], kwargs: dict[str, Any]):
    plain, traced = (train(make(engine, Target(), policy_kwargs=kwargs)) for engine in ("fused", "traced"))
    assert n_graphs(traced) == 1
    for model in (plain, traced):
        change(model)
        train(model)
    assert n_graphs(traced) == 2
    for name, value in plain.policy.state_dict().items():
        assert th.equal(traced.policy.state_dict()[name], value), name


@pytest.mark.parametrize("width", [1, 3, 17, 33])
@pytest.mark.parametrize("kwargs", [{}, {"critic_head": "categorical"}])
def test_odd_widths_are_replayed_to_the_bit(width: int, kwargs: dict[str, Any]):
    arguments = {"policy_kwargs": {"net_arch": [width, width], **kwargs}}
    plain, traced = (train(make(engine, Target(), **arguments), 20) for engine in ("fused", "traced"))
    assert n_graphs(traced) == 1
    for name, value in plain.policy.state_dict().items():
        assert th.equal(traced.policy.state_dict()[name], value), name


def test_an_activation_that_draws_numbers_is_replayed_as_it_is():
    arguments = {"policy_kwargs": {"activation_fn": nn.RReLU}}
    replayed = train(make("auto", Target(), **arguments), 20)
    with patch.object(TraceCapture, "warm_ups", 1000):
        plain = train(make("auto", Target(), **arguments), 20)
    assert (n_graphs(replayed), n_graphs(plain)) == (1, 0)
    for name, value in plain.policy.state_dict().items():
        assert th.equal(replayed.policy.state_dict()[name], value), name


@pytest.mark.parametrize("engine", ["eager", "fused", "traced"])
def test_what_is_frozen_after_some_updates_stays_where_it_is(engine: str):
    model = train(make(engine, Target()))
    freeze(model)
    before = copy.deepcopy(model.policy.state_dict())
    train(model)
    for name, value in model.actor.state_dict().items():
        assert th.equal(value, before[f"actor.{name}"]) is (name == "mu.weight"), name


@pytest.mark.parametrize("engine", ["eager", "fused", "traced"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_critics_learn_beside_an_actor_that_is_frozen(engine: str, when: str):
    model = make(engine, Target())
    if when == "after":
        train(model)
    model.actor.requires_grad_(False)
    before = copy.deepcopy(model.policy.state_dict())
    train(model)
    for name, value in model.policy.state_dict().items():
        assert th.equal(value, before[name]) is name.startswith("actor."), name


@pytest.mark.parametrize("engine", ["eager", "fused", "traced"])
@pytest.mark.parametrize("name", ["actor.latent_pi.0", "critic.qf0.0", "critic.qf1"])
def test_hooks_inside_a_network_are_called(engine: str, name: str):
    model, calls = make(engine, Target()), []
    model.policy.get_submodule(name).register_forward_hook(lambda *_: calls.append(1))
    train(model)
    assert len(calls) >= 8


@pytest.mark.parametrize("engine", ["fused", "traced"])
@pytest.mark.parametrize("name", ["actor.latent_pi.0", "actor.mu", "critic.qf0.0", "critic.qf1.2"])
def test_a_forward_of_a_layers_own_is_called(engine: str, name: str):
    model, calls = train(make(engine, Target())), []
    layer = model.policy.get_submodule(name)
    layer.forward = lambda x: (calls.append(1), nn.functional.linear(x, layer.weight, layer.bias))[1]
    train(model)
    assert len(calls) >= 8


@pytest.mark.parametrize("engine", ["fused", "traced"])
def test_a_parametrization_that_is_added_later_is_computed(engine: str):
    plain, other = train(make("eager", Target())), train(make(engine, Target()))
    for model in (plain, other):
        nn.utils.parametrize.register_parametrization(model.critic.qf0[0], "weight", nn.Tanh())
        train(model)
    for name, value in plain.policy.state_dict().items():
        th.testing.assert_close(other.policy.state_dict()[name], value, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("hooked", ["optimizer", "module"])
def test_hooks_are_called(hooked: str):
    model, calls = train(make("traced", Target())), []
    if hooked == "optimizer":
        handle = model.actor.optimizer.register_step_post_hook(lambda *_: calls.append(1))
    else:
        handle = model.actor.mu.register_forward_hook(lambda *_: calls.append(1))
    train(model)
    assert len(calls) >= 8
    handle.remove()
    calls.clear()
    train(model)
    assert not calls
    assert n_graphs(model) == 1


@pytest.mark.parametrize("engine", ["eager", "fused", "traced"])
@pytest.mark.parametrize("kind", ["hook", "post_accumulate_grad_hook"])
def test_hooks_of_parameters_are_called(engine: str, kind: str):
    model, calls = train(make(engine, Target())), []
    handle = getattr(model.actor.mu.weight, f"register_{kind}")(lambda _: calls.append(1))
    train(model)
    assert len(calls) == 8
    handle.remove()
    train(model)
    assert len(calls) == 8


def test_dropout_that_is_changed_after_some_updates_takes_effect():
    plain, traced = (train(make(engine, Target(), policy_kwargs={"dropout": 0.01})) for engine in ("fused", "traced"))
    for model in (plain, traced):
        for module in model.critic.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.9
        train(model)
    for name, value in plain.critic.state_dict().items():
        assert th.equal(traced.critic.state_dict()[name], value), name


def test_a_number_as_learning_rate_does_not_end_tracing():
    model = train(make("traced", Target()))
    model.actor.optimizer.param_groups[0]["lr"] = 1e-5
    train(model)
    assert isinstance(model.actor.optimizer.param_groups[0]["lr"], th.Tensor)
    assert n_graphs(model) == 2


def test_models_train_side_by_side_in_threads():
    """As the jobs of a search do."""
    original = nn.Module.__call__
    models = [make("traced", Target()) for _ in range(3)]
    for model in models:
        fixed_samples(model, random_samples(8, batch_size=40))
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(model.train, 8, batch_size=40) for model in models]:
            done.result()
    assert all(n_graphs(model) == 1 for model in models)
    assert nn.Module.__call__ is original  # which tracing replaces for a while


def test_a_copy_has_traces_of_its_own():
    model = train(make("traced", Target()))
    clone, before = copy.deepcopy(model), copy.deepcopy(model.policy.state_dict())
    train(clone)
    assert all(th.equal(value, before[name]) for name, value in model.policy.state_dict().items())
    train(model)
    for name, value in model.policy.state_dict().items():
        assert th.equal(clone.policy.state_dict()[name], value), name


class UsersExtractor(FlattenExtractor):
    """Does what it likes."""


class UsersActivation(nn.Tanh):
    """The same."""


@pytest.mark.parametrize(
    "policy_kwargs", [{"features_extractor_class": UsersExtractor}, {"activation_fn": UsersActivation}]
)
def test_modules_of_a_user_are_not_traced(policy_kwargs):
    assert make("auto", Target())._engine.name == "traced"
    assert make("auto", Target(), policy_kwargs=policy_kwargs)._engine.name == "fused"
    with pytest.raises(ValueError, match=r"'traced'` cannot hold the module Users.*pass 'auto' or 'fused'"):
        make("traced", Target(), policy_kwargs=policy_kwargs)


def test_gsde_and_other_optimizers_are_not_traced():
    assert make("auto", Target(), use_sde=True)._engine.name == "fused"
    assert make("auto", Target(), policy_kwargs={"optimizer_class": th.optim.SGD})._engine.name == "fused"
    with pytest.raises(ValueError, match=r"'traced'` cannot run gSDE.*pass `engine='fused'`"):
        make("traced", Target(), use_sde=True)
