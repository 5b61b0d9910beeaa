"""Recording of a function's operations, those of its backward passes included, as a flat list."""

from collections.abc import Mapping
from operator import getitem
from typing import Any, cast

import torch as th
from torch import fx
from torch.fx.node import map_aggregate
from torch.utils._python_dispatch import TorchDispatchMode

from sb3_softac.engines.recorded import Inputs, set_layout

aten = th.ops.aten

# Tags of operations that return a number, or a tensor whose shape depends on numbers.
DEPEND_ON_NUMBERS = {th.Tag.data_dependent_output, th.Tag.dynamic_output_shape}
# Operations that make a tensor a view of itself, for which there is one that returns the view.
TURNED = ("squeeze_", "unsqueeze_", "t_", "transpose_", "swapaxes_", "swapdims_")


class Recorder(TorchDispatchMode):
    """Context in which all operations of PyTorch are recorded that this thread runs.

    It lies below autograd, so that it sees the operations of backward passes, too. Tensors that were there before
    become inputs of the graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self._end = self.graph.output(())
        self.inputs = Inputs(self.graph)
        #: tensors that were there before
        self.outside: list[th.Tensor] = []
        #: why a replay would not do the same; None if it would
        self.obstacle: str | None = None
        # Of all tensors that were seen. As they are kept, no other one gets their identity or their memory.
        self._nodes: dict[int, tuple[th.Tensor, fx.Node]] = {}
        self._memory_from_outside = {0}  # the address of what has no memory
        self._memory_of_results: set[int] = set()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation, and record it; called by PyTorch."""
        if operation.namespace == "profiler":  # computes nothing
            return operation(*args, **(kwargs or {}))
        kwargs = kwargs or {}
        if _depends_on_numbers(operation, args):
            self._obstruct(f"what follows {operation} may depend on numbers")
        if operation is aten.lift_fresh.default:
            # What Python makes is a new tensor in each call, which may be written into.
            self._look_at_memory(args[0])
            self._add(aten.clone.default, ((self.inputs.add(args[0].clone()),), {}), args[0])
            return args[0]
        given = cast("Any", map_aggregate((args, dict(kwargs)), self._recorded))
        result = operation(*args, **kwargs)
        if th.Tag.inplace_view in operation.tags:
            operation = self._view_in_place_of(operation, result)
        self._add(operation, given, result)
        return result

    def _view_in_place_of(self, operation: Any, result: th.Tensor) -> Any:
        """Operation that returns a view, in place of one that makes its argument one: that can be done once only."""
        name = operation.overloadpacket.__name__
        if name not in TURNED or any(result is tensor for tensor in self.outside):
            self._obstruct(f"{operation} changes the shape of a tensor")
            return operation
        return getattr(getattr(aten, name.removesuffix("_")), operation._schema.overload_name or "default")

    def _obstruct(self, reason: str) -> None:
        self.obstacle = self.obstacle or reason

    def _recorded(self, value: Any) -> Any:
        """An argument as the graph has it."""
        if not isinstance(value, th.Tensor):
            return value
        if id(value) not in self._nodes:
            self._look_at_memory(value)
            self.outside.append(value)
            self._memory_from_outside.add(_address(value))
            self._nodes[id(value)] = value, self.inputs.add(value.detach())
        return self._nodes[id(value)][1]

    def _look_at_memory(self, value: th.Tensor) -> None:
        """See whether a tensor that was there before is none but a result."""
        if _address(value) in self._memory_of_results:
            self._obstruct("a result was passed on unseen")

    def _add(self, target: Any, given: tuple[Any, Any], result: Any) -> None:
        """Add an operation to the graph, or the choice of one of its results."""
        with self.graph.inserting_before(self._end):
            node = self.graph.call_function(target, *given)
        if isinstance(result, th.Tensor):
            set_layout(node, result)
            self._nodes[id(result)] = result, node
            self._memory_of_results |= {_address(result)} - self._memory_from_outside
        elif isinstance(result, (list, tuple)):
            for index, each in enumerate(result):
                self._add(getitem, ((node, index), {}), each)
        elif result is not None:
            self._obstruct(f"{target} returns {type(result).__name__}, which is no tensor")


def _depends_on_numbers(operation: Any, args: tuple[Any, ...]) -> bool:
    """Whether the shape of a result, or a number in Python, depends on the numbers in the arguments."""
    if operation is aten.index.Tensor:  # a mask does so, indices do not
        return any(index is not None and index.dtype in (th.bool, th.uint8) for index in args[1])
    return not DEPEND_ON_NUMBERS.isdisjoint(operation.tags)


def _address(tensor: th.Tensor) -> int:
    """Address of the memory that a tensor is in; 0 for none."""
    return tensor.untyped_storage().data_ptr()
