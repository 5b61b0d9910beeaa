"""Fully connected networks: their layers, and their computation as plain modules or as one autograd node."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_softac.networks.batch_renorm import MakeNorm
from sb3_softac.networks.fused import stack as fused
from sb3_softac.networks.fused.ensemble import Ensemble, fits, lay_side_by_side
from sb3_softac.networks.fused.unchanged import Unchanged, has_own_calls
from sb3_softac.networks.observations import preprocess
from sb3_softac.networks.residual import BLOCKS, block_modules

# Without gradients, fewer rows than this are faster module by module.
MIN_ROWS = 32


class MLP(nn.Sequential):
    """Fully connected network, computed module by module or as one node of the autograd graph.

    The modules and the names of their parameters are those of Stable-Baselines3's ``create_mlp``.

    :param modules: in the order of the computation
    """

    #: True for actors: in evaluation mode they are computed in float32 even with ``precision="bfloat16"``
    acts = False
    _stack: fused.Stack | None = None
    _ensemble: Ensemble | None = None
    _stacks_with_heads: dict[tuple[nn.Module, ...], fused.Stack]
    _is_unchanged: Unchanged

    def compute_plainly(self) -> None:
        """Switch to a computation module by module."""
        self._stack = self._ensemble = None

    def compute_fused(self, dtype: th.dtype | None = None) -> None:
        """Switch to a computation as one node of the autograd graph.

        :param dtype: dtype of the operands of matrix products; None: that of the parameters
        :raises ValueError: a layer has no written-out gradient
        """
        device = next((parameter.device for parameter in self.parameters()), th.device("cpu"))
        self._stack = fused.Stack(self, device, dtype)
        self._stacks_with_heads = {}
        self._is_unchanged = Unchanged(self.modules())

    @property
    def is_fused(self) -> bool:
        """Whether the network is computed as one node of the autograd graph."""
        return self._node() is not None

    def _node(self) -> fused.Stack | None:
        """Stack that computes the network as one node; None for plain modules, also after a user changed one."""
        return self._stack if self._stack is not None and self._is_unchanged() else None

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Outputs of the network.

        :param x: (B, I)
        :return: (B, O)
        """
        node = self._node() if self._runs_fused(x) else None
        return super().forward(x) if node is None else fused.run([node], x).squeeze(0)

    def _runs_fused(self, x: th.Tensor) -> bool:
        acting = self.acts and not self.training
        is_rounded = self._stack is not None and self._stack.dtype is not None
        return runs_fused(x) and not (acting and is_rounded)

    def with_heads(self, x: th.Tensor, *heads: nn.Module) -> tuple[th.Tensor, ...]:
        """Outputs of several layers on top of this network.

        :param x: (B, I)
        :param heads: the layers
        :return: for each head, (B, its outputs)
        """
        linear = plain_linears(heads)
        if not self._runs_fused(x) or not self.is_fused or len(linear) < len(heads):
            latent = self(x)
            return tuple(head(latent) for head in heads)
        return fused.run([self._stack_with(linear)], x).squeeze(0).split([head.out_features for head in linear], dim=-1)

    def _stack_with(self, heads: Sequence[nn.Linear]) -> fused.Stack:
        assert self._stack is not None
        stack = self._stacks_with_heads.get(tuple(heads))
        if stack is None:
            stack = fused.Stack(self, heads[0].weight.device, self._stack.dtype, heads)
            self._stacks_with_heads[tuple(heads)] = stack
        return stack

    def partly_trained(self, x: th.Tensor, n_trained: int, *heads: nn.Linear) -> tuple[th.Tensor, th.Tensor]:
        """Outputs of linear layers on top of this network, with gradient for the first rows only, in one node.

        :param x: (B, I), gets no gradient
        :param n_trained: number of rows whose outputs have a gradient
        :param heads: the linear layers, whose outputs stand side by side
        :return: (n_trained, O) with gradient, and (B - n_trained, O) without
        """
        return fused.run_partly_trained(self._stack_with(heads), x, n_trained)

    @staticmethod
    def ensemble(networks: Sequence[nn.Module], *parts: th.Tensor) -> th.Tensor:
        """Outputs of N networks of one structure for the same input.

        :param networks: N networks
        :param parts: (B, I) in all, side by side; where only the last parts need a gradient, it is computed for them
        :return: (N, B, O)
        """
        nodes = [network._node() for network in networks if isinstance(network, MLP)] if runs_fused(parts[0]) else []
        stacks = [node for node in nodes if node is not None]
        if len(stacks) < len(networks):
            x = fused.side_by_side(parts)
            return th.stack([network(x) for network in networks])
        ensemble: Any = networks[0]._ensemble
        is_joined = ensemble is not None and ensemble.stacks == stacks
        return ensemble.run(*parts) if is_joined else fused.run(stacks, *parts)

    @staticmethod
    def join(networks: Sequence[nn.Module]) -> None:
        """Let :meth:`ensemble` compute networks together, layer by layer, if they can be; their parameters are moved.

        :param networks: N networks of one structure
        """
        stacks = [network._stack for network in networks if isinstance(network, MLP) and network._stack is not None]
        if len(stacks) == len(networks) and fits(stacks):
            lay_side_by_side(networks)
            networks[0].__dict__["_ensemble"] = Ensemble(stacks)


