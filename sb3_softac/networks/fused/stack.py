"""A stack of layers, or an ensemble of such stacks, as one node of the autograd graph.

PyTorch records a node of the autograd graph for each operation. For networks of a few hundred units this costs about as
much as the arithmetic. Here a whole network is one node, and the gradient of each layer is written out. The plain
modules are the reference: a network computes the same in both ways.

Shapes: B rows, N networks, I inputs, O outputs.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch as th
from torch import nn

from sb3_softac.networks.fused.layers import LAYERS, Gradients, HeadsLayer, Layer, LinearLayer, Saved
from sb3_softac.networks.fused.products import as_dtype, choose_products
from sb3_softac.networks.fused.unchanged import has_own_calls
from sb3_softac.networks.residual import Residual


class Stack:
    """Stack of layers that are computed one after another.

    :param modules: plain modules, in the order of the computation
    :param device: device of the parameters
    :param dtype: dtype of the operands of matrix products; None: that of the parameters. The outputs of the network are
        never rounded to it: at a Q of 300, neighbours in bfloat16 are 2 apart
    :param heads: linear layers on top of the last module, whose outputs stand side by side
    :raises ValueError: a module without a written-out gradient, or with a hook, which would not be called
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        device: th.device,
        dtype: th.dtype | None,
        heads: Sequence[nn.Linear] = (),
    ) -> None:
        self.dtype = dtype
        self.layers: list[Layer] = []
        for module, following in pairwise([*modules, next(iter(heads), None)]):
            assert module is not None
            self._add(module, following, device)
        if heads:
            n_weights = sum(head.weight.numel() for head in heads)
            self.layers.append(HeadsLayer(heads, choose_products(device, dtype and th.float32, n_weights)))
        first = self.layers[0] if self.layers else None
        #: dtype to cast the shared input to, once for the whole ensemble; None: no cast
        self.input_dtype = first.products.dtype if isinstance(first, LinearLayer) else None

    def _add(self, module: nn.Module, following: nn.Module | None, device: th.device) -> None:
        if has_own_calls(module):
            raise ValueError(f"{module} has hooks or a forward() of its own, which only `engine='eager'` calls")
        relu = {"relu": type(following) is nn.ReLU}
        if type(module) is nn.Linear:
            dtype = self.dtype and th.float32 if following is None else self.dtype
            products = choose_products(device, dtype, module.weight.numel())
            self.layers.append(LinearLayer(module, products, **relu))
        elif type(module) is nn.ReLU and self.layers and self.layers[-1].takes_relu:
            return
        elif type(module) is Residual:
            self.layers.append(ResidualLayer(module, Stack(module, device, self.dtype)))
        elif type(module) in LAYERS:
            kind = LAYERS[type(module)]
            self.layers.append(kind(module, **relu) if kind.takes_relu else kind(module))
        else:
            known = ", ".join(sorted(kind.__name__ for kind in {nn.Linear, Residual} | LAYERS.keys()))
            raise ValueError(f"{module} is not one of the layers with a written-out gradient: {known}")

    def parameters(self) -> list[th.Tensor | None]:
        """Current parameters of all layers."""
        return [parameter for layer in self.layers for parameter in layer.parameters()]

    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, list[Saved]]:
        """Output of the stack, and the tensors that each layer saves.

        :param x: (B, I)
        :param parameters: parameters of all layers
        :return: (B, O), and the saved tensors of each layer
        """
        saved = []
        start = 0
        for layer in self.layers:
            end = start + layer.n_parameters
            x, kept = layer.forward(x, parameters[start:end])
            saved.append(kept)
            start = end
        return x, saved

    def backward(
        self, grad: th.Tensor, saved: Sequence[Saved], needs: Sequence[bool], start: int = 0
    ) -> list[th.Tensor | None]:
        """Gradients of the input and of every parameter; stops below the last layer that needs one.

        :param grad: (B, O), gradient of the output
        :param saved: from :meth:`forward`
        :param needs: for the input and each parameter, whether a gradient is needed
        :param start: of the input, the first column that needs a gradient
        :return: a gradient for the input from that column on, and for each parameter; None where none is needed
        """
        if start > 0 and self.layers and isinstance(self.layers[0], LinearLayer):
            (weight, *others), *above = saved
            # Not as it lies there: for the columns of a wider matrix a library may have no fast product.
            saved, start = [(weight[..., start:].contiguous(), *others), *above], 0
        if self.layers and self.layers[-1].overwrites_grad:
            grad = grad.clone()  # autograd owns it and may use it elsewhere
        gradients: list[th.Tensor | None] = [None] * len(needs)
        end = len(needs)
        for layer, kept in zip(reversed(self.layers), reversed(saved), strict=True):
            begin = end - layer.n_parameters
            grad_input, *gradients[begin:end] = layer.backward(grad, kept, (any(needs[:begin]), *needs[begin:end]))
            if grad_input is None:
                return gradients
            grad, end = grad_input, begin
        gradients[0] = grad[..., start:]
        return gradients


