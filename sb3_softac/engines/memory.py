"""Fixed places in memory for what the operations of a recorded update return.

An operation that allocates returns another address each time. With a fixed place, all views of the result are made
once, and two results that are not needed at the same time share one block, which stays in the cache.
"""

from operator import getitem
from typing import Any, NamedTuple, cast

import torch as th
from torch import fx

from sb3_softac.engines.forms import Form, form_of
from sb3_softac.engines.recorded import Inputs, aliased, layout_of, returned_argument, returns_tensor, written

aten = th.ops.aten

# Blocks begin where vector instructions read fastest, in bytes.
ALIGNMENT = 64
# Products, which libraries may round in another way where the result begins elsewhere; and what may hold them.
PRODUCTS = {
    *(aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default),
    *(aten.mv.default, aten.addmv.default, aten.addbmm.default, aten.dot.default, aten.cat.default),
}
# A result is put into a free block of at most this many times its size.
LARGEST_BLOCK = 2


def place(graph: fx.Graph, inputs: Inputs) -> None:
    """Let operations write into fixed places, and make all views of these places once.

    Results that are put together, as in a stack, are written there at once. Operations without a form that writes into
    a place stay as they are.

    :param graph: a recorded update; is changed
    :param inputs: its inputs, to which the places are added
    """
    nodes = [node for node in graph.nodes if node.op == "call_function"]
    forms = {node: form for node in nodes if (form := form_of(node)) is not None}
    last_uses = _last_uses(nodes)
    places = _Places(last_uses, *_find_parts(nodes, forms, last_uses))
    lists: dict[fx.Node, Any] = {}
    for index, node in enumerate(nodes):
        if node in places.wholes:
            places.complete(node, inputs)
        elif node in forms:
            forms[node].write(node, inputs.add(places.of(node)), inputs)
        else:
            _unalias(node, inputs, lists)
        places.free(index)
    graph.eliminate_dead_code()


class _Part(NamedTuple):
    """Part of what is put together of several results.

    :param whole: a stack or a concatenation
    :param dim: the dimension along which it is made
    :param start: index of the part in this dimension
    :param length: of the part in this dimension, which it lacks in a stack: None
    """

    whole: fx.Node
    dim: int
    start: int
    length: int | None

    def of(self, whole: th.Tensor) -> th.Tensor:
        """The part of a tensor."""
        if self.length is None:
            return whole.select(self.dim, self.start)
        return whole.narrow(self.dim, self.start, self.length)

    def is_laid_out_as(self, result: fx.Node) -> bool:
        """Whether the operations that use a result would find it as they know it."""
        like, whole = layout_of(result), layout_of(self.whole)
        part = self.of(th.empty_strided(whole.shape, whole.stride, dtype=whole.dtype, device="meta"))
        counts_from_start = any(user.target is aten.as_strided.default for user in result.users)
        same = (part.shape, part.stride(), part.dtype) == (like.shape, tuple(like.stride), like.dtype)
        is_aligned = part.storage_offset() * part.element_size() % ALIGNMENT == 0
        return same and not counts_from_start and (is_aligned or result.target not in PRODUCTS)


def _parts(whole: fx.Node) -> list[_Part]:
    """All parts of a stack or a concatenation."""
    pieces: Any = whole.args[0]
    dim: Any = whole.args[1] if len(whole.args) > 1 else 0
    if whole.target is aten.stack.default:
        return [_Part(whole, dim, index, None) for index in range(len(pieces))]
    lengths = [layout_of(piece).shape[dim] for piece in pieces]
    return [_Part(whole, dim, sum(lengths[:index]), length) for index, length in enumerate(lengths)]


def _can_be_put_together(node: fx.Node) -> bool:
    """Whether a node is a stack or a concatenation of tensors of one number of dimensions."""
    if node.target not in (aten.stack.default, aten.cat.default):
        return False
    known = all(map(returns_tensor, node.all_input_nodes))
    return (
        known and len({len(layout_of(piece).shape) for piece in node.all_input_nodes}) == 1
    )  # an empty one may differ


def _find_parts(
    nodes: list[fx.Node], forms: dict[fx.Node, Form], last_uses: dict[fx.Node, int]
) -> tuple[dict[fx.Node, _Part], dict[fx.Node, list[_Part]]]:
    """Results that can be written where they are put together, and all parts of what has at least one of them.

    Such a result is not used any more once it is put together, or neither of the two is written into.

    :param last_uses: what is put together is in use as long as its parts, which is noted here
    """
    changed = written(nodes)
    in_place: dict[fx.Node, _Part] = {}
    wholes: dict[fx.Node, list[_Part]] = {}
    for index, whole in enumerate(nodes):
        if not _can_be_put_together(whole):
            continue
        parts, pieces = _parts(whole), cast("Any", whole.args[0])
        for piece, part in zip(pieces, parts, strict=True):
            if piece not in forms or piece in in_place or not part.is_laid_out_as(piece):
                continue
            if last_uses[piece] == index or changed.isdisjoint((piece, whole)):
                in_place[piece] = part
                wholes[whole] = parts
                last_uses[whole] = max(last_uses[whole], last_uses[piece])  # before it becomes a part itself
    return in_place, wholes


