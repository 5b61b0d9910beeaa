"""Heads of critics: they turn the outputs of the last layer into values. A distributional critic is one more head.

Shapes: M outputs for each action.
"""

from typing import Protocol

import torch as th


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


#: heads by the name of the kind of critic; targets and losses are in :mod:`sb3_softac.updates.td`
HEADS: dict[str, type[Head]] = {"scalar": ScalarHead}