class ResidualLayer(Layer):
    """Block whose input is added to its output: a stack inside of a stack.   arXiv:1512.03385

    :param module: the plain block
    :param inside: of its modules
    """

    def __init__(self, module: nn.Module, inside: Stack) -> None:
        super().__init__(module)
        self._inside = inside
        self.n_parameters = len(inside.parameters())

    def parameters(self) -> list[th.Tensor | None]:
        return self._inside.parameters()

    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, Saved]:
        y, saved = self._inside.forward(x, parameters)
        return x + y, tuple(saved)

    def first_rows(self, saved: Saved, n_rows: int) -> Saved:
        layers = zip(self._inside.layers, saved, strict=True)
        return tuple(layer.first_rows(kept, n_rows) for layer, kept in layers)

    def backward(self, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        grad_input, *gradients = self._inside.backward(grad, saved, needs)
        return None if grad_input is None else grad_input + grad, *gradients


def run(stacks: Sequence[Stack], *parts: th.Tensor) -> th.Tensor:
    """Outputs of N stacks of one structure for the same input.

    :param stacks: N stacks
    :param parts: (B, I) in all, side by side; a gradient is computed from the first part on that needs one
    :return: (N, B, O)
    """
    parameters = [parameter for stack in stacks for parameter in stack.parameters()]
    if th.is_grad_enabled():
        return _Network.apply(stacks, None, len(parts), *parts, *parameters)[0]
    return _forward(stacks, side_by_side(parts), parameters)[0]


def run_partly_trained(stack: Stack, x: th.Tensor, n_trained: int) -> tuple[th.Tensor, th.Tensor]:
    """Outputs of one stack, with gradient for the first rows only.

    :param stack: the stack
    :param x: (B, I), gets no gradient
    :param n_trained: number of rows whose outputs have a gradient
    :return: (n_trained, O) with gradient, and (B - n_trained, O) without
    """
    trained, other = _Network.apply([stack], n_trained, 1, x, *stack.parameters())
    return trained.squeeze(0), other.squeeze(0)


def _forward(
    stacks: Sequence[Stack], x: th.Tensor, parameters: Sequence[th.Tensor | None]
) -> tuple[th.Tensor, list[list[Saved]]]:
    """Outputs (N, B, O) of all stacks, and the tensors that each layer of each stack saves."""
    inputs = as_dtype(x, stacks[0].input_dtype)
    n_parameters = len(parameters) // len(stacks)
    parts = [parameters[i * n_parameters : (i + 1) * n_parameters] for i in range(len(stacks))]
    outputs, saved = zip(*[stack.forward(inputs, part) for stack, part in zip(stacks, parts, strict=True)], strict=True)
    stacked = th.stack(outputs) if len(outputs) > 1 else outputs[0].unsqueeze(0)
    return as_dtype(stacked, x.dtype), list(saved)


class _Network(th.autograd.Function):
    """Autograd node of N stacks. It returns the first ``n_trained`` rows with gradient and the other rows without.

    With ``n_trained=None``, it returns all rows with gradient, and None. The parts of the input come before the
    parameters.
    """

    @staticmethod
    def forward(
        ctx: Any, stacks: Sequence[Stack], n_trained: int | None, n_parts: int, *tensors: th.Tensor | None
    ) -> tuple[th.Tensor, th.Tensor | None]:
        ctx.parts = Parts(tensors[:n_parts])
        x = side_by_side(tensors[:n_parts])
        outputs, saved = _forward(stacks, x, tensors[n_parts:])
        other = None
        if n_trained is not None:
            outputs, other = outputs[:, :n_trained], outputs[:, n_trained:]
            ctx.mark_non_differentiable(other)
            layers = stacks[0].layers
            saved = [[layer.first_rows(kept, n_trained) for layer, kept in zip(layers, saved[0], strict=True)]]
        ctx.stacks, ctx.dtype = stacks, x.dtype
        kept: list[th.Tensor] = []
        ctx.saved = taken_out(saved, kept)
        ctx.save_for_backward(*kept)
        return outputs, other

    @staticmethod
    def backward(ctx: Any, grad_outputs: th.Tensor, _: Any) -> Any:
        needs_parts, needs = ctx.parts.split(ctx.needs_input_grad[3:])
        start = ctx.parts.start(needs_parts)
        saved = put_back(ctx.saved, ctx.saved_tensors)
        n_parameters = len(needs) // len(ctx.stacks)
        grad_x: th.Tensor | None = None
        gradients: list[th.Tensor | None] = []
        for i, (stack, grad) in enumerate(zip(ctx.stacks, grad_outputs.unbind(), strict=True)):
            own_needs = (any(needs_parts), *needs[i * n_parameters : (i + 1) * n_parameters])
            grad_input, *own = stack.backward(grad, saved[i], own_needs, start)
            gradients += own
            if grad_input is not None:
                grad_x = grad_input if grad_x is None else grad_x + grad_input
        grad_parts = ctx.parts.gradients(as_dtype(grad_x, ctx.dtype), needs_parts)
        return None, None, None, *grad_parts, *[as_dtype(gradient, ctx.dtype) for gradient in gradients]


def side_by_side(parts: Sequence[Any]) -> th.Tensor:
    """Parts of an input as one.

    :param parts: (B, I) in all
    :return: (B, I)
    """
    return parts[0] if len(parts) == 1 else th.cat(list(parts), dim=-1)


class Parts:
    """Parts of the input of an autograd node, which stand before its parameters.

    :param tensors: the parts, (B, I) in all
    """

    def __init__(self, tensors: Sequence[Any]) -> None:
        self._widths = [tensor.shape[-1] for tensor in tensors]

    def split(self, needs: Sequence[bool]) -> tuple[Sequence[bool], Sequence[bool]]:
        """Needs of the parts, and of the parameters."""
        return needs[: len(self._widths)], needs[len(self._widths) :]

    def start(self, needs: Sequence[bool]) -> int:
        """Column of the first part that needs a gradient; 0 if none does."""
        return sum(self._widths[: needs.index(True)]) if any(needs) else 0

    def gradients(self, grad: th.Tensor | None, needs: Sequence[bool]) -> list[th.Tensor | None]:
        """Gradient of each part.

        :param grad: of the input, from the first part on that needs one
        :param needs: for each part, whether it does
        """
        if grad is None or not any(needs):
            return [None] * len(needs)
        first = list(needs).index(True)
        return [*[None] * first, *grad.split(self._widths[first:], dim=-1)]


def taken_out(saved: Any, tensors: list[th.Tensor]) -> Any:
    """Nested tuples with indices in the place of their tensors.

    :param saved: nested tuples of tensors
    :param tensors: to which the tensors are appended
    """
    if isinstance(saved, th.Tensor):
        tensors.append(saved)
        return len(tensors) - 1
    return tuple([taken_out(each, tensors) for each in saved])


def put_back(indices: Any, tensors: Sequence[th.Tensor]) -> Any:
    """Nested tuples with the tensors in their places again.

    :param indices: result of :func:`taken_out`
    :param tensors: all of them
    """
    return tensors[indices] if type(indices) is int else tuple([put_back(each, tensors) for each in indices])
