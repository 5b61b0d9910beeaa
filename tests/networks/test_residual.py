"""Networks of blocks compute what their papers say, begin as they say, and refuse what does not go with them."""

from functools import partial

import pytest
import torch as th
from torch import nn
from torch.nn.functional import layer_norm, linear

from sb3_softac import SoftAC
from sb3_softac.networks.batch_renorm import BatchRenorm
from sb3_softac.networks.blocks import HiddenLayers, make_mlp
from sb3_softac.networks.health import hidden_layers
from sb3_softac.networks.residual import BLOCKS, Residual
from tests.helpers import SMALL, Target, ready

make_norm = partial(BatchRenorm, momentum=0.5)
NAMES = {"simba": None, "bro": None, "flashsac": make_norm, "xqc": make_norm}


def make(blocks: str, output_dim: int = 3, net_arch: tuple[int, ...] = (8, 8)) -> nn.Sequential:
    th.manual_seed(0)
    hidden = HiddenLayers(blocks=blocks, batch_norm=NAMES[blocks])
    network = make_mlp(5, output_dim, list(net_arch), nn.ReLU, hidden)
    with th.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * th.randn_like(parameter))
    return network


def weights(network: nn.Module) -> dict[str, th.Tensor]:
    return dict(network.named_parameters())


def norm_of(x: th.Tensor, scale: th.Tensor, shift: th.Tensor) -> th.Tensor:
    """Batch normalisation of a batch by its own statistics."""
    return scale * (x - x.mean(dim=0)) / (x.var(dim=0, correction=0) + 1e-3).sqrt() + shift


def training(network: nn.Module) -> nn.Module:
    for module in network.modules():
        module.training = True
    return network


def test_simba():
    network, x = make("simba", net_arch=(8,)), th.randn(6, 5)
    p = weights(network)
    h = linear(x, p["0.weight"], p["0.bias"])
    inner = linear(layer_norm(h, (8,), p["1.0.weight"], p["1.0.bias"]), p["1.1.weight"], p["1.1.bias"]).relu()
    assert inner.shape == (6, 32)
    h = h + linear(inner, p["1.3.weight"], p["1.3.bias"])
    expected = linear(layer_norm(h, (8,), p["2.weight"], p["2.bias"]), p["3.weight"], p["3.bias"])
    th.testing.assert_close(network(x), expected)


def test_bro():
    network, x = make("bro", net_arch=(8,)), th.randn(6, 5)
    p = weights(network)
    h = layer_norm(linear(x, p["0.weight"], p["0.bias"]), (8,), p["1.weight"], p["1.bias"]).relu()
    inner = layer_norm(linear(h, p["3.0.weight"], p["3.0.bias"]), (8,), p["3.1.weight"], p["3.1.bias"]).relu()
    h = h + layer_norm(linear(inner, p["3.3.weight"], p["3.3.bias"]), (8,), p["3.4.weight"], p["3.4.bias"])
    th.testing.assert_close(network(x), linear(h, p["4.weight"], p["4.bias"]))


