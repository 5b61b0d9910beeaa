"""Two ways to run a recorded update: by PyTorch's own interpreter, or as a list of calls in Python."""

from collections.abc import Callable, Mapping
from functools import partial
from operator import getitem
from typing import Any, cast

import torch as th
from torch import fx, nn

# The interpreter's numbers for what it has no other constants for.
MEMORY_FORMATS = {th.contiguous_format: 0, th.preserve_format: 1, th.channels_last: 2}


def interpreted(graph: fx.Graph, values: Mapping[fx.Node, th.Tensor]) -> Callable[[], None]:
    """Make a function that runs a graph by the interpreter of TorchScript.

    The operations are those of the graph, in their order and with their tensors: nothing is compiled, joined or left
    out. For networks of 64 units, the function takes about 0.6 of the time of the same list in Python.

    :param graph: operations of PyTorch, without a result
    :param values: tensors that stand for the inputs of the graph
    :return: the function; it holds the tensors
    :raises RuntimeError: the interpreter does not know an operation, or this PyTorch has no such interpreter
    """
    try:
        program = _Program(values)
        for node in graph.nodes:
            if node.op == "call_function":
                program.add(node)
        run = program.function()
    except (AttributeError, KeyError, TypeError) as error:  # these parts of PyTorch are not public
        raise RuntimeError(str(error)) from error

    def replay() -> None:
        # Else it would measure the first runs, and then compile parts that round in another way.
        with th.no_grad(), th.jit.optimized_execution(False):
            run()

    return replay


class _Program:
    """Program for the interpreter, to which one operation after the other is added.

    :param values: tensors that stand for the inputs
    """

    def __init__(self, values: Mapping[fx.Node, th.Tensor]) -> None:
        self._graph = cast("Any", th._C).Graph()  # its stubs leave most methods out
        # From a list, the interpreter cannot tell which tensors share memory, so that it leaves no write out.
        inputs = self._insert("prim::ListUnpack", [self._graph.insertConstant(list(values.values()))], len(values))
        self._values: dict[Any, Any] = dict(zip(values, inputs, strict=True))

    def add(self, node: fx.Node) -> None:
        """Add an operation, or the choice of one of its results.

        :param node: calls an operation of PyTorch, or takes an item of its results
        :raises RuntimeError: the interpreter would call another operation
        """
        if node.target is getitem:
            self._values[node] = self._item(*node.args)
            return
        schema = node.target._schema  # type: ignore[union-attr]
        given = dict(zip([argument.name for argument in schema.arguments], node.args, strict=False)) | node.kwargs
        inputs = [self._value(given.get(each.name, each.default_value), each.type) for each in schema.arguments]
        results = self._insert(schema.name, inputs, len(schema.returns))
        for result, returned in zip(results, schema.returns, strict=True):
            result.setType(returned.type)
        found = self._last.schema()
        if found != str(schema) and found != _of_numbers(schema, given):
            raise RuntimeError(f"{schema} became {found}")
        self._values[node] = results[0] if len(results) == 1 else results

    def _item(self, node: Any, index: Any) -> Any:
        """One result of an operation that has several, or that has a list of them."""
        results = self._values[node]
        if isinstance(results, list):
            return results[index]
        return self._insert("aten::__getitem__", [results, self._graph.insertConstant(index)], 1)[0]

    def function(self) -> Callable[[], None]:
        """The whole program."""
        self._graph.registerOutput(self._graph.insertConstant(None))
        return th._C._create_function_from_graph("update", self._graph)

    def _insert(self, kind: str, inputs: list[Any], n_outputs: int) -> list[Any]:
        self._last = self._graph.insertNode(self._graph.create(kind, inputs, n_outputs))
        return list(self._last.outputs())

    def _value(self, argument: Any, kind: Any) -> Any:
        """Value of an argument: an earlier one, a list of such, or a constant of the type that is asked for."""
        if isinstance(argument, fx.Node):
            return self._values[argument]
        if isinstance(argument, (list, tuple)):
            if isinstance(kind, th._C.OptionalType):
                kind = kind.getElementType()
            element = kind.getElementType()
            (made,) = self._insert("prim::ListConstruct", [self._value(each, element) for each in argument], 1)
            made.setType(kind)
            return made
        if isinstance(argument, th.memory_format):
            argument = MEMORY_FORMATS[argument]
        return self._graph.insertConstant(float(argument) if str(kind) == "float" else argument)


def _of_numbers(schema: Any, given: Mapping[str, Any]) -> str | None:
    """Form of an operation for a number in place of a tensor, which PyTorch wraps; None if there is none."""
    packet: Any = getattr(th.ops.aten, schema.name.removeprefix("aten::"), None)
    has_number = any(isinstance(value, (int, float)) for value in given.values())
    return str(packet.Scalar._schema) if has_number and hasattr(packet, "Scalar") else None


def listed(graph: fx.Graph, values: Mapping[fx.Node, th.Tensor]) -> Callable[[], None]:
    """Make a function that calls the operations of a graph from Python.

    :param graph: operations of PyTorch, without a result; is changed
    :param values: tensors that stand for the inputs of the graph
    """
    _call_directly(graph)
    forward, tensors = fx.GraphModule(nn.Module(), graph).forward, list(values.values())

    def replay() -> None:
        with th.no_grad():
            forward(*tensors)

    return replay


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
