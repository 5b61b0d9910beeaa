"""Updates on a CPU as a flat list of operations: what a CUDA graph is for a GPU."""

import threading
from collections.abc import Callable, Hashable, Iterable
from itertools import zip_longest
from typing import Any

import torch as th
from torch import nn

from sb3_softac.engines import passes
from sb3_softac.engines.adam import gradient_is_hooked, step_is_hooked
from sb3_softac.networks.fused.unchanged import Unchanged

# `make_fx` patches `nn.Module` while it records, for all threads: a search with several jobs trains in some of them.
TRACING = threading.Lock()


class TraceCapture:
    """Records the operations of PyTorch that a function calls, down to those of its backward passes.

    What is called again is neither the function nor autograd, but one operation after the other on the same tensors:
    for networks of a few hundred units, both take about as long as the arithmetic. Gradients go straight to the
    optimizers: ``parameter.grad`` is None.
    """

    # Tracing takes half a second, of which a short run would have nothing.
    warm_ups = 50
    runs_while_capturing = True

    def warm_up(self, function: Callable[[], None]) -> None:
        """Nothing but calling it makes its tensors."""
        function()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """See :class:`~sb3_softac.engines.base.Capture`.

        :raises RuntimeError: an operation that cannot be recorded
        """
        # Late, as few need it and it is large.
        from torch.fx.experimental.proxy_tensor import make_fx

        def traced() -> tuple[()]:
            function()
            return ()

        with TRACING:
            module = make_fx(traced)()
        _forget_gradients(module)
        tensors = passes.lighten(module)
        forward = module.forward

        def replay() -> None:
            with th.no_grad():
                forward(*tensors)

        return replay


def _forget_gradients(module: nn.Module) -> None:
    """Of the recorded call, which no later one would replace: whoever reads them is to see that there are none."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_leaf:
            tensor.grad = None


class HeldByTrace:
    """What a captured update holds of a model that a user may change at any moment.

    :param policy: all networks
    :param optimizers: of all networks, and of the temperature
    """

    OPTIONS = ("betas", "eps", "weight_decay", "maximize")

    def __init__(self, policy: nn.Module, optimizers: Iterable[th.optim.Optimizer]) -> None:
        self._networks_are_unchanged = Unchanged(policy.modules())
        self._optimizers = list(optimizers)
        self._dropouts = [module for module in policy.modules() if isinstance(module, nn.Dropout)]
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        trained = [parameter for group in groups for parameter in group["params"]]  # the temperature's, too
        self._parameters = list({id(parameter): parameter for parameter in (*policy.parameters(), *trained)}.values())
        self._states: list[Any] = []
        self._n_loaded = 0

    def __call__(self) -> Hashable | None:
        """Equal for two updates if one capture is right for both; None where none would be.

        That is: where there are hooks, a module of another class than before, or a number in the place of the tensor
        from which a capture reads its rate.
        """
        if not self._networks_are_unchanged() or any(map(step_is_hooked, self._optimizers)):
            return None
        if any(map(gradient_is_hooked, self._parameters)):
            return None
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        if not all(isinstance(group["lr"], th.Tensor) for group in groups):
            return None
        if any(state is not optimizer.state for state, optimizer in zip_longest(self._states, self._optimizers)):
            self._states = [optimizer.state for optimizer in self._optimizers]
            self._n_loaded += 1
        return (
            self._n_loaded,
            *[_place_of_counts(optimizer) for optimizer in self._optimizers],
            *[(parameter.requires_grad, parameter.data_ptr()) for parameter in self._parameters],
            *[group["lr"].data_ptr() for group in groups],
            *[group[name] for group in groups for name in self.OPTIONS],
            *[dropout.p for dropout in self._dropouts],
        )


def _place_of_counts(optimizer: th.optim.Optimizer) -> tuple[int | None, ...]:
    """Where each group of an Adam counts its steps; None where it has not begun to.

    They move when a parameter that was frozen joins in, or when a user begins anew with an empty state.
    """
    state = optimizer.state
    begun = [
        (state[parameter] for parameter in group["params"] if parameter in state) for group in optimizer.param_groups
    ]
    return tuple(next((own["step"].data_ptr() for own in states if own), None) for states in begun)
