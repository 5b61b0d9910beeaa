"""Fully connected networks: what they are made of, and how they are computed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_softac.networks.batch_renorm import MakeNorm
from sb3_softac.networks.fused import stack as fused
from sb3_softac.networks.fused.unchanged import Unchanged, has_hooks
from sb3_softac.networks.observations import preprocess

# Fewer rows are computed module by module, where no gradient is asked for.
MIN_ROWS = 32


class MLP(nn.Sequential):
    """Fully connected layers; plain, or as one node of the autograd graph.

    The modules and the names of their parameters are those of Stable-Baselines3's ``create_mlp``.

    :param modules: in the order of the computation
    """

    #: True for actors: while evaluating, they are computed in float32 even with ``precision="bfloat16"``
    acts = False
    _stack: fused.Stack | None = None
    _stacks_with_heads: dict[tuple[nn.Module, ...], fused.Stack]
    _is_unchanged: Unchanged

    def compute_plainly(self) -> None:
        """Compute module by module from now on."""
        self._stack = None

    def compute_fused(self, dtype: th.dtype | None = None) -> None:
        """Compute as one node of the autograd graph from now on.

        :param dtype: of the operands of matrix products; None: the parameters' own
        :raises ValueError: a layer without a written-out gradient
        """
        device = next((parameter.device for parameter in self.parameters()), th.device("cpu"))
        self._stack = fused.Stack(self, device, dtype)
        self._stacks_with_heads = {}
        self._is_unchanged = Unchanged(self.modules())

    @property
    def is_fused(self) -> bool:
        """Whether the network is one node."""
        return self._node() is not None

    def _node(self) -> fused.Stack | None:
        """What computes the network as one node; None for modules, as they are if a user changed one since."""
        return self._stack if self._stack is not None and self._is_unchanged() else None

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Outputs (B, O) for inputs (B, I)."""
        node = self._node() if self._runs_fused(x) else None
        return super().forward(x) if node is None else fused.run([node], x)[0]

    def _runs_fused(self, x: th.Tensor) -> bool:
        acting = self.acts and not self.training
        is_rounded = self._stack is not None and self._stack.dtype is not None
        return runs_fused(x) and not (acting and is_rounded)

    def with_heads(self, x: th.Tensor, *heads: nn.Module) -> tuple[th.Tensor, ...]:
        """Outputs of further layers on top of this network.

        :param x: (B, I)
        :param heads: modules on its outputs
        :return: for each head, (B, its outputs)
        """
        linear = plain_linears(heads)
        if not self._runs_fused(x) or not self.is_fused or len(linear) < len(heads):
            latent = self(x)
            return tuple(head(latent) for head in heads)
        return fused.run([self._stack_with(linear)], x)[0].split([head.out_features for head in linear], dim=-1)

    def _stack_with(self, heads: Sequence[nn.Linear]) -> fused.Stack:
        assert self._stack is not None
        stack = self._stacks_with_heads.get(tuple(heads))
        if stack is None:
            stack = fused.Stack(self, heads[0].weight.device, self._stack.dtype, heads)
            self._stacks_with_heads[tuple(heads)] = stack
        return stack

    def partly_trained(self, x: th.Tensor, n_trained: int, *heads: nn.Linear) -> tuple[th.Tensor, th.Tensor]:
        """Outputs of linear heads side by side, as one node, with gradients for the first rows only.

        :param x: (B, I), which gets no gradient
        :param n_trained: rows that do
        :param heads: on top of this network
        :return: (n_trained, O), and (B - n_trained, O) without gradient
        """
        return fused.run_partly_trained(self._stack_with(heads), x, n_trained)

    @staticmethod
    def ensemble(networks: Sequence[nn.Module], x: th.Tensor) -> th.Tensor:
        """Outputs of N networks of one structure for the same input.

        :param networks: N
        :param x: (B, I)
        :return: (N, B, O)
        """
        nodes = [network._node() for network in networks if isinstance(network, MLP)] if runs_fused(x) else []
        stacks = [node for node in nodes if node is not None]
        if len(stacks) < len(networks):
            return th.stack([network(x) for network in networks])
        return fused.run(stacks, x)


