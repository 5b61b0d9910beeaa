"""Engine that captures an update once and replays it."""

import warnings
from collections.abc import Callable, Hashable

import torch as th

from sb3_softac.engines.base import Capture, ReplayError, means
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.update import Update

# Largest number of captured kinds of updates. A run has a few, but a weight decay that changes all the time, for
# example, makes a new kind at each step.
MAX_KINDS = 16


class GraphEngine:
    """Engine that captures the whole update once and replays it: one launch in place of some hundred.

    There is one graph for each layout of the batch, each phase of the update and each state of the model. A graph is
    captured after some updates of its kind, which are ordinary gradient steps. It reads its batch, the learning rate
    and the target entropy from tensors at fixed addresses. If a capture fails, updates go on operation by operation,
    with a warning.

    :param update: gradient step of a variant
    :param capture: records an update
    :param state_key: returns a hashable key of everything that a captured graph has baked in (optimizer options, memory
        addresses, ...). A new key means a new capture; None means that nothing can be captured now
    """

    def __init__(
        self, update: Update, capture: Capture, state_key: Callable[[], Hashable | None] = lambda: "nothing more"
    ) -> None:
        self._update = update
        self._capture = capture
        self._state_key = state_key
        self._steps: dict[Hashable, _GraphStep] = {}
        self._metrics: dict[Hashable, _MetricSums] = {}  # by phase: all updates of a phase have the same metrics
        self._can_capture = True
        self._known_key: Hashable | None = None  # replays do not change it, other updates may

    def begin(self) -> None:
        """Notice what a user has changed; see :class:`~sb3_softac.engines.base.Engine`."""
        self._known_key = None

    def update(self, batch: Batch, n_updates: int) -> None:
        """Run one gradient step; see :class:`~sb3_softac.engines.base.Engine`."""
        phase = self._update.phase(n_updates)
        if self._update.is_measured(n_updates):
            metrics = self._metrics.setdefault(phase, _MetricSums())
            metrics.n_updates += 1
            self._capture.warm_up(lambda: metrics.add(self._update(batch, n_updates)))
            self._known_key = None
            return
        state_key = self._state_key() if self._known_key is None else self._known_key
        kind = (batch.layout(), phase, state_key)
        step = self._steps.get(kind)
        if step is None:
            if len(self._steps) == MAX_KINDS:
                del self._steps[next(iter(self._steps))]
            metrics = self._metrics.setdefault(phase, _MetricSums())
            step = self._steps[kind] = _GraphStep(batch, lambda own: self._update(own, n_updates), metrics)
        step.load(batch)
        self._known_key = None if step.replay is None else state_key
        if step.replay is not None:
            step.replay()
        elif step.n_runs < self._capture.warm_ups or state_key is None or not self._can_capture:
            step.n_runs += 1
            self._capture.warm_up(step.run)
        else:
            self._record(step)

    def _record(self, step: "_GraphStep") -> None:
        try:
            step.replay = self._capture.capture(step.run)
        except RuntimeError as error:
            has_run = self._capture.runs_while_capturing
            if has_run and not isinstance(error, ReplayError):
                raise  # an error of the update itself
            self._can_capture = False
            warnings.warn(
                f"The update cannot be captured and goes on operation by operation ({error}); with `engine='fused'` "
                "it is not tried",
                stacklevel=5,
            )
            if not has_run:
                self._capture.warm_up(step.run)
        else:
            if not self._capture.runs_while_capturing:
                step.replay()

    def read_metrics(self) -> dict[str, float]:
        """Mean of each metric since the last call; see :class:`~sb3_softac.engines.base.Engine`."""
        sums = [own for own in self._metrics.values() if own.n_updates > 0]
        if not sums:
            return {}
        values = th.cat([own.values for own in sums]).tolist()
        names = [(name, own.n_updates) for own in sums for name in own.names]
        for own in sums:
            own.reset()
        return means((name, value, n_updates) for (name, n_updates), value in zip(names, values, strict=True))


class _GraphStep:
    """Update of one kind, with the batch that it reads and the sums that it adds its metrics to.

    :param batch: a batch of the layout that the update reads
    :param update: function of a batch that returns metrics
    :param metrics: sums of the metrics of all updates of its phase
    """

    def __init__(self, batch: Batch, update: Callable[[Batch], dict[str, th.Tensor]], metrics: "_MetricSums") -> None:
        self._batch = batch.cloned()
        self._places = self._batch.tensors()
        if not isinstance(batch.discount, th.Tensor):  # a number would be baked into the graph
            discount = th.empty((), dtype=batch.reward.dtype, device=batch.reward.device)
            self._batch = self._batch._replace(discount=discount)
        self._update = update
        self.replay: Callable[[], None] | None = None
        self.n_runs = 0
        self.metrics = metrics

    def load(self, batch: Batch) -> None:
        """Copy a batch into the tensors that the graph reads."""
        self.metrics.n_updates += 1
        th._foreach_copy_(self._places, batch.tensors())
        if not isinstance(batch.discount, th.Tensor):
            self._batch.discount.fill_(batch.discount)  # type: ignore[union-attr]  # a tensor here

    def run(self) -> None:
        """Run the update operation by operation."""
        self.metrics.add(self._update(self._batch))


class _MetricSums:
    """Sums of the metrics of all updates of one phase, in one tensor that a graph adds to."""

    def __init__(self) -> None:
        self.n_updates = 0
        self.names: list[str] = []
        self.values = th.empty(0)

    def add(self, metrics: dict[str, th.Tensor]) -> None:
        """Add the metrics of one update."""
        values = th.stack([value.float() for value in metrics.values()])
        if not self.names:
            self.names, self.values = list(metrics), th.zeros_like(values)
        self.values.add_(values)

    def reset(self) -> None:
        """Set the sums and the number of updates to zero."""
        self.values.zero_()
        self.n_updates = 0
