"""Graph passes on a traced update: they remove operations whose result is the same at every replay."""

from collections.abc import Iterable
from functools import partial
from itertools import permutations
from typing import Any, cast

import torch as th
from torch import fx

from sb3_softac.engines.memory import place
from sb3_softac.engines.recorded import Inputs, aliased, layout_of, written

aten = th.ops.aten

# A replay records no gradients, so that these operations return their input.
IDENTITIES = (aten.detach.default, aten.alias.default)
# The result of these operations depends only on the shape of their input.
FILLS = (aten.full_like.default, aten.ones_like.default, aten.zeros_like.default)


def lighten(graph: fx.Graph, inputs: Inputs) -> None:
    """Remove the operations of a recorded function that need not run at each replay.

    :param graph: a recorded function; is changed
    :param inputs: its inputs, to which constants are added that are computed once here, and places for results
    """
    _drop_identities(graph)
    _fold(graph, inputs)
    graph.eliminate_dead_code()
    place(graph, inputs)


def _drop_identities(graph: fx.Graph) -> None:
    """Remove operations that return their input, and operations whose result is not used."""
    for node in graph.nodes:
        if node.target in IDENTITIES:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _fold(graph: fx.Graph, inputs: Inputs) -> None:
    """Compute constants once, such as the weights of a mean, and remove multiplications by one and sums of one."""
    changed = written(list(graph.nodes))
    # The memory of an input may be written into by another name, which the graph does not show: keep its views, too.
    kept = changed | _views_of(inputs.values.keys(), graph)
    constants: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "call_function" or node in changed:
            continue
        if _is_constant(node, constants):
            args, kwargs = fx.map_arg((node.args, node.kwargs), partial(_value, inputs))
            value = node.target(*args, **kwargs)
            if isinstance(value, th.Tensor):
                constants.add(inputs.replace(node, node, value))
            continue
        factor, term = _only_factor(node, inputs, constants), _only_term(node)
        if factor is not None and factor not in kept:
            node.replace_all_uses_with(factor)
            graph.erase_node(node)
        elif term is not None and term not in kept:
            node.target, node.args = aten.squeeze.dims, (term, node.args[1])


def _views_of(nodes: Iterable[fx.Node], graph: fx.Graph) -> set[fx.Node]:
    """Nodes and all views of them."""
    found = set(nodes)
    for node in graph.nodes:
        if any(not found.isdisjoint(shared) for _, shared in aliased(node)):
            found.add(node)
    return found


def _is_constant(node: fx.Node, constants: set[fx.Node]) -> bool:
    if node.target in FILLS:
        return True
    if not isinstance(node.target, th._ops.OpOverload) or th.Tag.nondeterministic_seeded in node.target.tags:
        return False
    return bool(node.all_input_nodes) and constants.issuperset(node.all_input_nodes)


def _value(inputs: Inputs, node: fx.Node) -> th.Tensor:
    """Value of an input; for any other node, of which only the shape is needed, an empty tensor of its shape."""
    return inputs.values[node] if node in inputs.values else _empty(node)


def _empty(node: fx.Node) -> th.Tensor:
    """A tensor with the layout of a node's result."""
    like = layout_of(node)
    return th.empty_strided(like.shape, like.stride, dtype=like.dtype)


def _only_factor(node: fx.Node, inputs: Inputs, constants: set[fx.Node]) -> fx.Node | None:
    """Argument that a product or a power is equal to, such as x in ``x * 1`` and ``x ** 1``; None if there is none."""
    factors: list[fx.Node] = []
    if node.target is aten.pow.Tensor_Scalar and node.args[1] == 1:
        factors = node.all_input_nodes
    elif node.target is aten.mul.Tensor:
        pairs = permutations(node.all_input_nodes, 2)
        factors = [one for one, other in pairs if other in constants and bool((inputs.values[other] == 1).all())]
    return next((factor for factor in factors if _alike(_value(inputs, factor), _value(inputs, node))), None)


def _only_term(node: fx.Node) -> fx.Node | None:
    """Argument of which a sum takes single numbers, so that it is a view of it; None if there is none."""
    if node.target is not aten.sum.dim_IntList or len(node.args) != 2 or node.kwargs:
        return None
    term, dims = cast("Any", node.args)
    if not dims or any(layout_of(term).shape[dim] != 1 for dim in dims):
        return None
    view = _empty(term).squeeze(dims)
    return term if (view.stride(), view.dtype) == (layout_of(node).stride, layout_of(node).dtype) else None


def _alike(one: th.Tensor, other: th.Tensor) -> bool:
    return (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), other.dtype)
