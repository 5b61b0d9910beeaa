"""Engines run an update again and again, and hold its metrics on the device until they are asked for."""

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Protocol

import torch as th

from sb3_softac.updates.batch import Batch
from sb3_softac.updates.update import Update


class Engine(Protocol):
    """Runs an update."""

    def update(self, batch: Batch, n_updates: int) -> None:
        """One gradient step, without a synchronisation of host and device.

        :param batch: B transitions
        :param n_updates: gradient steps done in the whole run, this one included
        """

    def read_metrics(self) -> dict[str, float]:
        """Mean of each metric over the steps that had it since the last call, in one transfer from the device."""


class EagerEngine:
    """Runs the update operation by operation: the reference that every other engine must equal.

    :param update: one gradient step of a variant
    """

    def __init__(self, update: Update) -> None:
        self._update = update
        self._metrics: list[dict[str, th.Tensor]] = []

    def update(self, batch: Batch, n_updates: int) -> None:
        """One gradient step; see :class:`Engine`."""
        self._metrics.append(self._update(batch, n_updates))

    def read_metrics(self) -> dict[str, float]:
        """Means; see :class:`Engine`."""
        metrics, self._metrics = self._metrics, []
        if not metrics:
            return {}
        names = [name for step in metrics for name in step]
        values = th.stack([value for step in metrics for value in step.values()]).tolist()
        return means(zip(names, values, repeat(1)))


class Capture(Protocol):
    """Where a function can be captured: a GPU, a CPU, or a test's stand-in."""

    #: updates of one kind before it is captured
    warm_ups: int
    #: whether capturing a function calls it
    runs_while_capturing: bool

    def warm_up(self, function: Callable[[], None]) -> None:
        """Call the function as it has to be called before it is captured."""

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record what the function does; the result does it again and again.

        :raises RuntimeError: something in it cannot be recorded
        """


def means(sums: Iterable[tuple[str, float, int]]) -> dict[str, float]:
    """Means of sums over different numbers of updates.

    :param sums: name, sum and number of updates; a name may occur more than once
    """
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    for name, value, n_updates in sums:
        totals[name] = totals.get(name, 0.0) + value
        counts[name] = counts.get(name, 0) + n_updates
    return {name: total / counts[name] for name, total in totals.items()}
