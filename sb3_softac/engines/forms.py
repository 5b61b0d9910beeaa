"""Forms of PyTorch's operations that write their result into a given tensor, in the place of a new one."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch as th
from torch import fx

from sb3_softac.engines.recorded import Inputs, layout_of, returns_tensor

aten = th.ops.aten

#: from the arguments of an operation to those of another one
Arguments = Callable[..., tuple[Any, ...]]


class Form(NamedTuple):
    """An operation that writes into a tensor.

    :param operation: the operation; None if nothing need be written
    :param name: its argument for the tensor; None if this is the first one
    :param arguments: its other arguments, from those of the operation whose place it takes
    """

    operation: Any
    name: str | None
    arguments: Arguments

    def write(self, node: fx.Node, place: fx.Node, inputs: Inputs) -> None:
        """Let a node write its result into a place.

        :param node: the node that :func:`form_of` was asked for; is changed
        :param place: an input
        :param inputs: to which numbers are added that stand in the place of tensors
        """
        node.replace_all_uses_with(place)
        if self.operation is None:
            node.graph.erase_node(node)
            return
        first, named = ((place,), {}) if self.name is None else ((), {**node.kwargs, self.name: place})
        args = (*first, *self.arguments(*node.args))
        # PyTorch would wrap a number at each call, and its interpreter would look for another form.
        args = tuple(
            inputs.add(th.tensor(value, dtype=layout_of(node).dtype)) if is_number else value
            for value, is_number in zip(args, _are_numbers(self.operation, args), strict=True)
        )
        node.target, node.args, node.kwargs = self.operation, args, named


def _as_given(*args: Any) -> tuple[Any, ...]:
    return args


# The same results by other words, of which there is a form: by the operation and the number of its arguments.
SPELLINGS: dict[tuple[Any, int], tuple[Any, Arguments]] = {
    (aten.rsub.Scalar, 2): (aten.sub.Tensor, lambda x, other: (other, x)),
    (aten.mul.Scalar, 2): (aten.mul.Tensor, _as_given),
    (aten.mean.default, 1): (aten.mean.dim, lambda x: (x, [])),
    (aten.sum.default, 1): (aten.sum.dim_IntList, lambda x: (x, [])),
}
# What fills a tensor, in the place of what makes one.
FILLS: dict[Any, Form] = {
    aten.randn.default: Form(aten.normal_.default, None, lambda shape: (0.0, 1.0)),
    aten.empty_like.default: Form(None, None, _as_given),
}


def form_of(node: fx.Node) -> Form | None:
    """Form of a node's operation that computes the same bits in a given place; None if there is none.

    :param node: calls an operation
    """
    if not returns_tensor(node):
        return None
    if node.target in FILLS:
        return FILLS[node.target]
    operation, arguments = SPELLINGS.get((node.target, len(node.args)), (node.target, _as_given))
    found = _out_form(operation)
    if found is None:
        return None
    has_numbers = any(_are_numbers(operation, arguments(*node.args)))
    return None if has_numbers and not _is_of_one_dtype(node) else Form(*found, arguments)


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


def _are_numbers(operation: Any, args: tuple[Any, ...]) -> list[bool]:
    """For each argument, whether it is a number in the place of a tensor."""
    kinds = [str(argument.type) for argument in operation._schema.arguments]
    return [kind == "Tensor" and isinstance(value, (int, float)) for value, kind in zip(args, kinds, strict=False)]


def _is_of_one_dtype(node: fx.Node) -> bool:
    """Whether all tensors of an operation have the dtype of its result, so that a number beside them gets it, too."""
    given = node.all_input_nodes
    if layout_of(node).dtype not in (th.float32, th.float64):  # beside others PyTorch keeps a number as it is
        return False
    return all(returns_tensor(each) and layout_of(each).dtype is layout_of(node).dtype for each in given)
