"""Fixed places in memory for what the operations of a recorded update return.

An operation that allocates returns another address each time. With a fixed place, all views of the result are made
once, and two results that are not needed at the same time share one block, which stays in the cache.
"""

from functools import cache
from operator import getitem
from typing import Any, cast

import torch as th
from torch import fx

from sb3_softac.engines.recorded import Inputs, aliased

# Blocks begin where vector instructions read fastest, in bytes.
ALIGNMENT = 64
# A result is put into a free block of at most this many times its size.
LARGEST_BLOCK = 2


def place(graph: fx.Graph, inputs: Inputs) -> None:
    """Let operations write into fixed places, and make all views of these places once.

    Operations without such a form of their own for the CPU stay as they are.

    :param graph: a recorded update; is changed
    :param inputs: its inputs, to which the places are added
    """
    nodes = [node for node in graph.nodes if node.op == "call_function"]
    last_uses = _last_uses(nodes)
    blocks = _Blocks()
    lists: dict[fx.Node, Any] = {}
    for index, node in enumerate(nodes):
        form = _out_form(node.target)
        if form is not None and "tensor_meta" in node.meta and _is_of_one_dtype(node, inputs):
            _write_into(inputs.add(blocks.take(node.meta["tensor_meta"], last_uses[node])), node, form, inputs)
        else:
            _unalias(node, inputs, lists)
        blocks.give_back(index)
    graph.eliminate_dead_code()


def _last_uses(nodes: list[fx.Node]) -> dict[fx.Node, int]:
    """For each operation, the index of the last one that uses its result, directly or through a view."""
    index = {node: i for i, node in enumerate(nodes)}
    last: dict[fx.Node, int] = {}
    for node in reversed(nodes):  # users come later, so that theirs are known
        last[node] = max([index[node], *(index[user] for user in node.users if user in index)])
        views = [user for user in node.users if any(node in shared for _, shared in aliased(user))]
        last[node] = max([last[node], *(last[view] for view in views)])
    return last


class _Blocks:
    """Blocks of memory, each of which holds one result after another."""

    def __init__(self) -> None:
        self._free: list[th.Tensor] = []
        self._in_use: dict[int, list[th.Tensor]] = {}

    def take(self, like: Any, last_use: int) -> th.Tensor:
        """A place for a result.

        :param like: shape, strides and dtype
        :param last_use: index of the last operation that uses the result
        """
        n_elements = 1 + sum((size - 1) * stride for size, stride in zip(like.shape, like.stride, strict=True))
        n_bytes = -(-n_elements * like.dtype.itemsize // ALIGNMENT) * ALIGNMENT
        fitting = [block for block in self._free if n_bytes <= block.numel() <= LARGEST_BLOCK * n_bytes]
        block = fitting[-1] if fitting else th.empty(n_bytes, dtype=th.uint8)  # the last one may still be in the cache
        self._free = [other for other in self._free if other is not block]
        self._in_use.setdefault(last_use, []).append(block)
        return block.view(like.dtype).as_strided(like.shape, like.stride)

    def give_back(self, index: int) -> None:
        """Free the blocks whose last use is over.

        :param index: of the operation that was the last
        """
        self._free += self._in_use.pop(index, [])


@cache
def _out_form(operation: Any) -> tuple[Any, str] | None:
    """Form of an operation that writes into a given tensor, and the name of its argument; None if there is none.

    :param operation: any operation
    """
    if not isinstance(operation, th._ops.OpOverload) or operation._schema.is_mutable:
        return None
    asked = [(each.name, str(each.type)) for each in operation._schema.arguments]
    packet = operation.overloadpacket
    for form in (getattr(packet, name) for name in packet.overloads()):
        outs = [each.name for each in form._schema.arguments if each.is_out]
        others = [(each.name, str(each.type)) for each in form._schema.arguments if not each.is_out]
        if len(outs) == 1 and others == asked and _is_own(form):
            return form, outs[0]
    return None


def _is_own(form: th._ops.OpOverload) -> bool:
    """Whether a form computes in place; others compute elsewhere and copy."""
    return th._C._dispatch_has_kernel_for_dispatch_key(form.name(), "CPU")


def _write_into(place: fx.Node, node: fx.Node, form: tuple[Any, str], inputs: Inputs) -> None:
    """Let an operation write its result into a place."""
    dtype = node.meta["tensor_meta"].dtype
    kinds = [str(argument.type) for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    # PyTorch would wrap a number at each call, and its interpreter would look for another form.
    node.args = tuple(
        inputs.add(th.tensor(value, dtype=dtype)) if kind == "Tensor" and isinstance(value, (int, float)) else value
        for value, kind in zip(node.args, kinds, strict=False)
    )
    node.target, name = form
    node.replace_all_uses_with(place)
    node.kwargs = {**node.kwargs, name: place}


def _is_of_one_dtype(node: fx.Node, inputs: Inputs) -> bool:
    """Whether all tensors of an operation have the dtype of its result, so that a number beside them gets it, too."""
    given = (inputs.values.get(each, each.meta.get("tensor_meta")) for each in node.all_input_nodes)
    return all(each is not None and each.dtype is node.meta["tensor_meta"].dtype for each in given)


def _unalias(node: fx.Node, inputs: Inputs, lists: dict[fx.Node, Any]) -> None:
    """Replace a node by what it is known to return: an argument that it writes into, or views of an input.

    :param lists: views of nodes that return several, to which those of this node are added
    """
    target, args, kwargs = cast("Any", (node.target, node.args, node.kwargs))
    shared = list(aliased(node))
    written = [argument for is_write, arguments in shared if is_write for argument in arguments]
    if len(written) == 1:
        node.replace_all_uses_with(written[0])
    elif target is getitem and args[0] in lists:
        inputs.replace(node, node, lists[args[0]][args[1]])
    elif shared and not written and inputs.values.keys() >= set(node.all_input_nodes):
        args, kwargs = fx.map_arg((args, kwargs), inputs.values.__getitem__)
        views = target(*args, **kwargs)
        if isinstance(views, th.Tensor):
            inputs.replace(node, node, views)
        else:
            lists[node] = views
