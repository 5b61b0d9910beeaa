"""A joint pass beside a target network: both networks see both states, by the statistics of this batch."""

import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.networks.batch_renorm import BatchRenorm, BatchStatistics
from sb3_softac.updates.batch import Batch
from tests.helpers import SMALL, DiscreteTarget, Target, ready, update_once


def make_model(env=None, **kwargs) -> SoftAC:
    policy_kwargs = {"net_arch": [8], "batch_norm": True, "batch_norm_momentum": 0.5, "n_critics": 1}
    arguments = SMALL | {"seed": 0, "policy_kwargs": policy_kwargs, "engine": "eager"} | kwargs
    model = ready(SoftAC("MlpPolicy", env or Target(), **arguments))
    for parameter in model.policy.parameters():  # so that target and critic differ
        parameter.data += 0.1 * th.randn_like(parameter)
    return model


def joint_outputs(network, inputs: th.Tensor) -> th.Tensor:
    """Outputs of one network by the statistics of a batch, worked out layer by layer."""
    for module in network:
        if isinstance(module, BatchRenorm):
            mean, deviation = inputs.mean(dim=0), (inputs.var(dim=0, correction=0) + 1e-3).sqrt()
            inputs = module.weight * (inputs - mean) / deviation + module.bias
        else:
            inputs = module(inputs)
    return inputs


def test_the_critics_of_v2_and_their_target_see_both_states_of_a_batch():
    model = make_model(joint_pass=True)
    part = model._current_engine()._update.critics
    obs, next_obs, action, next_actions = th.randn(5, 3), th.randn(5, 3), th.rand(5, 2), th.rand(5, 1, 2)
    outputs, next_outputs = part.outputs_of_both(_batch(obs, action, next_obs), next_actions)
    inputs = th.cat([th.cat([obs, action], dim=1), th.cat([next_obs, next_actions[:, 0]], dim=1)])
    th.testing.assert_close(outputs[0], joint_outputs(model.critic.qf0, inputs)[:5])
    th.testing.assert_close(next_outputs[0, :, 0], joint_outputs(model.critic_target.qf0, inputs)[5:].detach())
    assert outputs.requires_grad
    assert not next_outputs.requires_grad


def test_without_it_each_state_has_a_pass_and_the_target_running_statistics():
    model = make_model()
    part = model._current_engine()._update.critics
    obs, next_obs, action, next_actions = th.randn(5, 3), th.randn(5, 3), th.rand(5, 2), th.rand(5, 1, 2)
    outputs, next_outputs = part.outputs_of_both(_batch(obs, action, next_obs), next_actions)
    th.testing.assert_close(outputs[0], joint_outputs(model.critic.qf0, th.cat([obs, action], dim=1)))
    th.testing.assert_close(next_outputs, model.critic_target.outputs(next_obs, next_actions))


def test_the_state_value_of_v1_and_its_target_see_both_states():
    model = make_model(variant="v1", joint_pass=True)
    obs, next_obs = th.randn(5, 3), th.randn(5, 3)
    value, next_value = model._current_engine()._update.values.values(obs, next_obs)
    inputs = th.cat([obs, next_obs])
    th.testing.assert_close(value, joint_outputs(model.value_net.vf, inputs)[:5, 0])
    th.testing.assert_close(next_value, joint_outputs(model.value_target.vf, inputs)[5:, 0].detach())


@pytest.mark.parametrize("env", [Target, DiscreteTarget])
@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_outside_of_its_pass_a_target_has_running_statistics(env, variant):
    model = make_model(env(), variant=variant, joint_pass=True).learn(30)
    target = model.critic_target if variant == "v2" else model.value_target
    assert not any(layer.training for layer in BatchStatistics(target).layers)


def test_without_targets_the_pass_is_joint_in_any_case():
    models = [make_model(target_networks=False, joint_pass=each) for each in (False, True)]
    for model in models:
        th.manual_seed(1)
        update_once(model)
    th.testing.assert_close(*(model.policy.state_dict() for model in models), rtol=0, atol=0)


def _batch(obs: th.Tensor, action: th.Tensor, next_obs: th.Tensor) -> Batch:
    return Batch(obs, action, th.zeros(len(obs)), next_obs, th.zeros(len(obs)), 0.9)
