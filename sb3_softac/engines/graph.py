"""The engine that captures an update once and replays it."""

import warnings
from collections.abc import Callable, Hashable

import torch as th

from sb3_softac.engines.base import Capture, means
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.update import Update

# Kinds of updates that are kept. A run has a few; one whose weight decay, say, changes all the time has no end of them.
MAX_KINDS = 16


class GraphEngine:
    """Captures the whole update once and replays it: one launch in place of some hundred.

    A graph reads its batch from tensors that stay where they are. There is one for each shape of the batch and each
    phase of the update, captured after some updates of that kind, which are real ones. What the graph holds
    must stay in place: the learning rate is a tensor, the target entropy too. Where capturing fails, the update goes
    on operation by operation, with a warning.

    :param update: one gradient step of a variant
    :param capture: records an update
    :param held: what else a graph holds that may change at any moment; None while nothing can be captured
    """

    def __init__(
        self, update: Update, capture: Capture, held: Callable[[], Hashable | None] = lambda: "nothing more"
    ) -> None:
        self._update = update
        self._capture = capture
        self._held = held
        self._steps: dict[Hashable, _GraphStep] = {}
        self._metrics: dict[Hashable, _MetricSums] = {}  # by phase: updates of one phase have the same
        self._can_capture = True

    def update(self, batch: Batch, n_updates: int) -> None:
        """One gradient step; see :class:`Engine`."""
        held = self._held()
        phase = self._update.phase(n_updates)
        kind = (batch.layout(), phase, held)
        step = self._steps.get(kind)
        if step is None:
            if len(self._steps) == MAX_KINDS:
                del self._steps[next(iter(self._steps))]
            metrics = self._metrics.setdefault(phase, _MetricSums())
            step = self._steps[kind] = _GraphStep(batch, lambda own: self._update(own, n_updates), metrics)
        step.load(batch)
        if step.replay is not None:
            step.replay()
        elif step.n_runs < self._capture.warm_ups or held is None or not self._can_capture:
            step.n_runs += 1
            self._capture.warm_up(step.run)
        else:
            self._record(step)

    def _record(self, step: "_GraphStep") -> None:
        try:
            step.replay = self._capture.capture(step.run)
        except RuntimeError as error:
            self._can_capture = False
            warnings.warn(
                f"The update cannot be captured and goes on operation by operation ({error}); with `engine='fused'` "
                "it is not tried",
                stacklevel=5,
            )
            self._capture.warm_up(step.run)
        else:
            if not self._capture.runs_while_capturing:
                step.replay()

    def read_metrics(self) -> dict[str, float]:
        """Means; see :class:`Engine`."""
        sums = [own for own in self._metrics.values() if own.n_updates > 0]
        if not sums:
            return {}
        values = th.cat([own.values for own in sums]).tolist()
        names = [(name, own.n_updates) for own in sums for name in own.names]
        for own in sums:
            own.reset()
        return means((name, value, n_updates) for (name, n_updates), value in zip(names, values, strict=True))


class _GraphStep:
    """An update of one kind, with the batch that it reads and the metrics that it adds to.

    :param batch: gives the layout
    :param update: of a batch
    :param metrics: of all updates of its phase
    """

    def __init__(self, batch: Batch, update: Callable[[Batch], dict[str, th.Tensor]], metrics: "_MetricSums") -> None:
        self._batch = batch.cloned()
        self._places = self._batch.tensors()
        if not isinstance(batch.discount, th.Tensor):  # a number, which may change as everything else may
            discount = th.empty((), dtype=batch.reward.dtype, device=batch.reward.device)
            self._batch = self._batch._replace(discount=discount)
        self._update = update
        self.replay: Callable[[], None] | None = None
        self.n_runs = 0
        self.metrics = metrics

    def load(self, batch: Batch) -> None:
        """Copy a batch to where the graph reads it."""
        self.metrics.n_updates += 1
        th._foreach_copy_(self._places, batch.tensors())
        if not isinstance(batch.discount, th.Tensor):
            self._batch.discount.fill_(batch.discount)  # type: ignore[union-attr]  # a tensor here

    def run(self) -> None:
        """The update, operation by operation."""
        self.metrics.add(self._update(self._batch))


class _MetricSums:
    """Sums of the metrics of updates of one phase in one tensor, which a graph can add to."""

    def __init__(self) -> None:
        self.n_updates = 0
        self.names: list[str] = []
        self.values = th.empty(0)

    def add(self, metrics: dict[str, th.Tensor]) -> None:
        """Add those of one update."""
        values = th.stack([value.float() for value in metrics.values()])
        if not self.names:
            self.names, self.values = list(metrics), th.zeros_like(values)
        self.values.add_(values)

    def reset(self) -> None:
        """Start again."""
        self.values.zero_()
        self.n_updates = 0
