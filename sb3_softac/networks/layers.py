"""Fully connected networks: what they are made of, and how they are computed."""

from collections.abc import Sequence

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_softac.networks import fused
from sb3_softac.networks.products import Products

# Fewer rows are computed module by module, where no gradient is asked for.
MIN_ROWS = 32


class MLP(nn.Sequential):
    """Fully connected layers; plain, or as one node of the autograd graph.

    The modules and the names of their parameters are those of Stable-Baselines3's ``create_mlp``.

    :param modules: in the order of the computation
    """

    _products: Products | None = None
    _layers: Sequence[fused.Layer] = ()

    def compute_by(self, products: Products | None) -> None:
        """Choose how the network is computed from now on.

        :param products: one node, with these matrix products; None: module by module
        :raises ValueError: a layer without a written-out gradient
        """
        self._layers = () if products is None else fused.as_layers(list(self))
        self._products = products

    @property
    def is_fused(self) -> bool:
        """Whether the network is one node."""
        return self._products is not None

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Outputs (B, O) for inputs (B, I)."""
        if not self._is_one_node(x):
            return super().forward(x)
        assert self._products is not None
        return fused.run(self._products, [self._layers], x)[0]

    def _is_one_node(self, x: th.Tensor) -> bool:
        # Acting in a few environments: without a gradient there are no nodes to save, and single rows stay float32.
        return self._products is not None and (th.is_grad_enabled() or len(x) >= MIN_ROWS)

    def with_heads(self, x: th.Tensor, *heads: nn.Module) -> tuple[th.Tensor, ...]:
        """Outputs of further layers on top of this network.

        :param x: (B, I)
        :param heads: modules on its outputs
        :return: for each head, (B, its outputs)
        """
        linear = [head for head in heads if type(head) is nn.Linear]
        if len(linear) < len(heads) or not self._is_one_node(x):
            latent = self(x)
            return tuple(head(latent) for head in heads)
        assert self._products is not None
        outputs = fused.run(self._products, [self._layers], x, *linear)[0]
        return outputs.split([head.out_features for head in linear], dim=-1)

    @staticmethod
    def ensemble(networks: Sequence[nn.Module], x: th.Tensor) -> th.Tensor:
        """Outputs of N networks of one structure for the same input.

        :param networks: N
        :param x: (B, I)
        :return: (N, B, O)
        """
        first = networks[0]
        if not isinstance(first, MLP) or not first._is_one_node(x):
            return th.stack([network(x) for network in networks])
        assert first._products is not None
        return fused.run(first._products, [network._layers for network in networks], x)  # type: ignore[misc]


def make_mlp(
    input_dim: int,
    output_dim: int,
    net_arch: list[int],
    activation_fn: type[nn.Module],
    layer_norm: bool = False,
    dropout: float = 0.0,
) -> MLP:
    """A fully connected network.

    In each hidden layer: linear, dropout, layer normalisation, activation, in the order of arXiv:2110.02034.

    :param input_dim: I
    :param output_dim: O; -1 for none, so that the last hidden layer is the output
    :param net_arch: units of the hidden layers
    :param activation_fn: activation of the hidden layers
    :param layer_norm: normalise each hidden layer before its activation
    :param dropout: probability that a hidden unit is left out while training
    """
    after_linear: list = [lambda _: nn.Dropout(dropout)] if dropout > 0.0 else []
    after_linear += [nn.LayerNorm] if layer_norm else []
    return MLP(*create_mlp(input_dim, output_dim, net_arch, activation_fn, post_linear_modules=after_linear))
