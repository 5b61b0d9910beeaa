"""Updates on a CPU as a flat list of operations: what a CUDA graph is for a GPU."""

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from itertools import zip_longest
from typing import Any

import torch as th
from torch import fx, nn

from sb3_softac.networks import fused
from sb3_softac.updates.gradient import has_hooks

aten = th.ops.aten

# Without gradients to record, their result is their input.
IDENTITIES = (aten.detach.default, aten.alias.default)
# Views of a tensor that stays in place are made once.
VIEWS = (aten.t.default, aten.view.default, aten.unsqueeze.default, aten.slice.Tensor, aten.select.int)


class TracedGraphs:
    """Records the operations of PyTorch that a function calls, down to those of its backward passes.

    What is called again is neither the function nor autograd, but one operation after the other on the same tensors:
    for networks of a few hundred units, both take about as long as the arithmetic.
    """

    # Tracing takes half a second, of which a short run would have nothing.
    warm_ups = 50
    runs_while_capturing = True

    def warm_up(self, function: Callable[[], None]) -> None:
        """Nothing but calling it makes its tensors."""
        function()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """See :class:`~sb3_softac.updates.engine.Graphs`.

        :raises RuntimeError: an operation that cannot be recorded
        """
        # Late, as few need it and it is large.
        from torch.fx.experimental.proxy_tensor import make_fx

        def traced() -> tuple[()]:
            function()
            return ()

        module = make_fx(traced)()
        _drop_identities(module.graph)
        tensors = _take_constants_as_inputs(module)
        _call_directly(module.graph)
        module.recompile()
        forward = module.forward

        def replay() -> None:
            with th.no_grad():
                forward(*tensors)

        return replay


def _drop_identities(graph: fx.Graph) -> None:
    for node in graph.nodes:
        if node.target in IDENTITIES:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _take_constants_as_inputs(module: fx.GraphModule) -> list[th.Tensor]:
    """Hand the tensors of the outside over, in place of looking each up at each use, and with them their views.

    :param module: is changed
    :return: its new inputs
    """
    graph, inputs = module.graph, _Inputs(module.graph)
    for node in graph.nodes:
        if node.op == "get_attr":
            inputs.replace(node, node.target, _attribute(module, node.target))
        elif node.target in VIEWS and node.args[0] in inputs.values:
            view = node.target(inputs.values[node.args[0]], *node.args[1:], **node.kwargs)
            inputs.replace(node, (node.target, str(node.args)), view)
    return list(inputs.values.values())


class _Inputs:
    """The inputs of a graph that has none yet, and their values.

    :param graph: is changed
    """

    def __init__(self, graph: fx.Graph) -> None:
        self._graph = graph
        self._first = next(iter(graph.nodes))
        self._nodes: dict[Any, fx.Node] = {}
        self.values: dict[fx.Node, th.Tensor] = {}

    def replace(self, node: fx.Node, key: Any, value: Any) -> None:
        """Put an input in the place of a node.

        :param node: goes
        :param key: nodes of one key are one input
        :param value: of the input
        """
        if key not in self._nodes:
            with self._graph.inserting_before(self._first):
                made = self._graph.placeholder(f"input_{len(self._nodes)}")
            self._nodes[key] = made
            self.values[made] = value.detach()
        node.replace_all_uses_with(self._nodes[key])
        self._graph.erase_node(node)


def _attribute(module: Any, path: Any) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


class _Direct(partial):
    """An operation without the Python around it; what generates code asks for a name and a module."""

    def __new__(cls, operation: Any) -> "_Direct":
        return super().__new__(cls, operation._op)

    def __init__(self, operation: Any) -> None:
        self.__name__ = str(operation).replace(".", "_")
        self.__module__ = __name__


def _call_directly(graph: fx.Graph) -> None:
    """Some hundred operations, each through a function of ``torch.ops`` that only hands its arguments on, add up."""
    operations = {node.target for node in graph.nodes if isinstance(node.target, th._ops.OpOverload)}
    direct = {operation: _Direct(operation) for operation in operations}
    for node in graph.nodes:
        node.target = direct.get(node.target, node.target)


class HeldByTrace:
    """What a captured update holds of a model that a user may change at any moment.

    :param policy: all networks
    :param optimizers: of all networks, and of the temperature
    """

    OPTIONS = ("betas", "eps", "weight_decay", "maximize")

    def __init__(self, policy: nn.Module, optimizers: Iterable[th.optim.Optimizer]) -> None:
        self._modules = list(policy.modules())
        self._parameters = list(policy.parameters())
        self._optimizers = list(optimizers)
        self._states: list[Any] = []
        self._n_loaded = 0

    def __call__(self) -> Hashable | None:
        """Equal for two updates if one capture is right for both; None where none would be.

        That is: where there are hooks, or a number in the place of the tensor from which a capture reads its rate.
        """
        if any(map(has_hooks, self._optimizers)) or any(map(fused.has_hooks, self._modules)):
            return None
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        if not all(isinstance(group["lr"], th.Tensor) for group in groups):
            return None
        if any(state is not optimizer.state for state, optimizer in zip_longest(self._states, self._optimizers)):
            self._states = [optimizer.state for optimizer in self._optimizers]
            self._n_loaded += 1
        return (
            self._n_loaded,
            *[(parameter.requires_grad, parameter.data_ptr()) for parameter in self._parameters],
            *[group["lr"].data_ptr() for group in groups],
            *[group[name] for group in groups for name in self.OPTIONS],
        )
