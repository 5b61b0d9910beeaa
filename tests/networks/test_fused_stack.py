"""A network as one node computes what its modules compute, and the same gradients."""

import copy
from functools import partial

import pytest
import torch as th
from torch import nn

from sb3_softac.networks.batch_renorm import BatchRenorm, layers_of
from sb3_softac.networks.blocks import MLP, HiddenLayers, make_mlp
from sb3_softac.networks.fused import products as products_module
from sb3_softac.networks.fused.products import OneDnnProducts, TorchProducts, choose_products, onednn_is_available

make_norm = partial(BatchRenorm, momentum=0.1)
ARCHITECTURES = {
    "relu": {"activation_fn": nn.ReLU},
    "tanh": {"activation_fn": nn.Tanh},
    "sigmoid": {"activation_fn": nn.Sigmoid},
    "silu": {"activation_fn": nn.SiLU},
    "layer norm": {"activation_fn": nn.ReLU, "hidden": HiddenLayers(layer_norm=True)},
    "batch norm": {"activation_fn": nn.ReLU, "hidden": HiddenLayers(batch_norm=make_norm)},
    "batch norm, layer norm, tanh": {
        "activation_fn": nn.Tanh,
        "hidden": HiddenLayers(batch_norm=make_norm, layer_norm=True),
    },
    "simba": {"activation_fn": nn.ReLU, "net_arch": [8, 8], "hidden": HiddenLayers(blocks="simba")},
    "bro": {"activation_fn": nn.ReLU, "net_arch": [8], "hidden": HiddenLayers(blocks="bro")},
    "flashsac": {
        **{"activation_fn": nn.ReLU, "net_arch": [8, 8]},
        "hidden": HiddenLayers(blocks="flashsac", batch_norm=make_norm),
    },
    "xqc": {"activation_fn": nn.ReLU, "hidden": HiddenLayers(blocks="xqc", batch_norm=make_norm)},
    "simba, tanh": {"activation_fn": nn.Tanh, "net_arch": [6, 6], "hidden": HiddenLayers(blocks="simba")},
    "dropout": {"activation_fn": nn.ReLU, "hidden": HiddenLayers(dropout=0.3)},
    "dropout, layer norm, tanh": {"activation_fn": nn.Tanh, "hidden": HiddenLayers(dropout=0.2, layer_norm=True)},
    "no hidden layer": {"activation_fn": nn.ReLU, "net_arch": []},
    "one hidden layer": {"activation_fn": nn.ReLU, "net_arch": [7]},
}


def make(name: str = "relu", output_dim: int = 3, seed: int = 0) -> MLP:
    th.manual_seed(seed)
    network = make_mlp(5, output_dim, **({"net_arch": [16, 12]} | ARCHITECTURES[name])).double()
    with th.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * th.randn_like(parameter))  # so that no weight of a normalisation is 1
        for layer in layers_of(network):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2.0)
            layer.num_batches_tracked.fill_(20_000)  # some of its features are corrected by the limits, some by less
    return network


def gradients(
    networks: list[MLP], compute, is_fused: bool, x: th.Tensor, dtype: th.dtype | None = None
) -> list[th.Tensor]:
    """The output, and the gradients of a loss of it, of the input and of every parameter; then what was learnt
    without a gradient, which is forgotten again."""
    before = [network.state_dict(keep_vars=False) for network in copy.deepcopy(networks)]
    for network in networks:
        if is_fused:
            network.compute_fused(dtype)
        else:
            network.compute_plainly()
        network.zero_grad()
    x = x.clone().requires_grad_(True)
    th.manual_seed(1)
    output = compute(x)
    (output.sin() * th.arange(output.numel()).view(output.shape)).sum().backward()
    parameters = [parameter for network in networks for parameter in network.parameters()]
    buffers = [buffer.clone() for network in networks for buffer in network.buffers()]
    for network, state in zip(networks, before, strict=True):
        network.load_state_dict(state)
    return [output.detach(), x.grad, *[parameter.grad.clone() for parameter in parameters], *buffers]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_network(name):
    network, x = make(name), th.randn(40, 5, dtype=th.float64)
    plain = gradients([network], network, False, x)
    fused = gradients([network], network, True, x)
    assert all(gradient is not None for gradient in fused)
    th.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_ensemble(name):
    networks, x = [make(name, seed=seed) for seed in range(3)], th.randn(40, 5, dtype=th.float64)
    plain = gradients(networks, lambda x: MLP.ensemble(networks, x), False, x)
    fused = gradients(networks, lambda x: MLP.ensemble(networks, x), True, x)
    assert fused[0].shape == (3, 40, 3)
    th.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["relu", "tanh", "layer norm", "batch norm", "no hidden layer"])
def test_heads(name):
    network, x = make(name, output_dim=-1), th.randn(40, 5, dtype=th.float64)
    width = 5 if name == "no hidden layer" else 12
    heads = [nn.Linear(width, 2).double(), nn.Linear(width, 3).double()]

    def compute(x):
        outputs = network.with_heads(x, *heads)
        assert [output.shape for output in outputs] == [(40, 2), (40, 3)]
        return th.cat(outputs, dim=-1)

    def with_head_gradients(is_fused):
        for head in heads:
            head.zero_grad()
        own = gradients([network], compute, is_fused, x)
        return own + [parameter.grad.clone() for head in heads for parameter in head.parameters()]

    th.testing.assert_close(with_head_gradients(True), with_head_gradients(False), rtol=1e-10, atol=1e-10)


