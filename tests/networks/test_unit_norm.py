"""Weights are put back to unit norm after each step, and only those that are asked for."""

import pytest
import torch as th
from torch import nn

from sb3_softac import SoftAC
from sb3_softac.networks.batch_renorm import BatchRenorm
from sb3_softac.networks.blocks import MLP
from sb3_softac.networks.unit_norm import project_
from tests.helpers import SMALL, DiscreteTarget, Target, image_space, ready, update_once


def test_rows_keep_their_direction():
    weight, bias = th.tensor([[3.0, 0.0], [0.0, 0.5], [0.0, 0.0]]), th.tensor([[4.0], [0.0], [0.0]])
    project_([weight, bias], 1.0)
    th.testing.assert_close(weight, th.tensor([[0.6, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    th.testing.assert_close(bias, th.tensor([[0.8], [0.0], [0.0]]))
    scale, shift = th.tensor([[2.0, 0.0]]), th.tensor([[0.0, 2.0]])
    project_([scale, shift], 2.0**0.5)
    th.testing.assert_close(th.cat([scale, shift]), th.tensor([[1.0, 0.0], [0.0, 1.0]]))


def make_model(layers: str | None, env=None, **kwargs) -> SoftAC:
    policy_kwargs = {"net_arch": [8, 6], "batch_norm": True, "unit_norm_weights": layers} | kwargs.pop("policy", {})
    policy = kwargs.pop("policy_class", "MlpPolicy")
    arguments = SMALL | {"seed": 0, "learning_rate": 0.1, "policy_kwargs": policy_kwargs} | kwargs
    return ready(SoftAC(policy, env or Target(), **arguments))


def norms(model: SoftAC) -> dict[str, th.Tensor]:
    """Norm of each row of the layers, by the kind of layer: hidden ones with their bias, outputs, normalisations."""
    trained = [model.actor, model.critic, *([] if model.value_net is None else [model.value_net])]
    found: dict[str, list[th.Tensor]] = {"hidden": [], "output": [], "norm": []}
    for network in trained:
        stacks = [module for module in network.modules() if isinstance(module, MLP)]
        inside = [layer for stack in stacks for layer in stack]
        last = [stack[-1] for stack in stacks]
        for layer in network.modules():
            if isinstance(layer, nn.Linear) and layer in inside and layer not in last:
                found["hidden"].append(th.cat([layer.weight, layer.bias[:, None]], dim=1).norm(dim=1))
            elif isinstance(layer, nn.Linear):
                found["output"].append(layer.weight.norm(dim=1))
            elif isinstance(layer, BatchRenorm):
                length = th.cat([layer.weight, layer.bias]).norm() / layer.n_features**0.5
                found["norm"].append(length.reshape(1))
    return {kind: th.cat(each).detach() for kind, each in found.items()}


def is_unit(values: th.Tensor) -> bool:
    return bool(th.allclose(values, th.ones_like(values), atol=1e-5))


PROJECTED = {None: set(), "hidden": {"hidden"}, "linear": {"hidden", "output"}, "all": {"hidden", "output", "norm"}}


@pytest.mark.parametrize("layers", PROJECTED)
@pytest.mark.parametrize("variant", ["v1", "v2"])
@pytest.mark.parametrize("env", [Target, DiscreteTarget])
def test_the_layers_that_are_asked_for_have_unit_norm_and_others_have_not(layers, variant, env):
    model = make_model(layers, env(), variant=variant)
    begin = norms(model)
    assert {kind for kind in begin if is_unit(begin[kind])} == PROJECTED[layers] | {"norm"}  # a scale of 1, no shift
    model.learn(40)
    after = norms(model)
    assert {kind for kind in after if is_unit(after[kind])} == PROJECTED[layers]


@pytest.mark.parametrize("policy", [{"n_components": 2}, {"use_sde": True}], ids=str)
def test_other_actors_are_projected_too(policy):
    model = make_model("linear", policy={"n_components": policy.get("n_components", 1)}, use_sde="use_sde" in policy)
    model.learn(40)
    assert is_unit(norms(model)["output"])


def test_the_target_begins_as_the_projected_critic_and_is_an_average():
    model = make_model("linear", tau=0.5)
    for name, value in model.critic.state_dict().items():
        assert th.equal(model.critic_target.state_dict()[name], value), name
    model.learn(40)
    assert not is_unit(model.critic_target.qf0[1].weight.norm(dim=1))


def test_a_features_extractor_is_left_out():
    policy = {"net_arch": [8], "unit_norm_weights": "linear", "batch_norm": False}
    free, projected = (
        make_model(None, Target(image_space()), policy_class="CnnPolicy", policy=policy | {"unit_norm_weights": each})
        for each in (None, "all")
    )
    theirs = free.critic.features_extractor.state_dict()
    for name, value in projected.critic.features_extractor.state_dict().items():
        assert th.equal(value, theirs[name])
    assert is_unit(th.cat([projected.critic.qf0[0].weight, projected.critic.qf0[0].bias[:, None]], dim=1).norm(dim=1))


def test_what_a_user_froze_stays_where_it_is():
    model = make_model("all")
    with th.no_grad():
        model.critic.qf0[1].weight.mul_(2.0)
    model.critic.qf0[1].weight.requires_grad_(False)
    update_once(model)
    assert not is_unit(model.critic.qf0[1].weight.norm(dim=1))
    assert is_unit(model.critic.qf1[-1].weight.norm(dim=1))


def test_other_words_are_refused():
    with pytest.raises(ValueError, match=r"`unit_norm_weights` must be .*'hidden'"):
        make_model("rows")
