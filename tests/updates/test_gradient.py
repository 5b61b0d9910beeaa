"""A gradient step moves its own network and leaves every other one as it is."""

import copy

import pytest
import torch as th
from torch import nn

from sb3_softac.engines import adam
from sb3_softac.updates import gradient
from sb3_softac.updates.gradient import GradientStep, frozen


def test_only_the_own_network_gets_a_gradient():
    actor, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    before = critic.weight.clone()
    GradientStep(th.optim.SGD(actor.parameters(), lr=0.1))(critic(actor(th.ones(1, 2))).sum())
    assert actor.weight.grad is not None
    assert critic.weight.grad is None
    th.testing.assert_close(critic.weight, before)


def test_step_by_hand():
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(2.0)
    step = GradientStep(th.optim.SGD(layer.parameters(), lr=0.1))
    step((layer(th.ones(1, 1)) ** 2).sum())  # gradient 2 w = 4
    assert layer.weight.item() == pytest.approx(1.6)
    step((layer(th.ones(1, 1)) ** 2).sum())  # the first gradient is gone
    assert layer.weight.item() == pytest.approx(1.28)


def test_clipping_by_hand():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data.zero_()
    GradientStep(th.optim.SGD(layer.parameters(), lr=1.0), max_grad_norm=0.5)(layer(th.tensor([[3.0, 4.0]])).sum())
    th.testing.assert_close(layer.weight.data, th.tensor([[-0.3, -0.4]]), rtol=1e-4, atol=1e-6)


def test_a_frozen_layer_stays():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    network[0].requires_grad_(False)
    before = network[0].weight.clone()
    GradientStep(th.optim.Adam(network.parameters(), lr=0.1))(network(th.ones(1, 2)).sum())
    th.testing.assert_close(network[0].weight, before)
    assert network[1].weight.grad is not None


@pytest.mark.parametrize("groups", [1, 2])
def test_a_network_that_is_frozen_as_a_whole_stays(groups):
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    parameters = [{"params": layer.parameters()} for layer in network] if groups == 2 else network.parameters()
    step = GradientStep(th.optim.Adam(parameters, lr=0.1, fused=True), max_grad_norm=1.0, step=adam.step)
    step(network(th.ones(1, 2)).sum())
    before = [parameter.clone() for parameter in network.parameters()]
    frozen = network if groups == 1 else network[0]
    frozen.requires_grad_(False)
    step(network(th.ones(1, 2)).sum())
    for old, parameter in zip(before, network.parameters(), strict=True):
        assert th.equal(old, parameter) is not parameter.requires_grad


def test_gradients_lie_in_memory_as_their_parameters():
    """A fused Adam reads both as they lie, and would pair the wrong numbers."""
    parameter = th.nn.Parameter(th.zeros(3, 2))
    optimizer = th.optim.Adam([parameter], lr=0.1, fused=True)
    transposed = th.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]).t()
    assert not transposed.is_contiguous()
    step = GradientStep(optimizer, step=adam.step)
    for _ in range(2):  # the first by the optimizer's own method, the second by one call
        step.step_along([transposed])
    th.testing.assert_close(parameter.detach(), th.tensor([[-0.2, 0.2]] * 3), rtol=1e-4, atol=1e-4)


def test_plain_linear_layers_train_equally_with_a_fused_adam():
    """Their gradients come in a layout that is not always the parameter's."""
    trained = []
    for fused in (False, True):
        th.manual_seed(0)
        network = th.nn.Sequential(th.nn.Linear(5, 40), th.nn.Tanh(), th.nn.Linear(40, 3))
        step = GradientStep(th.optim.Adam(network.parameters(), lr=0.01, fused=fused), step=adam.step)
        for _ in range(3):
            step(network(th.randn(16, 5)).square().sum())
        trained.append(network.state_dict())
    th.testing.assert_close(trained[1], trained[0], rtol=1e-4, atol=1e-5)


def test_counts_of_steps_are_one_tensor_until_a_layer_is_frozen():
    network = th.nn.Sequential(th.nn.Linear(2, 2), th.nn.Linear(2, 1))
    optimizer = th.optim.Adam(network.parameters(), lr=0.1, fused=True)
    step = GradientStep(optimizer, step=adam.step)

    def counts() -> list[float]:
        return [state["step"].item() for state in optimizer.state.values()]

    for _ in range(3):
        step(network(th.ones(1, 2)).sum())
    assert counts() == [3.0] * 4
    assert len({state["step"].untyped_storage().data_ptr() for state in optimizer.state.values()}) == 1
    network[1].weight.requires_grad_(False)
    step(network(th.ones(1, 2)).sum())
    assert counts() == [4.0, 4.0, 3.0, 4.0]
    network[1].weight.requires_grad_(True)
    copied = copy.deepcopy(optimizer)  # where they are no longer one
    GradientStep(copied, step=adam.step)(
        sum(parameter.sum() for group in copied.param_groups for parameter in group["params"])
    )
    assert [state["step"].item() for state in copied.state.values()] == [5.0, 5.0, 4.0, 5.0]
    assert counts() == [4.0, 4.0, 3.0, 4.0]
    optimizer.step()  # PyTorch's own, along the last gradients
    assert counts() == [5.0, 5.0, 3.0, 5.0]


@pytest.mark.parametrize("stop_at", [1, 3])
def test_an_interrupt_while_networks_are_frozen_or_freed_leaves_none_frozen(stop_at, monkeypatch):
    layer = nn.Linear(2, 2)
    calls = []

    def interrupted(parameters, requires_grad):
        for parameter in parameters:
            calls.append(requires_grad)
            if len(calls) == stop_at + 1:
                raise KeyboardInterrupt
            parameter.requires_grad_(requires_grad)

    monkeypatch.setattr(gradient, "_set_requires_grad", interrupted)
    with pytest.raises(KeyboardInterrupt), frozen(layer.parameters()):
        pass
    assert all(parameter.requires_grad for parameter in layer.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.1},
        {"maximize": True},
        {"amsgrad": True},
        {"decoupled_weight_decay": True, "weight_decay": 0.1},
        {"betas": (0.5, 0.9), "eps": 1e-3},
    ],
    ids=str,
)
def test_one_call_for_a_step_respects_every_option(options):
    trained = []
    for fused in (False, True):
        th.manual_seed(0)
        parameter = nn.Parameter(th.randn(3, 2))
        optimizer = th.optim.Adam([parameter], lr=0.1, fused=fused, **options)
        step = GradientStep(optimizer, step=adam.step)
        for k in range(5):
            loss = (parameter * (k - 2.0)).sin().sum()
            if fused:
                step(loss)
            else:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        trained.append(parameter.detach())
    th.testing.assert_close(trained[1], trained[0])


def test_frozen_networks_are_frozen_inside_only_and_what_a_user_froze_for_good():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    with frozen(layer.parameters()):
        assert not any(parameter.requires_grad for parameter in layer.parameters())
    assert layer.weight.requires_grad
    assert not layer.bias.requires_grad
