"""Engines run an update again and again, and hold its metrics on the device until they are asked for."""

from typing import Protocol

import torch as th

from sb3_softac.updates.batch import Batch


class Update(Protocol):
    """One gradient step of a variant."""

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        """Update every network once and return what to log, each () and on the device."""


class EagerEngine:
    """Runs the update operation by operation: the reference that every other engine must equal.

    :param update: one gradient step of a variant
    """

    def __init__(self, update: Update) -> None:
        self._update = update
        self._metrics: list[dict[str, th.Tensor]] = []

    def update(self, batch: Batch, n_updates: int) -> None:
        """One gradient step, without a synchronisation of host and device.

        :param batch: B transitions
        :param n_updates: gradient steps done in the whole run, this one included
        """
        self._metrics.append(self._update(batch, n_updates))

    def read_metrics(self) -> dict[str, float]:
        """Mean of each metric since the last call, in one transfer from the device."""
        metrics, self._metrics = self._metrics, []
        if not metrics:
            return {}
        names = list(metrics[0])
        means = th.stack([th.stack([step[name] for name in names]) for step in metrics]).mean(dim=0)
        return dict(zip(names, means.tolist(), strict=True))