def test_flashsac():
    network, x = training(make("flashsac", net_arch=(8,))), th.randn(6, 5)
    p = weights(network)
    h = linear(norm_of(x, p["0.weight"], p["0.bias"]), p["1.weight"])
    inner = norm_of(linear(h, p["2.0.weight"]), p["2.1.weight"], p["2.1.bias"]).relu()
    assert inner.shape == (6, 32)
    h = h + norm_of(linear(inner, p["2.3.weight"]), p["2.4.weight"], p["2.4.bias"]).relu()
    h = p["3.weight"] * h / (h.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
    th.testing.assert_close(network(x), linear(h, p["4.weight"], p["4.bias"]))
    assert [name for name in p if name.endswith("bias")] == ["0.bias", "2.1.bias", "2.4.bias", "4.bias"]


def test_xqc():
    network, x = training(make("xqc", net_arch=(8, 6))), th.randn(6, 5)
    p = weights(network)
    h = norm_of(x, p["0.weight"], p["0.bias"])
    for layer in (1, 4):
        scale, shift = p[f"{layer + 1}.weight"], p[f"{layer + 1}.bias"]
        h = norm_of(linear(h, p[f"{layer}.weight"]), scale, shift).relu()
    th.testing.assert_close(network(x), linear(h, p["7.weight"], p["7.bias"]))


@pytest.mark.parametrize("blocks", NAMES)
@pytest.mark.parametrize("width", [64, 512])
def test_weights_begin_as_the_papers_say(blocks, width):
    th.manual_seed(0)
    hidden, kind = HiddenLayers(blocks=blocks, batch_norm=NAMES[blocks]), BLOCKS[blocks]
    network = make_mlp(width, 5, [width, width], nn.ReLU, hidden)
    inside = [layer for block in network if isinstance(block, Residual) for layer in block]
    for layer in network.modules():
        if not isinstance(layer, nn.Linear):
            continue
        if layer in inside and kind.inner_gain is None:
            assert layer.weight.std().item() == pytest.approx((2 / layer.in_features) ** 0.5, rel=0.05)
        else:
            gain = kind.inner_gain if layer in inside else kind.gain
            n = min(layer.weight.shape)
            product = layer.weight @ layer.weight.T if layer.out_features == n else layer.weight.T @ layer.weight
            th.testing.assert_close(product.detach(), gain**2 * th.eye(n), atol=1e-4, rtol=1e-4)
        assert layer.bias is None or not layer.bias.any()
    n_blocks = 2 if kind.is_residual else 0
    assert sum(isinstance(module, Residual) for module in network) == n_blocks


@pytest.mark.parametrize("blocks", NAMES)
def test_actor_and_critics_have_them(blocks):
    policy_kwargs = {"net_arch": {"pi": [8], "qf": [16, 16]}, "blocks": blocks, "batch_norm": NAMES[blocks] is not None}
    model = SoftAC("MlpPolicy", Target(), **SMALL | {"policy_kwargs": policy_kwargs, "diagnostics": "full"}).learn(40)
    assert model.actor.latent_dim == 8
    if BLOCKS[blocks].is_residual:
        stacks = {"actor": model.actor.latent_pi, "critic": model.critic.qf1, "target": model.critic_target.qf0}
        counts = {name: sum(isinstance(each, Residual) for each in stack) for name, stack in stacks.items()}
        assert counts == {"actor": 1, "critic": 2, "target": 2}
    assert model.critic.qf0[-1].in_features == 16


def test_the_health_of_a_block_is_that_of_its_units():
    network = make("simba", net_arch=(8, 8))
    assert [layer.shape for layer in hidden_layers(network, th.randn(6, 5))] == [(6, 32), (6, 32)]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"blocks": "simba", "net_arch": [8, 16]}, r"`net_arch` must have the same units.*\[8, 16\]"),
        ({"blocks": "simba", "net_arch": {"pi": [8], "qf": []}}, r"`net_arch` must have the same units.*\[\]"),
        ({"blocks": "xqc", "net_arch": [], "batch_norm": True}, "`net_arch` must have the units of each block"),
        ({"blocks": "flashsac"}, "`blocks='flashsac'` needs batch normalisation.*pass True"),
        ({"blocks": "bro", "batch_norm": True}, "has layer normalisation in place of.*pass False"),
        ({"blocks": "simba", "layer_norm": True}, "leave `layer_norm` and `dropout` out"),
        ({"blocks": "simba", "dropout": 0.1}, "leave `layer_norm` and `dropout` out"),
        ({"blocks": "resnet"}, "`blocks` must be"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SoftAC("MlpPolicy", Target(), buffer_size=10, policy_kwargs={"net_arch": [8]} | kwargs)


# Layers with weight decay


def decays(model: SoftAC, name: str) -> dict[int, float]:
    groups = getattr(model, name).optimizer.param_groups
    return {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}


def test_only_the_chosen_layers_have_weight_decay():
    policy_kwargs = {
        **{"net_arch": [8], "batch_norm": True, "optimizer_class": th.optim.AdamW},
        **{"optimizer_kwargs": {"weight_decay": 0.01}, "decayed_layers": ["output", "norm"]},
    }
    model = ready(SoftAC("MlpPolicy", Target(), buffer_size=10, policy_kwargs=policy_kwargs))
    decay = decays(model, "critic")
    assert decay.keys() == {id(parameter) for parameter in model.critic.parameters()}
    norm, hidden, _, second_norm, output = model.critic.qf0
    for layer, expected in ((norm, 0.01), (hidden, 0.0), (second_norm, 0.01), (output, 0.01)):
        assert {decay[id(parameter)] for parameter in layer.parameters()} == {expected}
    decay = decays(model, "actor")
    assert {decay[id(parameter)] for parameter in model.actor.mu.parameters()} == {0.01}
    assert {decay[id(parameter)] for parameter in model.actor.latent_pi[1].parameters()} == {0.0}


@pytest.mark.parametrize("kwargs", [{}, {"optimizer_kwargs": {"weight_decay": 0.0}}], ids=str)
def test_chosen_layers_need_a_weight_decay(kwargs):
    with pytest.raises(ValueError, match=r"`decayed_layers=.*weight_decay=0.01"):
        SoftAC("MlpPolicy", Target(), buffer_size=10, policy_kwargs=kwargs | {"decayed_layers": ["output"]})


@pytest.mark.parametrize("value", ["output", [], ["last"], 3])
def test_other_kinds_of_layers_are_refused(value):
    with pytest.raises(ValueError, match="`decayed_layers` must be"):
        SoftAC("MlpPolicy", Target(), buffer_size=10, policy_kwargs={"decayed_layers": value})