def test_heads_that_are_not_linear_stay_plain():
    network = make(output_dim=-1)
    network.compute_fused()
    head = nn.Sequential(nn.Linear(12, 2), nn.Hardtanh()).double()
    x = th.randn(40, 5, dtype=th.float64)
    th.testing.assert_close(network.with_heads(x, head)[0], head(network(x)))


def test_only_what_is_needed_is_differentiated():
    """A frozen network passes the gradient on; a frozen layer gets none; an input that needs none costs none."""
    network, x = make(), th.randn(40, 5, dtype=th.float64)
    network.compute_fused()
    network[0].weight.requires_grad_(False)
    network(x).sum().backward()
    assert network[0].weight.grad is None
    assert network[0].bias.grad is not None
    network.requires_grad_(False)
    x.requires_grad_(True)
    network(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_without_gradients_and_with_few_rows():
    network, x = make(), th.randn(40, 5, dtype=th.float64)
    expected = network(x).detach()
    network.compute_fused()
    with th.no_grad():
        th.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)
        th.testing.assert_close(network(x[:2]), expected[:2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["dropout", "batch norm"])
def test_evaluation(name):
    network, x = make(name), th.randn(40, 5, dtype=th.float64)
    network.eval()
    plain = gradients([network], network, False, x)
    fused = gradients([network], network, True, x)
    th.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-10)


def test_a_batch_that_is_normalised_together_is_not_trained_in_part():
    network = make("batch norm", output_dim=-1)
    network.compute_fused()
    with pytest.raises(ValueError, match="trained together"):
        network.partly_trained(th.randn(40, 5, dtype=th.float64), 20, nn.Linear(12, 2).double())


@pytest.mark.parametrize("name", ["relu", "layer norm", "batch norm", "dropout"])
def test_bfloat16_products_are_close_and_parameters_stay_float32(name):
    network, x = make(name).float(), th.randn(64, 5)
    plain = gradients([network], network, False, x)
    low = gradients([network], network, True, x, th.bfloat16)
    assert {tensor.dtype for tensor in low if tensor.is_floating_point()} == {th.float32}
    if name == "dropout":
        return  # draws its masks in another precision
    for exact, rounded in zip(plain, low, strict=True):
        assert (exact - rounded).float().norm() <= 0.1 * exact.float().norm()


@pytest.mark.parametrize(
    ("capability", "told", "single", "low"),
    [
        ("AVX512", "vendor_id\t: AuthenticAMD\ncpu family\t: 26\n", OneDnnProducts, OneDnnProducts),
        ("AVX512", "vendor_id\t: AuthenticAMD\ncpu family\t: 25\n", TorchProducts, OneDnnProducts),  # Zen 4
        ("AVX512", "vendor_id\t: GenuineIntel\n", TorchProducts, OneDnnProducts),
        ("AVX2", "vendor_id\t: AuthenticAMD\n", TorchProducts, TorchProducts),
        ("AVX512", None, TorchProducts, OneDnnProducts),
    ],
)
@pytest.mark.skipif(not onednn_is_available(), reason="this PyTorch has no oneDNN")
def test_which_products_are_chosen(capability, told, single, low, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    if told is None:  # a system without that file
        monkeypatch.setattr(products_module.platform, "processor", lambda: "Intel64 Family 6 Model 85, GenuineIntel")
    else:
        path.write_text(told)
    monkeypatch.setattr(products_module, "CPU_INFO", path)
    monkeypatch.setattr(products_module, "mkl_is_as_fast", products_module.mkl_is_as_fast.__wrapped__)
    monkeypatch.setattr(th.backends.cpu, "get_cpu_capability", lambda: capability)
    cpu = th.device("cpu")
    assert type(choose_products(cpu, None, 256 * 256)) is single
    assert type(choose_products(cpu, th.bfloat16, 256 * 256)) is low
    assert type(choose_products(cpu, th.bfloat16, 64 * 64)) is TorchProducts
    assert type(choose_products(th.device("cuda"), None, 256 * 256)) is TorchProducts


@pytest.mark.skipif(not onednn_is_available(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize(("n_inputs", "width"), [(17, 256), (64, 64), (256, 17)])
def test_onednn_products(n_inputs, width):
    generator = th.Generator().manual_seed(0)
    x, grad = th.randn(256, n_inputs, generator=generator), th.randn(256, width, generator=generator)
    weight, bias = th.randn(width, n_inputs, generator=generator), th.randn(width, generator=generator)
    products, reference = OneDnnProducts(), TorchProducts()
    for relu in (False, True):
        th.testing.assert_close(
            products.linear(x, weight, bias, relu), reference.linear(x, weight, bias, relu), rtol=1e-4, atol=1e-4
        )
    th.testing.assert_close(products.grad_input(grad, weight), grad @ weight, rtol=1e-4, atol=1e-4)
    th.testing.assert_close(products.grad_weight(grad, x), grad.t() @ x, rtol=1e-4, atol=1e-4)


def test_unknown_layers_and_hooks_are_refused():
    network = MLP(nn.Linear(5, 4), nn.BatchNorm1d(4))
    with pytest.raises(ValueError, match=r"BatchNorm1d.*not one of the layers"):
        network.compute_fused()
    hooked = make()
    hooked[0].register_forward_hook(lambda *args: None)
    with pytest.raises(ValueError, match=r"hooks.*eager"):
        hooked.compute_fused()


@pytest.mark.parametrize("n_networks", [1, 3])
def test_a_network_without_parameters(n_networks):
    network = MLP()
    network.compute_fused()
    x = th.randn(40, 5)
    th.testing.assert_close(MLP.ensemble([network] * n_networks, x), th.stack([x] * n_networks))
