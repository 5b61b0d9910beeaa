"""Engines: they run an update many times, and keep its metrics on the device until they are read."""

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Protocol

import torch as th

from sb3_softac.updates.batch import Batch
from sb3_softac.updates.update import Update


class Engine(Protocol):
    """Engine: runs the update of a variant."""

    def begin(self) -> None:
        """Notice what a user has changed: called before the gradient steps of each training."""

    def update(self, batch: Batch, n_updates: int) -> None:
        """Run one gradient step, without a synchronisation of host and device.

        :param batch: B transitions
        :param n_updates: gradient steps done in the whole run, this one included
        """

    def read_metrics(self) -> dict[str, float]:
        """Mean of each metric since the last call, over the steps that had it, in one transfer from the device.

        :return: means by the name of the metric; empty if there was no step
        """


class EagerEngine:
    """Engine that runs the update operation by operation: the reference that every other engine must equal.

    :param update: gradient step of a variant
    """

    def __init__(self, update: Update) -> None:
        self._update = update
        self._metrics: list[dict[str, th.Tensor]] = []

    def begin(self) -> None:
        """Do nothing: each gradient step reads all that it needs; see :class:`Engine`."""

    def update(self, batch: Batch, n_updates: int) -> None:
        """Run one gradient step; see :class:`Engine`."""
        self._metrics.append(self._update(batch, n_updates))

    def read_metrics(self) -> dict[str, float]:
        """Mean of each metric since the last call; see :class:`Engine`."""
        metrics, self._metrics = self._metrics, []
        if not metrics:
            return {}
        names = [name for step in metrics for name in step]
        values = th.stack([value for step in metrics for value in step.values()]).tolist()
        return means(zip(names, values, repeat(1)))


class ReplayError(RuntimeError):
    """Raised after a function has run, when what was recorded of it would not do the same."""


class Capture(Protocol):
    """Records a function once and returns a callable that replays it: CUDA graphs, CPU traces, or a fake in tests."""

    #: number of updates of one kind before it is captured
    warm_ups: int
    #: whether capturing a function also runs it
    runs_while_capturing: bool

    def warm_up(self, function: Callable[[], None]) -> None:
        """Call the function in the way that a capture needs before it.

        :param function: the function that is captured later
        """

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record the operations of a function.

        :param function: the function, without arguments and result
        :return: a function that runs the recorded operations
        :raises RuntimeError: an operation cannot be recorded; :class:`ReplayError` if the function has run
        """


def means(sums: Iterable[tuple[str, float, int]]) -> dict[str, float]:
    """Means of metrics from sums over different numbers of updates.

    :param sums: (name, sum, number of updates); a name may occur more than once
    :return: means by name
    """
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    for name, value, n_updates in sums:
        totals[name] = totals.get(name, 0.0) + value
        counts[name] = counts.get(name, 0) + n_updates
    return {name: total / counts[name] for name, total in totals.items()}
