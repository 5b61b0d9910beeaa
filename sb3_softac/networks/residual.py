"""Fully connected networks of blocks, as newer recipes have them: their modules, and how they begin.

Shapes: I inputs, O outputs, W units of a block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch as th
from torch import nn

#: units of the inner layer of a block, for each of its outputs
EXPANSION = 4
# Of FlashSAC's code.
RMS_EPSILON = 1e-6
#: from a number of features to a layer
MakeLayer = Callable[[int], nn.Module]
#: from the class of the activation, the layer of batch normalisation and W to the modules of a block
MakeBlock = Callable[[type[nn.Module], MakeLayer, int], list[nn.Module]]


class Residual(nn.Sequential):
    """Block of modules, to whose output its input is added.   arXiv:1512.03385

    :param modules: in the order of the computation
    """

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Input plus output of the modules.

        :param x: (B, W)
        :return: (B, W)
        """
        return x + super().forward(x)


@dataclass(frozen=True)
class BlockKind:
    """Network of blocks: a row of :data:`BLOCKS`.

    :param block: makes the modules of one block
    :param is_residual: whether a block's input is added to its output. Then a linear layer leads to the first block,
        and all blocks have the same units; else a block begins with a linear layer
    :param last: layer behind the last block; None: no layer
    :param embed: modules between the first linear layer and the first block, of residual blocks
    :param normalizes_by_batch: whether the blocks, and the input, have batch normalisation. Then only outputs have a
        bias
    :param gain: of the orthogonal weights that layers begin with
    :param inner_gain: of the weights inside of residual blocks; None: those of He et al. (arXiv:1502.01852)
    """

    block: MakeBlock
    is_residual: bool = True
    last: MakeLayer | None = None
    embed: MakeBlock | None = None
    normalizes_by_batch: bool = False
    gain: float = 1.0
    inner_gain: float | None = 1.0


def _simba_block(activation: type[nn.Module], _: MakeLayer, width: int) -> list[nn.Module]:
    inner = EXPANSION * width
    return [nn.LayerNorm(width), nn.Linear(width, inner), activation(), nn.Linear(inner, width)]


def _bro_embedding(activation: type[nn.Module], _: MakeLayer, width: int) -> list[nn.Module]:
    return [nn.LayerNorm(width), activation()]


def _bro_block(activation: type[nn.Module], _: MakeLayer, width: int) -> list[nn.Module]:
    layers = [nn.Linear(width, width), nn.LayerNorm(width), activation()]
    return [*layers, nn.Linear(width, width), nn.LayerNorm(width)]


def _flashsac_block(activation: type[nn.Module], norm: MakeLayer, width: int) -> list[nn.Module]:
    inner = EXPANSION * width
    layers = [nn.Linear(width, inner, bias=False), norm(inner), activation()]
    return [*layers, nn.Linear(inner, width, bias=False), norm(width), activation()]


def _xqc_block(activation: type[nn.Module], norm: MakeLayer, width: int) -> list[nn.Module]:
    return [norm(width), activation()]


def _rms_norm(width: int) -> nn.Module:
    return nn.RMSNorm(width, eps=RMS_EPSILON)


BLOCKS = {
    "simba": BlockKind(_simba_block, last=nn.LayerNorm, inner_gain=None),
    "bro": BlockKind(_bro_block, embed=_bro_embedding, gain=2**0.5, inner_gain=2**0.5),
    "flashsac": BlockKind(_flashsac_block, last=_rms_norm, normalizes_by_batch=True),
    "xqc": BlockKind(_xqc_block, is_residual=False, normalizes_by_batch=True, gain=2**0.5),
}


def block_modules(
    kind: BlockKind,
    input_dim: int,
    output_dim: int,
    net_arch: list[int],
    activation: type[nn.Module],
    norm: MakeLayer | None,
) -> list[nn.Module]:
    """Make the modules of a network of blocks, with the weights that it begins with.

    :param kind: a row of :data:`BLOCKS`
    :param input_dim: I
    :param output_dim: O; -1: no output layer
    :param net_arch: W of each block
    :param activation: class of the activation
    :param norm: function from a number of features to a layer of batch normalisation, for kinds that have it
    """
    make_norm: Any = norm
    modules: list[nn.Module] = [make_norm(input_dim)] if kind.normalizes_by_batch else []
    has_bias = not kind.normalizes_by_batch
    widths = [input_dim, *net_arch]
    if kind.is_residual:
        modules.append(nn.Linear(input_dim, net_arch[0], bias=has_bias))
        modules += kind.embed(activation, make_norm, net_arch[0]) if kind.embed is not None else []
        modules += [Residual(*kind.block(activation, make_norm, width)) for width in net_arch]
    else:
        for before, width in zip(widths, net_arch, strict=False):
            modules += [nn.Linear(before, width, bias=has_bias), *kind.block(activation, make_norm, width)]
    modules += [] if kind.last is None else [kind.last(net_arch[-1])]
    modules += [] if output_dim == -1 else [nn.Linear(net_arch[-1], output_dim)]
    for module in modules:
        initialize(module, kind)
    return modules


@th.no_grad()
def initialize(module: nn.Module, kind: BlockKind) -> None:
    """Give linear layers the weights that they begin with, and biases of zero.

    :param module: a layer, or a block
    :param kind: a row of :data:`BLOCKS`
    """
    is_inner = isinstance(module, Residual)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            gain = kind.inner_gain if is_inner else kind.gain
            if gain is None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.orthogonal_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_blocks(
    blocks: str, net_arch: list[int] | dict[str, list[int]], batch_norm: bool, other_normalization: bool
) -> None:
    """Refuse arguments that a network of blocks cannot have.

    :param blocks: a key of :data:`BLOCKS`
    :param net_arch: units of the blocks, or a dict of those of actor and critics
    :param batch_norm: whether batch normalisation was asked for
    :param other_normalization: whether layer normalisation or dropout was asked for
    :raises ValueError: naming both arguments
    """
    kind = BLOCKS[blocks]
    for units in net_arch.values() if isinstance(net_arch, dict) else [net_arch]:
        if not units or (kind.is_residual and len(set(units)) > 1):
            same = "the same units for each block" if kind.is_residual else "the units of each block"
            raise ValueError(
                f"`net_arch` must have {same}, of which there is at least one, with `blocks={blocks!r}`: as in "
                f"[128, 128]; but {units} was given"
            )
    if batch_norm != kind.normalizes_by_batch:
        raise ValueError(
            f"`blocks={blocks!r}` {'needs' if kind.normalizes_by_batch else 'has layer normalisation in place of'} "
            f"batch normalisation, but `batch_norm={batch_norm}` was given; pass {not batch_norm}"
        )
    if other_normalization:
        raise ValueError(f"`blocks={blocks!r}` says where its networks normalise; leave `layer_norm` and `dropout` out")