def runs_fused(x: th.Tensor) -> bool:
    """Whether one node is faster than plain modules: with gradients, or for at least ``MIN_ROWS`` rows.

    :param x: (B, I)
    """
    if th.jit.is_tracing() or th.compiler.is_exporting():  # for export, which knows PyTorch's operations only
        return False
    return th.is_grad_enabled() or x.shape[0] >= MIN_ROWS


def plain_linears(modules: Iterable[nn.Module]) -> list[nn.Linear]:
    """Those modules that can be the heads of one node: linear, with a bias, and nothing else to call.

    :param modules: asked anew at each pass: hooks come and go
    """
    return [
        module for module in modules if type(module) is nn.Linear and module.bias is not None and not has_hooks(module)
    ]


class VectorShortcut(BaseModel):
    """Skips preprocessing and ``FlattenExtractor`` for float32 vector observations, which are their own features."""

    _known_extractor: BaseFeaturesExtractor | None = None
    _features_are_observations = False

    def extract_features(self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor) -> th.Tensor:
        """Preprocess and extract, where there is anything to do.

        :param obs: observations, first dimension B
        :param features_extractor: maps preprocessed observations to (B, features_dim)
        :return: (B, features_dim)
        """
        if features_extractor is not self._known_extractor:  # the first one, or another in its place
            self._inspect_extractor(features_extractor)
        if self._features_are_observations and obs.dtype is th.float32:  # type: ignore[union-attr]
            return obs  # type: ignore[return-value]
        return features_extractor(preprocess(obs, self.observation_space, self.normalize_images))

    def takes_vectors(self, features_extractor: BaseFeaturesExtractor) -> bool:
        """Whether there is nothing to extract: observations are vectors of features.

        :param features_extractor: maps preprocessed observations to (B, features_dim)
        """
        self._inspect_extractor(features_extractor)
        return self._features_are_observations

    def _inspect_extractor(self, features_extractor: BaseFeaturesExtractor) -> None:
        # Not by `setattr`, which would make the extractor a submodule of this name.
        self.__dict__["_known_extractor"] = features_extractor
        is_vector = type(self.observation_space) is spaces.Box and len(self.observation_space.shape) == 1
        self._features_are_observations = is_vector and type(features_extractor) is FlattenExtractor


@dataclass(frozen=True)
class HiddenLayers:
    """What stands around the linear layers of a network.

    :param layer_norm: normalise each hidden layer before its activation
    :param dropout: probability that a hidden unit is left out while training
    :param batch_norm: makes a layer of batch renormalisation for a number of features; None for none
    """

    layer_norm: bool = False
    dropout: float = 0.0
    batch_norm: MakeNorm | None = None


PLAIN = HiddenLayers()


def make_mlp(
    input_dim: int,
    output_dim: int,
    net_arch: list[int],
    activation_fn: type[nn.Module],
    hidden: HiddenLayers = PLAIN,
) -> MLP:
    """A fully connected network.

    In each hidden layer: linear, dropout, layer normalisation, activation, in the order of arXiv:2110.02034. Batch
    renormalisation is of the inputs and of every hidden layer's outputs, as in arXiv:1902.05605.

    :param input_dim: I
    :param output_dim: O; -1 for none, so that the last hidden layer is the output
    :param net_arch: units of the hidden layers
    :param activation_fn: activation of the hidden layers
    :param hidden: what stands around the linear layers
    """
    after_linear: list = [lambda _: nn.Dropout(hidden.dropout)] if hidden.dropout > 0.0 else []
    after_linear += [nn.LayerNorm] if hidden.layer_norm else []
    before_linear: list = [] if hidden.batch_norm is None else [hidden.batch_norm]
    modules = create_mlp(
        input_dim,
        output_dim,
        net_arch,
        activation_fn,
        pre_linear_modules=before_linear,
        post_linear_modules=after_linear,
    )
    if output_dim == -1:  # the linear layers that follow are the heads
        modules += [make(net_arch[-1] if net_arch else input_dim) for make in before_linear]
    return MLP(*modules)
