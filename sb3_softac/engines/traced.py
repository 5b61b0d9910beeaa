"""Capture of updates on a CPU as a flat list of operations, like a CUDA graph on a GPU."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import zip_longest
from typing import Any

import torch as th
from torch import fx, nn

from sb3_softac.engines import passes
from sb3_softac.engines.adam import gradient_is_hooked, step_is_hooked
from sb3_softac.engines.base import ReplayError
from sb3_softac.engines.recorder import Recorder
from sb3_softac.engines.replays import interpreted, listed
from sb3_softac.networks.fused.unchanged import Unchanged


class TraceCapture:
    """Capture that traces the operations of PyTorch in a function, including those of its backward passes.

    A replay runs one operation after the other on the same tensors. It saves the time of the Python function and of
    autograd: for networks of a few hundred units, both take about as long as the arithmetic. Gradients go directly to
    the optimizers, so that ``parameter.grad`` is None.
    """

    # Recording takes as long as some ten updates, which a shorter run would not gain back.
    warm_ups = 10
    runs_while_capturing = True

    def warm_up(self, function: Callable[[], None]) -> None:
        """Call the function. Plain calls are enough: they create the optimizer states that the trace uses."""
        function()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Trace the function; see :class:`~sb3_softac.engines.base.Capture`.

        :raises ReplayError: an operation cannot be recorded
        """
        with Recorder() as recorder:
            function()
        _forget_gradients(recorder.outside)
        if recorder.obstacle is not None:
            raise ReplayError(recorder.obstacle)
        try:
            passes.lighten(recorder.graph, recorder.inputs)
            return _replay(recorder.graph, recorder.inputs.values)
        except Exception as error:  # the function has run: training can go on without a replay
            raise ReplayError(f"{type(error).__name__}: {error}") from error


def _replay(graph: fx.Graph, values: Mapping[fx.Node, th.Tensor]) -> Callable[[], None]:
    """The faster one of two ways to run a graph that works here."""
    try:
        return interpreted(graph, values)
    except RuntimeError:
        return listed(graph, values)


def _forget_gradients(tensors: Iterable[th.Tensor]) -> None:
    """Delete the ``.grad`` left by the recording: no replay writes it, and old values would look current."""
    for tensor in tensors:
        if tensor.is_leaf:
            tensor.grad = None


class TraceKey:
    """Key of all state that a captured update has baked in and that a user may change at any time.

    The state is hooks, learning-rate tensors, optimizer options, parameters and buffers that are frozen or lie
    elsewhere, and numbers in modules, such as the rate of a dropout.

    :param policy: all networks
    :param optimizers: optimizers of all networks and of the temperature
    """

    OPTIONS = ("betas", "eps", "weight_decay", "maximize")

    def __init__(self, policy: nn.Module, optimizers: Iterable[th.optim.Optimizer]) -> None:
        modules = list(policy.modules())
        self._networks_are_unchanged = Unchanged(modules)
        self._optimizers = list(optimizers)
        # Dicts and not what is in them, which a user may replace.
        self._holders = [own for module in modules for own in (module._parameters, module._buffers) if own]
        self._numbers = [
            (module.__dict__, name)
            for module in modules
            for name in getattr(module, "__constants__", ())
            if type(module.__dict__.get(name)) in (int, float, bool)
        ]
        self._states: list[Any] = []
        self._n_loaded = 0

    def __call__(self) -> Hashable | None:
        """Compute the key: two updates with equal keys can share a capture.

        :return: the key; None if no capture would be right: there are hooks, a module was replaced or changed its
            class, or a user replaced the tensor of a learning rate by a number
        """
        if not self._networks_are_unchanged() or any(map(step_is_hooked, self._optimizers)):
            return None
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        # Those of the optimizers as well: one is the temperature's, and a user may have replaced one of a network.
        held = [tensor for own in self._holders for tensor in own.values() if tensor is not None]
        tensors = held + [parameter for group in groups for parameter in group["params"]]
        if any(map(gradient_is_hooked, tensors)):
            return None
        if not all(isinstance(group["lr"], th.Tensor) for group in groups):
            return None
        if any(state is not optimizer.state for state, optimizer in zip_longest(self._states, self._optimizers)):
            self._states = [optimizer.state for optimizer in self._optimizers]
            self._n_loaded += 1
        return (
            self._n_loaded,
            *[_place_of_counts(optimizer) for optimizer in self._optimizers],
            *[(tensor.requires_grad, tensor.data_ptr()) for tensor in tensors],
            *[group["lr"].data_ptr() for group in groups],
            *[group[name] for group in groups for name in self.OPTIONS],
            *[own[name] for own, name in self._numbers],
        )


def _place_of_counts(optimizer: th.optim.Optimizer) -> tuple[int | None, ...]:
    """Memory address of the step counts of each group of an Adam; None for a group without state.

    Addresses change when a frozen parameter is trained again, or when a user empties the state.
    """
    state = optimizer.state
    begun = [
        (state[parameter] for parameter in group["params"] if parameter in state) for group in optimizer.param_groups
    ]
    return tuple(next((own["step"].data_ptr() for own in states if own), None) for states in begun)
