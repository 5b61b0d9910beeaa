"""Heads of critics: from the last layer's outputs to values. A distributional critic is another row of ``HEADS``.

Shapes: M outputs for each action.
"""

from typing import Protocol

import torch as th


class Head(Protocol):
    """What the outputs of a critic stand for."""

    #: M, outputs for each action
    n_outputs: int

    def values(self, outputs: th.Tensor) -> th.Tensor:
        """The expected return that the outputs stand for.

        :param outputs: (..., M)
        :return: (...)
        """


class ScalarHead:
    """One output, which is the value."""

    n_outputs = 1

    def values(self, outputs: th.Tensor) -> th.Tensor:
        """The output itself; see :class:`Head`."""
        return outputs.squeeze(-1)


#: by the word that names the kind of critic; its target and loss are in :mod:`sb3_softac.updates.td`
HEADS: dict[str, type[Head]] = {"scalar": ScalarHead}
