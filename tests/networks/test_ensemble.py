"""Networks that are computed together compute what each of them does alone."""

import copy
from collections.abc import Sequence

import pytest
import torch as th
from torch import nn

from sb3_softac import SoftAC
from sb3_softac.networks.blocks import MLP, HiddenLayers, make_mlp
from sb3_softac.networks.fused.products import TorchProducts
from tests.helpers import Target, fixed_samples, random_samples, ready

WIDTHS = [[64, 64], [17], [32, 8], []]


@pytest.fixture(autouse=True)
def own_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of PyTorch, on any processor."""
    monkeypatch.setattr(
        "sb3_softac.networks.fused.stack.choose_products", lambda device, dtype, n: TorchProducts(dtype)
    )


def networks(net_arch: list[int], n: int = 2, joined: bool = True, hidden: HiddenLayers | None = None) -> list[MLP]:
    th.manual_seed(1)
    made = [make_mlp(20, 1, net_arch, nn.ReLU, hidden or HiddenLayers()) for _ in range(n)]
    for network in made:
        network.compute_fused()
    if joined:
        MLP.join(made)
    return made


def learned(made: Sequence[MLP], x: th.Tensor) -> list[th.Tensor]:
    """Outputs, and gradients of the input and of all parameters."""
    x = x.clone().requires_grad_()
    outputs = MLP.ensemble(made, x)
    parameters = [parameter for network in made for parameter in network.parameters() if parameter.requires_grad]
    return [outputs, *th.autograd.grad(outputs.square().sum(), [x, *parameters])]


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("net_arch", WIDTHS)
def test_outputs_and_gradients_are_those_of_each_network_to_the_bit(net_arch, n):
    x = th.randn(40, 20)
    together, alone = networks(net_arch, n), networks(net_arch, n, joined=False)
    assert together[0]._ensemble is not None
    assert alone[0]._ensemble is None
    for one, other in zip(learned(together, x), learned(alone, x), strict=True):
        assert th.equal(one, other)
    with th.no_grad():
        assert th.equal(MLP.ensemble(together, x), MLP.ensemble(alone, x))


def test_a_layer_that_is_frozen_in_one_network_gets_no_gradient_there():
    x = th.randn(40, 20)
    pairs = networks([64]), networks([64], joined=False)
    for made in pairs:
        made[1][0].weight.requires_grad_(False)
    for one, other in zip(*[learned(made, x) for made in pairs], strict=True):
        assert th.equal(one, other)


def test_parameters_that_were_put_elsewhere_are_used():
    x = th.randn(40, 20)
    pairs = networks([64]), networks([64], joined=False)
    for made in pairs:
        made[1][0].weight.data = th.full((64, 20), 0.1)
        made[0][0].bias.data = th.zeros(64, 2)[:, 0]
    for one, other in zip(*[learned(made, x) for made in pairs], strict=True):
        assert th.equal(one, other)


def test_some_of_the_networks_are_computed_one_by_one():
    x = th.randn(40, 20)
    made = networks([64], 3)
    with th.no_grad():
        assert th.equal(MLP.ensemble(made[:2], x), MLP.ensemble(made, x)[:2])
        assert th.equal(MLP.ensemble(made[::-1], x), MLP.ensemble(made, x).flip(0))


@pytest.mark.parametrize("hidden", [HiddenLayers(layer_norm=True), HiddenLayers(dropout=0.1)])
def test_layers_of_other_kinds_are_computed_one_by_one(hidden):
    assert networks([64], hidden=hidden)[0]._ensemble is None
    assert networks([64], n=1)[0]._ensemble is None


def are_side_by_side(model: SoftAC) -> bool:
    ends = []
    for critic in (model.policy.critic, model.policy.critic_target):
        first, second = (network[0].weight for network in critic.q_networks)
        ends.append(second.data_ptr() == first.data_ptr() + first.nbytes)
    return all(ends)


def test_parameters_of_both_critics_are_one_piece_of_memory_and_in_a_copy_from_its_first_training():
    model = ready(SoftAC("MlpPolicy", Target(), policy_kwargs={"net_arch": [64]}, buffer_size=100))
    assert are_side_by_side(model)
    other = copy.deepcopy(model)
    assert not are_side_by_side(other)
    fixed_samples(other, random_samples(1, batch_size=8))
    other.train(1, batch_size=8)
    assert are_side_by_side(other)
