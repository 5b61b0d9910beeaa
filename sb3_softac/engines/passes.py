"""What is taken out of a recorded update before it is called again: all that would come out the same each time."""

from collections.abc import Iterator
from functools import partial
from itertools import permutations
from operator import getitem
from typing import Any

import torch as th
from torch import fx

aten = th.ops.aten

# Without gradients to record, their result is their input.
IDENTITIES = (aten.detach.default, aten.alias.default)
# Views of a tensor that stays in place are made once.
VIEWS = (aten.t.default, aten.view.default, aten.unsqueeze.default, aten.slice.Tensor, aten.select.int)
# Their result depends on nothing but the shape of their input.
FILLS = (aten.full_like.default, aten.ones_like.default, aten.zeros_like.default)


def lighten(module: fx.GraphModule) -> list[th.Tensor]:
    """Leave only what has to be done at each call.

    :param module: a recorded function without inputs; is changed
    :return: the inputs that it has now: tensors that it takes from outside, and what is computed once
    """
    graph = module.graph
    _drop_identities(graph)
    inputs = _Inputs(graph)
    _take_from_outside(module, inputs)
    _fold(graph, inputs)
    graph.eliminate_dead_code()
    _call_directly(graph)
    module.recompile()
    return list(inputs.values.values())


def _drop_identities(graph: fx.Graph) -> None:
    for node in graph.nodes:
        if node.target in IDENTITIES:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()


class _Inputs:
    """The inputs of a graph that has none yet, and their values.

    :param graph: is changed
    """

    def __init__(self, graph: fx.Graph) -> None:
        self._graph = graph
        self._nodes: dict[Any, fx.Node] = {}
        self.values: dict[fx.Node, th.Tensor] = {}

    def replace(self, node: fx.Node, key: Any, value: Any) -> fx.Node:
        """Put an input in the place of a node.

        :param node: goes
        :param key: nodes of one key are one input
        :param value: of the input
        :return: the input
        """
        if key not in self._nodes:
            made = self._nodes[key] = self._add()
            self.values[made] = value.detach()
        node.replace_all_uses_with(self._nodes[key])
        self._graph.erase_node(node)
        return self._nodes[key]

    def _add(self) -> fx.Node:
        graph, inputs = self._graph, list(self.values)
        place = graph.inserting_after(inputs[-1]) if inputs else graph.inserting_before(next(iter(graph.nodes)))
        with place:
            return graph.placeholder(f"input_{len(inputs)}")


def _take_from_outside(module: fx.GraphModule, inputs: _Inputs) -> None:
    """Hand the tensors of the outside over, in place of looking each up at each use, and with them their views."""
    for node in module.graph.nodes:
        if node.op == "get_attr":
            inputs.replace(node, node.target, _attribute(module, node.target))
        elif node.target in VIEWS and node.args[0] in inputs.values:
            view = node.target(inputs.values[node.args[0]], *node.args[1:], **node.kwargs)
            inputs.replace(node, (node.target, str(node.args)), view)


def _attribute(module: Any, path: Any) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def _fold(graph: fx.Graph, inputs: _Inputs) -> None:
    """Compute once what depends on no tensor, such as the weights of a mean, and leave out factors of one."""
    written = _written(graph)
    constants: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "call_function" or node in written:
            continue
        if _is_constant(node, constants):
            args, kwargs = fx.map_arg((node.args, node.kwargs), partial(_value, inputs))
            value = node.target(*args, **kwargs)
            if isinstance(value, th.Tensor):
                constants.add(inputs.replace(node, node, value))
        else:
            factor = _only_factor(node, inputs, constants)
            # Of what comes from outside, a view may be all that is seen of a tensor that is written into.
            if factor is not None and factor not in written and factor not in inputs.values:
                node.replace_all_uses_with(factor)
                graph.erase_node(node)


def _written(graph: fx.Graph) -> set[fx.Node]:
    """The nodes into whose memory an operation writes, be it through a view of theirs or through what they view."""
    written: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        for is_write, nodes in _aliased(node):
            if is_write or node in written:
                written.update(nodes)
    for node in graph.nodes:
        if any(not written.isdisjoint(nodes) for _, nodes in _aliased(node)):
            written.add(node)
    return written


def _aliased(node: fx.Node) -> Iterator[tuple[bool, list[fx.Node]]]:
    """The arguments that a node writes into or is a view of: whether it writes, and their nodes."""
    if node.target is getitem:
        yield False, node.all_input_nodes
    if not isinstance(node.target, th._ops.OpOverload):
        return
    names = [argument.name for argument in node.target._schema.arguments]
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    for argument in node.target._schema.arguments:
        if argument.alias_info is not None:
            nodes: list[fx.Node] = []
            fx.map_arg(given.get(argument.name), nodes.append)
            yield argument.alias_info.is_write, nodes


def _is_constant(node: fx.Node, constants: set[fx.Node]) -> bool:
    if node.target in FILLS:
        return True
    if not isinstance(node.target, th._ops.OpOverload) or th.Tag.nondeterministic_seeded in node.target.tags:
        return False
    return bool(node.all_input_nodes) and constants.issuperset(node.all_input_nodes)


def _value(inputs: _Inputs, node: fx.Node) -> th.Tensor:
    """The value of an input; of another node, which only lends its shape, any tensor like it."""
    if node in inputs.values:
        return inputs.values[node]
    like = node.meta["tensor_meta"]
    return th.empty_strided(like.shape, like.stride, dtype=like.dtype)


def _only_factor(node: fx.Node, inputs: _Inputs, constants: set[fx.Node]) -> fx.Node | None:
    """What a product or a power is equal to, if that is one of its arguments."""
    factors: list[fx.Node] = []
    if node.target is aten.pow.Tensor_Scalar and node.args[1] == 1:
        factors = node.all_input_nodes
    elif node.target is aten.mul.Tensor:
        pairs = permutations(node.all_input_nodes, 2)
        factors = [one for one, other in pairs if other in constants and bool((inputs.values[other] == 1).all())]
    return next((factor for factor in factors if _alike(_value(inputs, factor), _value(inputs, node))), None)


def _alike(one: th.Tensor, other: th.Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


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