def _last_uses(nodes: list[fx.Node]) -> dict[fx.Node, int]:
    """For each operation, the index of the last one that uses its result, directly or through a view."""
    index = {node: i for i, node in enumerate(nodes)}
    last: dict[fx.Node, int] = {}
    for node in reversed(nodes):  # users come later, so that theirs are known
        last[node] = max([index[node], *(index[user] for user in node.users if user in index)])
        views = [user for user in node.users if any(node in shared for _, shared in aliased(user))]
        last[node] = max([last[node], *(last[view] for view in views)])
    return last


class _Places:
    """Places of results, in blocks of memory each of which holds one result after another.

    :param last_uses: for each operation, the index of the last one that uses its result
    :param in_place: results that are written where they are put together
    :param wholes: all parts of what is put together
    """

    def __init__(
        self, last_uses: dict[fx.Node, int], in_place: dict[fx.Node, _Part], wholes: dict[fx.Node, list[_Part]]
    ) -> None:
        self.wholes = wholes
        self._in_place = in_place
        self._last_uses = last_uses
        self._places: dict[fx.Node, th.Tensor] = {}
        self._free: list[th.Tensor] = []
        self._in_use: dict[int, list[th.Tensor]] = {}

    def of(self, node: fx.Node) -> th.Tensor:
        """The place of a result.

        :param node: its operation
        """
        if node not in self._places:
            part = self._in_place.get(node)
            self._places[node] = self._take(node) if part is None else part.of(self.of(part.whole))
        return self._places[node]

    def _take(self, node: fx.Node) -> th.Tensor:
        """A place in a block that is free, or in a new one."""
        like = layout_of(node)
        n_elements = 1 + sum((size - 1) * stride for size, stride in zip(like.shape, like.stride, strict=True))
        n_bytes = -(-n_elements * like.dtype.itemsize // ALIGNMENT) * ALIGNMENT
        fitting = [block for block in self._free if n_bytes <= block.numel() <= LARGEST_BLOCK * n_bytes]
        block = fitting[-1] if fitting else th.empty(n_bytes, dtype=th.uint8)  # the last one may still be in the cache
        self._free = [other for other in self._free if other is not block]
        self._in_use.setdefault(self._last_uses[node], []).append(block)
        return block.view(like.dtype).as_strided(like.shape, like.stride)

    def free(self, index: int) -> None:
        """Free the blocks whose last use is over.

        :param index: of the operation that was the last
        """
        self._free += self._in_use.pop(index, [])

    def complete(self, whole: fx.Node, inputs: Inputs) -> None:
        """Copy into a whole what is not written there, and let its users read its place.

        :param whole: a stack or a concatenation
        :param inputs: to which the places are added
        """
        pieces: Any = whole.args[0]
        written_there = set(self._in_place.values())
        for piece, part in zip(pieces, self.wholes[whole], strict=True):
            if part not in written_there:
                to = inputs.add(part.of(self.of(whole)))
                with whole.graph.inserting_before(whole):
                    whole.graph.call_function(aten.copy_.default, (to, piece))
        whole.replace_all_uses_with(inputs.add(self.of(whole)))


def _unalias(node: fx.Node, inputs: Inputs, lists: dict[fx.Node, Any]) -> None:
    """Replace a node by what it is known to return: an argument that it writes into, or views of an input.

    :param lists: views of nodes that return several, to which those of this node are added
    """
    target, args, kwargs = cast("Any", (node.target, node.args, node.kwargs))
    shared = list(aliased(node))
    argument = returned_argument(node)
    if argument is not None:
        node.replace_all_uses_with(argument)
    elif target is getitem and args[0] in lists:
        inputs.replace(node, node, lists[args[0]][args[1]])
    elif shared and not any(is_write for is_write, _ in shared) and inputs.values.keys() >= set(node.all_input_nodes):
        args, kwargs = fx.map_arg((args, kwargs), inputs.values.__getitem__)
        views = target(*args, **kwargs)
        if isinstance(views, th.Tensor):
            inputs.replace(node, node, views)
        else:
            lists[node] = views
