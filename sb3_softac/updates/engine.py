"""Engines run an update again and again, and hold its metrics on the device until they are asked for."""

import warnings
from collections.abc import Callable, Hashable, Iterable
from itertools import repeat
from typing import Any, Protocol

import torch as th

from sb3_softac.updates.batch import Batch


class Update(Protocol):
    """One gradient step of a variant."""

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        """Update the networks that are due and return what to log, each () and on the device."""

    def phase(self, n_updates: int) -> Hashable:
        """What this step does that not every step does; steps of one phase are the same operations."""


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
        return _means(zip(names, values, repeat(1)))


class Graphs(Protocol):
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


class CudaGraphs:
    """CUDA graphs that share their memory, as no two of them run at once.

    :param device: of the networks, which need not be the current one: what is captured is captured on this
    """

    warm_ups = 3
    runs_while_capturing = False

    def __init__(self, device: th.device) -> None:
        self._device = device
        self._pool = th.cuda.graph_pool_handle()
        self._stream = th.cuda.Stream(device)

    def warm_up(self, function: Callable[[], None]) -> None:
        """On another stream, as PyTorch asks for."""
        current = th.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with th.cuda.stream(self._stream):
            function()
        current.wait_stream(self._stream)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """See :class:`Graphs`."""
        graph = th.cuda.CUDAGraph()
        with th.cuda.device(self._device), th.cuda.graph(graph, pool=self._pool, stream=self._stream):
            function()
        return graph.replay


# Kinds of updates that are kept. A run has a few; one whose weight decay, say, changes all the time has no end of them.
MAX_KINDS = 16


class GraphEngine:
    """Captures the whole update once and replays it: one launch in place of some hundred.

    A graph reads its batch from tensors that stay where they are. There is one for each shape of the batch and each
    phase of the update, captured after some updates of that kind, which are real ones. What the graph holds
    must stay in place: the learning rate is a tensor, the target entropy too. Where capturing fails, the update goes
    on operation by operation, with a warning.

    :param update: one gradient step of a variant
    :param graphs: what captures
    :param held: what else a graph holds that may change at any moment; None while nothing can be captured
    """

    def __init__(
        self, update: Update, graphs: Graphs, held: Callable[[], Hashable | None] = lambda: "nothing more"
    ) -> None:
        self._update = update
        self._graphs = graphs
        self._held = held
        self._steps: dict[Hashable, _GraphStep] = {}
        self._metrics: dict[Hashable, _MetricSums] = {}  # by phase: updates of one phase have the same
        self._can_capture = True

    def update(self, batch: Batch, n_updates: int) -> None:
        """One gradient step; see :class:`Engine`."""
        held = self._held()
        phase = self._update.phase(n_updates)
        kind = (_layout(batch), phase, held)
        step = self._steps.get(kind)
        if step is None:
            if len(self._steps) == MAX_KINDS:
                del self._steps[next(iter(self._steps))]
            metrics = self._metrics.setdefault(phase, _MetricSums())
            step = self._steps[kind] = _GraphStep(batch, lambda own: self._update(own, n_updates), metrics)
        step.load(batch)
        if step.replay is not None:
            step.replay()
        elif step.n_runs < self._graphs.warm_ups or held is None or not self._can_capture:
            step.n_runs += 1
            self._graphs.warm_up(step.run)
        else:
            self._capture(step)

    def _capture(self, step: "_GraphStep") -> None:
        try:
            step.replay = self._graphs.capture(step.run)
        except RuntimeError as error:
            self._can_capture = False
            warnings.warn(
                f"The update cannot be captured and goes on operation by operation ({error}); with `engine='fused'` "
                "it is not tried",
                stacklevel=5,
            )
            self._graphs.warm_up(step.run)
        else:
            if not self._graphs.runs_while_capturing:
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
        return _means((name, value, n_updates) for (name, n_updates), value in zip(names, values, strict=True))


class _GraphStep:
    """An update of one kind, with the batch that it reads and the metrics that it adds to.

    :param batch: gives the layout
    :param update: of a batch
    :param metrics: of all updates of its phase
    """

    def __init__(self, batch: Batch, update: Callable[[Batch], dict[str, th.Tensor]], metrics: "_MetricSums") -> None:
        self._batch = Batch(*[_map(th.clone, field) for field in batch])
        self._places = _all_tensors(self._batch)
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
        th._foreach_copy_(self._places, _all_tensors(batch))
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


def _means(sums: Iterable[tuple[str, float, int]]) -> dict[str, float]:
    """Means of sums over different numbers of updates.

    :param sums: name, sum and number of updates; a name may occur more than once
    """
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    for name, value, n_updates in sums:
        totals[name] = totals.get(name, 0.0) + value
        counts[name] = counts.get(name, 0) + n_updates
    return {name: total / counts[name] for name, total in totals.items()}


def _tensors(field: Any) -> list[th.Tensor]:
    """The tensors of a field of a batch: one, those of a dict, or none."""
    if isinstance(field, dict):
        return list(field.values())
    return [field] if isinstance(field, th.Tensor) else []


def _all_tensors(batch: Batch) -> list[th.Tensor]:
    return [tensor for field in batch for tensor in _tensors(field)]


def _map(function: Callable[[th.Tensor], th.Tensor], field: Any) -> Any:
    if isinstance(field, dict):
        return {key: function(value) for key, value in field.items()}
    return function(field) if isinstance(field, th.Tensor) else field


def _layout(batch: Batch) -> Hashable:
    """What must be equal for two batches to be read by one graph."""
    return tuple(tuple((tensor.shape, tensor.dtype) for tensor in _tensors(field)) for field in batch)
