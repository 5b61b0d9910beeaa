"""Heads of critics: they turn the outputs of the last layer into values. Targets and losses are in ``updates/td.py``.

Shapes: M outputs for each action.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch as th
from torch import nn

from sb3_softac.settings.parsing import FINITE, POSITIVE, number, whole_number
from sb3_softac.settings.rows import check_known


class Head(Protocol):
    """Head of a critic: turns the M outputs for an action into a value."""

    #: M, number of outputs for each action
    n_outputs: int

    def values(self, outputs: th.Tensor) -> th.Tensor:
        """Values, or expected returns, of the outputs.

        :param outputs: (..., M)
        :return: (...)
        """


class ScalarHead:
    """Head of a critic whose single output is the value."""

    n_outputs = 1

    def values(self, outputs: th.Tensor) -> th.Tensor:
        """Remove the last dimension of size 1; see :class:`Head`."""
        return outputs.squeeze(-1)


class CategoricalHead(nn.Module):
    """Head of a critic whose outputs are the logits of M evenly spaced returns, its atoms.   arXiv:1707.06887

    :param n_atoms: M
    :param low: first atom. Returns that are smaller are clipped: ``max_normalized_return`` keeps them inside
    :param high: last atom
    :raises ValueError: fewer than two atoms, or a range that is not one
    """

    atoms: th.Tensor  #: (M,)

    def __init__(self, n_atoms: int = 101, low: float = -5.0, high: float = 5.0) -> None:
        super().__init__()
        self.n_outputs = whole_number("n_atoms", n_atoms, minimum=2)
        low, high = number("low", low, FINITE), number("high", high, FINITE)
        if low >= high:
            raise ValueError(f"`low` must be below `high`, but low={low} and high={high} were given")
        self.register_buffer("atoms", th.linspace(low, high, self.n_outputs), persistent=False)

    def values(self, outputs: th.Tensor) -> th.Tensor:
        """Mean of the distribution; see :class:`Head`."""
        return (outputs.softmax(dim=-1) * self.atoms).sum(dim=-1)


class HLGaussHead(CategoricalHead):
    """Categorical head that learns from a Gaussian around the target of its mean.   arXiv:2403.03950

    :param n_atoms: M
    :param low: first atom
    :param high: last atom
    :param deviation: standard deviation of the Gaussian, in distances of two atoms
    """

    def __init__(self, n_atoms: int = 101, low: float = -5.0, high: float = 5.0, deviation: float = 0.75) -> None:
        super().__init__(n_atoms, low, high)
        self.deviation = number("deviation", deviation, POSITIVE)


class QuantileHead:
    """Head of a critic whose outputs are M quantiles of the return.   arXiv:2005.04269

    :param n_quantiles: M
    :param n_dropped: of the quantiles of all critics together, the largest that a target leaves out, for each critic.
        More: lower targets
    :raises ValueError: no quantile is left
    """

    def __init__(self, n_quantiles: int = 25, n_dropped: int = 2) -> None:
        self.n_outputs = whole_number("n_quantiles", n_quantiles)
        self.n_dropped = whole_number("n_dropped", n_dropped, 0, self.n_outputs - 1)

    def values(self, outputs: th.Tensor) -> th.Tensor:
        """Mean of the quantiles; see :class:`Head`."""
        return outputs.mean(dim=-1)


#: heads by the name of the kind of critic; targets and losses are in :mod:`sb3_softac.updates.td`
HEADS: dict[str, type[Head]] = {
    "scalar": ScalarHead,
    "categorical": CategoricalHead,
    "hl_gauss": HLGaussHead,
    "quantile": QuantileHead,
}


def make_head(name: str, kwargs: Mapping[str, Any]) -> Head:
    """Make a head.

    :param name: a key of :data:`HEADS`
    :param kwargs: its arguments
    :raises ValueError: arguments that the head does not take
    """
    check_known("critic_head_kwargs", kwargs, HEADS[name])
    try:
        return HEADS[name](**kwargs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`critic_head_kwargs={dict(kwargs)}` of `critic_head={name!r}`: {error}") from None