def runs_fused(x: th.Tensor) -> bool:
    """Whether one autograd node is faster than plain modules: with gradients, or for at least ``MIN_ROWS`` rows.

    :param x: (B, I)
    """
    if th.jit.is_tracing() or th.compiler.is_exporting():  # an export needs PyTorch's own operations
        return False
    return th.is_grad_enabled() or x.shape[0] >= MIN_ROWS


def plain_linears(modules: Iterable[nn.Module]) -> list[nn.Linear]:
    """Select the modules that can be heads of one autograd node: linear layers with a bias, without calls of their own.

    Every pass asks again, since a user may register a hook at any time.

    :param modules: any modules
    """
    return [
        module
        for module in modules
        if type(module) is nn.Linear and module.bias is not None and not has_own_calls(module)
    ]


class VectorShortcut(BaseModel):
    """Base class that skips preprocessing and ``FlattenExtractor`` for float32 vectors: they are features already."""

    #: Whether the loss of this network trains its features extractor. If not, features have no gradient.
    trains_features = True
    _known_extractor: BaseFeaturesExtractor | None = None
    _features_are_observations = False

    def extract_features(self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor) -> th.Tensor:
        """Features of the observations; float32 vectors are returned as they are.

        :param obs: observations, first dimension B
        :param features_extractor: maps preprocessed observations to (B, features_dim)
        :return: (B, features_dim)
        """
        if features_extractor is not self._known_extractor:  # the first call, or a user replaced the extractor
            self._inspect_extractor(features_extractor)
        if self._features_are_observations and obs.dtype is th.float32:  # type: ignore[union-attr]
            return obs  # type: ignore[return-value]
        with th.set_grad_enabled(self.trains_features and th.is_grad_enabled()):
            return features_extractor(preprocess(obs, self.observation_space, self.normalize_images))

    def takes_vectors(self, features_extractor: BaseFeaturesExtractor) -> bool:
        """Whether observations are vectors that need no features extractor.

        :param features_extractor: maps preprocessed observations to (B, features_dim)
        """
        self._inspect_extractor(features_extractor)
        return self._features_are_observations

    def _inspect_extractor(self, features_extractor: BaseFeaturesExtractor) -> None:
        # Past `setattr`, which would register the extractor as a submodule of this name.
        self.__dict__["_known_extractor"] = features_extractor
        is_vector = type(self.observation_space) is spaces.Box and len(self.observation_space.shape) == 1
        self._features_are_observations = is_vector and type(features_extractor) is FlattenExtractor


@dataclass(frozen=True)
class HiddenLayers:
    """Normalisation, dropout and norm of the linear layers of a network.

    :param layer_norm: normalise each hidden layer before its activation
    :param dropout: probability that a hidden unit is set to zero in training mode
    :param batch_norm: function from a number of features to a layer of batch renormalisation; None: no such layers
    :param blocks: a key of :data:`~sb3_softac.networks.residual.BLOCKS`; None: plain layers
    :param unit_norm: weights of a fixed norm, see :class:`~sb3_softac.networks.unit_norm.UnitNorm`; None: none
    """

    layer_norm: bool = False
    dropout: float = 0.0
    batch_norm: MakeNorm | None = None
    blocks: str | None = None
    unit_norm: str | None = None


PLAIN = HiddenLayers()


def make_mlp(
    input_dim: int,
    output_dim: int,
    net_arch: list[int],
    activation_fn: type[nn.Module],
    hidden: HiddenLayers = PLAIN,
) -> MLP:
    """Make a fully connected network.

    A hidden layer is linear, dropout, layer normalisation, activation, in the order of arXiv:2110.02034. Batch
    renormalisation acts on the inputs and on the outputs of every hidden layer, as in arXiv:1902.05605.

    :param input_dim: I
    :param output_dim: O; -1: no output layer, the last hidden layer is the output
    :param net_arch: units of the hidden layers
    :param activation_fn: activation of the hidden layers
    :param hidden: normalisation and dropout of the hidden layers
    """
    if hidden.blocks is not None:
        kind = BLOCKS[hidden.blocks]
        return MLP(*block_modules(kind, input_dim, output_dim, net_arch, activation_fn, hidden.batch_norm))
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
