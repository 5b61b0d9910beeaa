"""A stack of layers, or an ensemble of such stacks, as one node of the autograd graph.

PyTorch records a node for each operation; for networks of a few hundred units the record costs about as much as the
arithmetic. Here a whole network is one node, with the gradient of each layer written out. The plain modules are the
reference: a network computes the same with and without.

Shapes: B rows, N networks, I inputs, O outputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch as th
from torch import nn

from sb3_softac.networks.products import Products

aten = th.ops.aten
#: What a layer keeps for its backward pass
Saved = tuple[th.Tensor, ...]
#: Of a layer's input and of its parameters; None where none is needed
Gradients = tuple[th.Tensor | None, ...]


class Layer(ABC):
    """One layer as a pure function, with its gradient.

    :param module: holds the parameters
    """

    #: names of the parameters, in the order of their gradients
    parameter_names: tuple[str, ...] = ()
    #: whether :meth:`backward` writes into the gradient it is given
    overwrites_grad = False

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def parameters(self) -> list[th.Tensor | None]:
        """The parameters as they are now, of a module or of one that has the same names."""
        own = self.module._parameters  # without the search of `nn.Module.__getattr__`
        return [own[name] for name in self.parameter_names]

    @abstractmethod
    def forward(
        self, products: Products, x: th.Tensor, parameters: Sequence[th.Tensor | None]
    ) -> tuple[th.Tensor, Saved]:
        """The output (B, O), and what :meth:`backward` needs.

        :param products: of the linear layers
        :param x: (B, I)
        :param parameters: in the order of ``parameter_names``
        """

    @abstractmethod
    def backward(self, products: Products, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        """Gradients of the input and of each parameter.

        :param products: of the linear layers
        :param grad: (B, O), of the output
        :param saved: of :meth:`forward`
        :param needs: whether a gradient is needed, of the input and of each parameter
        """


class LinearLayer(Layer):
    """``y = x W^T + b``, with the ReLU that follows, if one does.

    :param module: the linear layer, or anything with its two parameters
    :param relu: whether a ReLU follows
    """

    parameter_names = ("weight", "bias")

    def __init__(self, module: nn.Module, relu: bool = False) -> None:
        super().__init__(module)
        self._relu = relu
        self.overwrites_grad = relu

    def forward(
        self, products: Products, x: th.Tensor, parameters: Sequence[th.Tensor | None]
    ) -> tuple[th.Tensor, Saved]:
        weight, bias = parameters
        assert weight is not None
        if products.dtype is not None:
            weight, bias = weight.to(products.dtype), as_dtype(bias, products.dtype)
        y = products.linear(x, weight, bias, self._relu)
        return y, ((x, weight, y) if self._relu else (x, weight))

    def backward(self, products: Products, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        x, weight = saved[:2]
        if self._relu:
            grad = aten.threshold_backward.grad_input(grad, saved[2], 0, grad_input=grad)
        needs_x, needs_weight, needs_bias = needs
        return (
            products.grad_input(grad, weight) if needs_x else None,
            products.grad_weight(grad, x) if needs_weight else None,
            grad.sum(dim=0) if needs_bias else None,
        )


class LayerNormLayer(Layer):
    """Layer normalisation over the last dimension.   arXiv:1607.06450

    :param module: the plain layer
    """

    parameter_names = ("weight", "bias")
    module: nn.LayerNorm

    def forward(
        self, products: Products, x: th.Tensor, parameters: Sequence[th.Tensor | None]
    ) -> tuple[th.Tensor, Saved]:
        weight, bias = parameters
        assert weight is not None
        assert bias is not None
        y, mean, rstd = aten.native_layer_norm(x, self.module.normalized_shape, weight, bias, self.module.eps)
        return y, (x, mean, rstd, weight, bias)

    def backward(self, products: Products, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        x, mean, rstd, weight, bias = saved
        return aten.native_layer_norm_backward(
            grad, x, self.module.normalized_shape, mean, rstd, weight, bias, list(needs)
        )


class DropoutLayer(Layer):
    """Dropout, as the plain layer draws it; nothing while evaluating.

    :param module: the plain layer
    """

    module: nn.Dropout

    def forward(
        self, products: Products, x: th.Tensor, parameters: Sequence[th.Tensor | None]
    ) -> tuple[th.Tensor, Saved]:
        if not self.module.training or self.module.p == 0.0:
            return x, ()
        keep = 1.0 - self.module.p
        mask = th.empty_like(x).bernoulli_(keep).div_(keep)
        return x * mask, (mask,)

    def backward(self, products: Products, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        return (grad * saved[0] if saved else grad,)


class ActivationLayer(Layer):
    """An activation without parameters.

    :param module: the plain layer
    """

    #: for each activation, the gradient of its input from that of its output, the output and the input
    GRADIENTS: ClassVar[dict[type[nn.Module], Callable[[th.Tensor, th.Tensor, th.Tensor], th.Tensor]]] = {
        nn.ReLU: lambda grad, y, x: aten.threshold_backward(grad, y, 0),
        nn.Tanh: lambda grad, y, x: aten.tanh_backward(grad, y),
        nn.Sigmoid: lambda grad, y, x: aten.sigmoid_backward(grad, y),
        nn.SiLU: lambda grad, y, x: aten.silu_backward(grad, x),
    }

    def forward(
        self, products: Products, x: th.Tensor, parameters: Sequence[th.Tensor | None]
    ) -> tuple[th.Tensor, Saved]:
        y = self.module(x)
        return y, (y, x)

    def backward(self, products: Products, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        return (self.GRADIENTS[type(self.module)](grad, *saved),)


LAYERS: dict[type[nn.Module], Callable[[nn.Module], Layer]] = {
    nn.LayerNorm: LayerNormLayer,
    nn.Dropout: DropoutLayer,
    **dict.fromkeys(ActivationLayer.GRADIENTS, ActivationLayer),
}


def as_layers(modules: Sequence[nn.Module]) -> list[Layer]:
    """The layers of a stack of plain modules.

    :param modules: in the order of the computation
    :raises ValueError: a module that has no written-out gradient here, or a hook that would not be called
    """
    layers: list[Layer] = []
    for module, following in pairwise([*modules, None]):
        assert module is not None
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            raise ValueError(f"{module} has hooks, which only `engine='eager'` calls")
        if type(module) is nn.Linear:
            layers.append(LinearLayer(module, relu=type(following) is nn.ReLU))
        elif type(module) is nn.ReLU and layers and isinstance(layers[-1], LinearLayer):
            continue  # taken along by the linear layer
        elif type(module) in LAYERS:
            layers.append(LAYERS[type(module)](module))
        else:
            known = ", ".join(sorted(kind.__name__ for kind in {nn.Linear} | LAYERS.keys()))
            raise ValueError(f"{module} is not one of the layers with a written-out gradient: {known}")
    return layers


def run(products: Products, stacks: Sequence[Sequence[Layer]], x: th.Tensor, *heads: nn.Linear) -> th.Tensor:
    """The outputs of N stacks of layers of one structure, for the same input.

    :param products: of the linear layers
    :param stacks: N lists of layers
    :param x: (B, I)
    :param heads: linear layers on top of a single stack, whose outputs stand side by side
    :return: (N, B, O)
    """
    parameters = [parameter for stack in stacks for layer in stack for parameter in layer.parameters()]
    if heads:
        # One product for all heads; differentiable, so that each head gets its gradient.
        parameters += [th.cat([head.weight for head in heads]), th.cat([head.bias for head in heads])]
        stacks = [[*stacks[0], LinearLayer(heads[0])]]
    if th.is_grad_enabled():
        return _Network.apply(products, stacks, x, *parameters)
    outputs, _ = _forward(products, stacks, x, parameters)
    return outputs


def _forward(
    products: Products, stacks: Sequence[Sequence[Layer]], x: th.Tensor, parameters: Sequence[th.Tensor | None]
) -> tuple[th.Tensor, list[Saved]]:
    """The outputs (N, B, O), and what each layer saved."""
    inputs = as_dtype(x, products.dtype)
    outputs: list[th.Tensor] = []
    saved: list[Saved] = []
    position = 0
    for stack in stacks:
        hidden = inputs
        for layer in stack:
            end = position + len(layer.parameter_names)
            hidden, kept = layer.forward(products, hidden, parameters[position:end])
            saved.append(kept)
            position = end
        outputs.append(hidden)
    stacked = th.stack(outputs) if len(outputs) > 1 else outputs[0].unsqueeze(0)
    return as_dtype(stacked, x.dtype), saved


class _Network(th.autograd.Function):
    """N stacks of layers as one node."""

    @staticmethod
    def forward(
        ctx: Any, products: Products, stacks: Sequence[Sequence[Layer]], x: th.Tensor, *parameters: th.Tensor | None
    ) -> th.Tensor:
        outputs, saved = _forward(products, stacks, x, parameters)
        ctx.products, ctx.stacks, ctx.dtype = products, stacks, x.dtype
        ctx.n_saved = [len(kept) for kept in saved]
        ctx.save_for_backward(*[tensor for kept in saved for tensor in kept])
        return outputs

    @staticmethod
    @th.autograd.function.once_differentiable
    def backward(ctx: Any, grad_outputs: th.Tensor) -> Any:
        products, stacks, needs = ctx.products, ctx.stacks, ctx.needs_input_grad[2:]
        saved = iter(_regroup(ctx.saved_tensors, ctx.n_saved))
        grad_x: th.Tensor | None = None
        grad_parameters: list[th.Tensor | None] = []
        for stack, grad_output in zip(stacks, as_dtype(grad_outputs, products.dtype).unbind(), strict=True):
            if stack and stack[-1].overwrites_grad:
                grad_output = grad_output.clone()  # autograd's, and perhaps not only ours
            kept = [next(saved) for _ in stack]
            offset = 1 + len(grad_parameters)
            grad_input, gradients = _backward_stack(products, stack, grad_output, kept, needs[0], needs[offset:])
            grad_parameters += [as_dtype(gradient, ctx.dtype) for gradient in gradients]
            if grad_input is not None:
                grad_x = grad_input if grad_x is None else grad_x + grad_input
        return None, None, as_dtype(grad_x, ctx.dtype), *grad_parameters


def _backward_stack(
    products: Products,
    stack: Sequence[Layer],
    grad: th.Tensor,
    saved: Sequence[Saved],
    needs_x: bool,
    needs: Sequence[bool],
) -> tuple[th.Tensor | None, list[th.Tensor | None]]:
    """Gradients of one stack's input, and of its parameters from the first layer on.

    Goes down only as far as a gradient is needed.
    """
    gradients: list[th.Tensor | None] = []
    end = sum(len(layer.parameter_names) for layer in stack)
    hidden: th.Tensor | None = grad
    for layer, kept in zip(reversed(stack), reversed(saved), strict=True):
        start = end - len(layer.parameter_names)
        if hidden is None:
            gradients[:0] = [None] * (end - start)
        else:
            needs_input = needs_x or any(needs[:start])
            hidden, *own = layer.backward(products, hidden, kept, (needs_input, *needs[start:end]))
            gradients[:0] = own
        end = start
    return hidden if needs_x else None, gradients


def as_dtype(tensor: th.Tensor | None, dtype: th.dtype | None) -> Any:
    """The tensor in another dtype; without a call where nothing is to do."""
    return tensor if tensor is None or dtype is None or tensor.dtype is dtype else tensor.to(dtype)


def _regroup(tensors: Sequence[th.Tensor], sizes: Sequence[int]) -> list[Saved]:
    """Consecutive groups of the given sizes."""
    groups, start = [], 0
    for size in sizes:
        groups.append(tuple(tensors[start : start + size]))
        start += size
    return groups
