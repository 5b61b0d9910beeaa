"""The protocol of an update: one gradient step of a variant."""

from collections.abc import Hashable
from typing import Protocol

import torch as th

from sb3_softac.updates.batch import Batch


class Update(Protocol):
    """One gradient step of a variant."""

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        """Update the networks that are due and return what to log, each () and on the device."""

    def phase(self, n_updates: int) -> Hashable:
        """What this step does that not every step does; steps of one phase are the same operations."""
