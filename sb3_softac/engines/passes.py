"""Graph passes on a traced update: they remove operations whose result is the same at every replay."""

from collections.abc import Iterator
from functools import partial
from itertools import permutations
from operator import getitem
from typing import Any

import torch as th
from torch import fx

aten = th.ops.aten

# A replay records no gradients, so that these operations return their input.
IDENTITIES = (aten.detach.default, aten.alias.default)
# Views of a tensor at a fixed address are made once.
VIEWS = (aten.t.default, aten.view.default, aten.unsqueeze.default, aten.slice.Tensor, aten.select.int)
# The result of these operations depends only on the shape of their input.
FILLS = (aten.full_like.default, aten.ones_like.default, aten.zeros_like.default)


def lighten(module: fx.GraphModule) -> list[th.Tensor]:
    """Remove the operations of a traced function that need not run at each replay.

    :param module: a traced function without inputs; is changed, and gets inputs
    :return: values of the inputs: tensors from outside the function, and constants that are computed once here
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
    """Remove operations that return their input, and operations whose result is not used."""
    for node in graph.nodes:
        if node.target in IDENTITIES:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()


class _Inputs:
    """Inputs of a graph that had none, and their values.

    :param graph: is changed
    """

    def __init__(self, graph: fx.Graph) -> None:
        self._graph = graph
        self._nodes: dict[Any, fx.Node] = {}
        self.values: dict[fx.Node, th.Tensor] = {}

    def replace(self, node: fx.Node, key: Any, value: Any) -> fx.Node:
        """Replace a node by an input.

        :param node: the node, which is erased
        :param key: nodes with equal keys become one input
        :param value: value of the input
        :return: the node of the input
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
    """Turn tensors from outside, and views of them, into inputs, which saves a look-up at each use."""
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
    """Compute constants once, such as the weights of a mean, and remove multiplications by one."""
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
            # An input may be a view of a tensor that is written into, which the graph does not show: keep the product.
            if factor is not None and factor not in written and factor not in inputs.values:
                node.replace_all_uses_with(factor)
                graph.erase_node(node)


def _written(graph: fx.Graph) -> set[fx.Node]:
    """Nodes whose memory an operation writes to: directly, through a view of the node, or through its base."""
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
    """Arguments that a node writes to or is a view of: (whether it writes, nodes of the argument)."""
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
    """Value of an input; for any other node, of which only the shape is needed, an empty tensor of its shape."""
    if node in inputs.values:
        return inputs.values[node]
    like = node.meta["tensor_meta"]
    return th.empty_strided(like.shape, like.stride, dtype=like.dtype)


def _only_factor(node: fx.Node, inputs: _Inputs, constants: set[fx.Node]) -> fx.Node | None:
    """Argument that a product or a power is equal to, such as x in ``x * 1`` and ``x ** 1``; None if there is none."""
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
    """Operation of PyTorch without its Python wrapper; code generation needs its name and module."""

    def __new__(cls, operation: Any) -> "_Direct":
        return super().__new__(cls, operation._op)

    def __init__(self, operation: Any) -> None:
        self.__name__ = str(operation).replace(".", "_")
        self.__module__ = __name__


def _call_directly(graph: fx.Graph) -> None:
    """Call each operation without its wrapper in ``torch.ops``, whose time adds up over some hundred operations."""
    operations = {node.target for node in graph.nodes if isinstance(node.target, th._ops.OpOverload)}
    direct = {operation: _Direct(operation) for operation in operations}
    for node in graph.nodes:
        node.target = direct.get(node.target, node.target)
