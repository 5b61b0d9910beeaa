"""Weights of unit norm: a projection after each optimizer step, so that only the learning rate sets how fast they turn.

Where a normalisation follows, the length of a weight vector changes no output. It only grows, and so slows learning
down.   arXiv:2502.07523
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch as th
from torch import nn

from sb3_softac.networks.blocks import HiddenLayers
from sb3_softac.networks.layer_kinds import layers_by_kind

#: vectors that are projected together: matrices with as many rows, (R, ...) each, and the norm of a row of all of them
Rows = tuple[list[th.Tensor], float]
# No row is as short as this; one of zeros stays as it is.
SMALLEST = 1e-16


@th.no_grad()
def project_(parts: Sequence[th.Tensor], norm: float) -> None:
    """Give each row of some matrices, side by side, a norm; in place.   arXiv:2502.07523

    :param parts: (R, ...) each
    :param norm: Euclidean norm of each of the R rows
    """
    squared = parts[0].square().sum(dim=1, keepdim=True)
    for part in parts[1:]:
        squared = squared + part.square().sum(dim=1, keepdim=True)
    factor = squared.clamp_min(SMALLEST).rsqrt() * norm
    for part in parts:
        part.mul_(factor)


class UnitNorm:
    """Projection of a network's weights. A features extractor is left out, and so is what a user froze.

    :param network: actor, critics or state value
    :param layers: ``"hidden"``: each row of a hidden layer, with its bias, has norm 1 (arXiv:2502.07523).
        ``"linear"``: each row of an output layer, too, without its bias (arXiv:2509.25174). ``"all"``: scale and shift
        of each normalisation of d features, too, together have norm sqrt(d) (arXiv:2604.04539)
    """

    def __init__(self, network: nn.Module, layers: str) -> None:
        kinds = layers_by_kind(network)
        self._hidden: list[Any] = kinds["hidden"]
        self._outputs: list[Any] = kinds["output"] if layers in ("linear", "all") else []
        self._norms: list[Any] = kinds["norm"] if layers == "all" else []

    def __call__(self) -> None:
        """Project the weights as they are now."""
        for parts, norm in self._rows():
            if all(part.requires_grad for part in parts):
                project_([part.detach() for part in parts], norm)

    def _rows(self) -> Iterator[Rows]:
        # Made anew at each call, since a user may put another tensor in the place of a parameter's.
        for layer in self._hidden:
            yield [layer.weight, *([] if layer.bias is None else [layer.bias.unsqueeze(1)])], 1.0
        for layer in self._outputs:
            yield [layer.weight], 1.0
        for norm in self._norms:
            parts = [norm.weight, getattr(norm, "bias", None)]
            yield [part.unsqueeze(0) for part in parts if part is not None], norm.weight.numel() ** 0.5


def unit_norm_of(network: nn.Module, hidden: HiddenLayers) -> UnitNorm | None:
    """Projection of a network's weights; None if there is to be none.

    :param network: actor, critics or state value
    :param hidden: of the network
    """
    return None if hidden.unit_norm is None else UnitNorm(network, hidden.unit_norm)
