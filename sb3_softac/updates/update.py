"""Protocol of an update: one gradient step of a variant."""

from collections.abc import Hashable
from typing import Protocol

import torch as th

from sb3_softac.updates.batch import Batch


class Update(Protocol):
    """One gradient step of a variant."""

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        """Update the networks that are due.

        :param batch: B transitions
        :param n_updates: gradient steps done in the whole run, this one included
        :return: metrics to log, each () and on the device
        """

    def is_measured(self, n_updates: int) -> bool:
        """Whether a step has further metrics. Such steps are few, so that it does not pay to capture them.

        :param n_updates: gradient steps done in the whole run, this one included
        """

    def phase(self, n_updates: int) -> Hashable:
        """Key for the sequence of operations of this step, e.g. "targets move, actor waits".

        Steps with equal keys can share one captured graph.

        :param n_updates: gradient steps done in the whole run, this one included
        """
