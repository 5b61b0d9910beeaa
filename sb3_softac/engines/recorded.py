"""Inputs of a recorded update, and the memory that its operations share or write to: all passes need both."""

from collections.abc import Iterator, Sequence
from operator import getitem
from typing import Any, NamedTuple

import torch as th
from torch import fx

# Their results share the memory of their argument, though no schema says so.
VIEWS_BY_NAME = (
    getitem,
    th.ops.aten._unsafe_view.default,
    th.ops.aten.unsafe_split.Tensor,
    th.ops.aten.unsafe_split_with_sizes.default,
)


class Layout(NamedTuple):
    """Shape, strides and dtype of a tensor."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: th.dtype


class Inputs:
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
            self._nodes[key] = self.add(value.detach())
        node.replace_all_uses_with(self._nodes[key])
        self._graph.erase_node(node)
        return self._nodes[key]

    def add(self, value: th.Tensor) -> fx.Node:
        """Add an input.

        :param value: its value
        :return: its node
        """
        graph, inputs = self._graph, list(self.values)
        with graph.inserting_after(inputs[-1]) if inputs else graph.inserting_before(next(iter(graph.nodes))):
            made = graph.placeholder(f"input_{len(inputs)}")
        set_layout(made, value)
        self.values[made] = value
        return made


def aliased(node: fx.Node) -> Iterator[tuple[bool, list[fx.Node]]]:
    """Arguments that a node writes to or is a view of: (whether it writes, nodes of the argument)."""
    if node.target in VIEWS_BY_NAME:
        yield False, node.all_input_nodes
    if not isinstance(node.target, th._ops.OpOverload):
        return
    given = _given(node)
    for argument in node.target._schema.arguments:
        if argument.alias_info is not None:
            nodes: list[fx.Node] = []
            fx.map_arg(given.get(argument.name), nodes.append)
            yield argument.alias_info.is_write, nodes


def returned_argument(node: fx.Node) -> fx.Node | None:
    """Argument that an operation writes into and returns; None if it returns something else.

    :param node: any node
    """
    if not isinstance(node.target, th._ops.OpOverload) or len(node.target._schema.returns) != 1:
        return None
    info = node.target._schema.returns[0].alias_info
    if info is None or not info.is_write:
        return None
    given = _given(node)
    for argument in node.target._schema.arguments:
        if argument.alias_info is not None and argument.alias_info.before_set == info.before_set:
            found = given.get(argument.name)
            return found if isinstance(found, fx.Node) else None
    return None


def _given(node: fx.Node) -> dict[str, Any]:
    """Arguments of an operation by their names."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    return dict(zip(names, node.args, strict=False)) | node.kwargs


def written(operations: Sequence[fx.Node]) -> set[fx.Node]:
    """Nodes whose memory an operation writes to: directly, through a view of the node, or through its base.

    :param operations: nodes of a graph, in their order
    """
    found: set[fx.Node] = set()
    for operation in reversed(operations):
        for is_write, nodes in aliased(operation):
            if is_write or operation in found:
                found.update(nodes)
    for operation in operations:
        if any(not found.isdisjoint(nodes) for _, nodes in aliased(operation)):
            found.add(operation)
    return found


def set_layout(node: fx.Node, result: th.Tensor) -> None:
    """Note the layout of a result.

    :param node: returns it
    :param result: the result
    """
    node.meta["layout"] = Layout(result.shape, result.stride(), result.dtype)


def layout_of(node: fx.Node) -> Layout:
    """Layout of what a node returns, as it was when it was recorded.

    :param node: an input, or an operation that returns a tensor
    :raises KeyError: it returns none
    """
    return node.meta["layout"]


def returns_tensor(node: fx.Node) -> bool:
    """Whether a node returns one tensor.

    :param node: any node
    """
    return "layout" in node.meta
