"""A stack of layers, or an ensemble of such stacks, as one node of the autograd graph.

PyTorch records a node for each operation; for networks of a few hundred units the record costs about as much as the
arithmetic. Here a whole network is one node, with the gradient of each layer written out. The plain modules are the
reference: a network computes the same with and without.

Shapes: B rows, N networks, I inputs, O outputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch as th
from torch import nn

from sb3_softac.networks.batch_renorm import EPSILON, BatchRenorm, moments
from sb3_softac.networks.hooks import has_hooks
from sb3_softac.networks.products import Products, as_dtype, choose_products

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
    #: whether a layer of this kind takes along the ReLU that follows it
    takes_relu = False

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.n_parameters = len(self.parameter_names)

    def parameters(self) -> list[th.Tensor | None]:
        """The parameters as they are now."""
        own = self.module._parameters  # without the search of `nn.Module.__getattr__`
        return [own[name] for name in self.parameter_names]

    @abstractmethod
    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, Saved]:
        """The output (B, O), and what :meth:`backward` needs.

        :param x: (B, I)
        :param parameters: in the order of ``parameter_names``
        """

    def first_rows(self, saved: Saved, n_rows: int) -> Saved:
        """What :meth:`backward` needs for the first rows only."""
        return tuple(tensor[:n_rows] for tensor in saved)

    @abstractmethod
    def backward(self, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        """Gradients of the input and of each parameter.

        :param grad: (B, O), of the output
        :param saved: of :meth:`forward`
        :param needs: whether a gradient is needed, of the input and of each parameter
        """


class LinearLayer(Layer):
    """``y = x W^T + b``, with the ReLU that follows, if one does.

    :param module: the plain layer
    :param products: the matrix products
    :param relu: whether a ReLU follows
    """

    parameter_names = ("weight", "bias")
    takes_relu = True

    def __init__(self, module: nn.Module, products: Products, relu: bool = False) -> None:
        super().__init__(module)
        self._products = products
        self._relu = relu
        self.overwrites_grad = relu

    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, Saved]:
        weight, bias = parameters
        dtype = self._products.dtype
        x, weight = as_dtype(x, dtype), as_dtype(weight, dtype)
        y = self._products.linear(x, weight, bias, self._relu)
        return y, ((weight, x, y) if self._relu else (weight, x))

    def first_rows(self, saved: Saved, n_rows: int) -> Saved:
        weight, *rows = saved
        return weight, *super().first_rows(tuple(rows), n_rows)

    def backward(self, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        weight, x, *y = saved
        grad = as_dtype(grad, weight.dtype)
        if self._relu:
            relu_backward_(grad, y[0])
        needs_x, needs_weight, needs_bias = needs
        return (
            self._products.grad_input(grad, weight) if needs_x else None,
            self._products.grad_weight(grad, x) if needs_weight else None,
            grad.sum(dim=0) if needs_bias else None,
        )


class HeadsLayer(LinearLayer):
    """Several linear layers with the same input, by one product.

    :param heads: the plain layers; their outputs stand side by side
    :param products: the matrix products
    """

    def __init__(self, heads: Sequence[nn.Linear], products: Products) -> None:
        super().__init__(heads[0], products)
        self._heads = heads

    def parameters(self) -> list[th.Tensor | None]:
        """Side by side; differentiable, so that each head gets its gradient."""
        return [th.cat([head.weight for head in self._heads]), th.cat([head.bias for head in self._heads])]


class LayerNormLayer(Layer):
    """Layer normalisation over the last dimension, with the ReLU that follows, if one does.   arXiv:1607.06450

    :param module: the plain layer
    :param relu: whether a ReLU follows
    """

    parameter_names = ("weight", "bias")
    takes_relu = True
    module: nn.LayerNorm

    def __init__(self, module: nn.Module, relu: bool = False) -> None:
        super().__init__(module)
        self._relu = relu
        self.overwrites_grad = relu

    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, Saved]:
        weight, bias = parameters
        assert weight is not None
        assert bias is not None
        y, mean, rstd = aten.native_layer_norm(x, self.module.normalized_shape, weight, bias, self.module.eps)
        saved = (weight, bias, x, mean, rstd)
        return (y.relu_(), (*saved, y)) if self._relu else (y, saved)

    def first_rows(self, saved: Saved, n_rows: int) -> Saved:
        weight, bias, *rows = saved
        return weight, bias, *super().first_rows(tuple(rows), n_rows)

    def backward(self, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        weight, bias, x, mean, rstd, *y = saved
        grad = as_dtype(grad, x.dtype)
        if self._relu:
            relu_backward_(grad, y[0])
        return aten.native_layer_norm_backward(
            grad, x, self.module.normalized_shape, mean, rstd, weight, bias, list(needs)
        )


class BatchRenormLayer(Layer):
    """Batch renormalisation, by the statistics of the plain layer, which learns from those of the batch.

    arXiv:1702.03275

    :param module: the plain layer
    """

    parameter_names = ("weight", "bias")
    module: BatchRenorm

    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, Saved]:
        weight, bias = parameters
        assert weight is not None
        assert bias is not None
        x = as_dtype(x, weight.dtype)  # as statistics of a lower precision would not move
        if not self.module.training:
            statistics = self.module.running_mean, self.module.running_var
            y, *_ = aten.native_batch_norm(x, weight, bias, *statistics, False, 0.0, EPSILON)
            return y, (x, weight, *statistics)
        mean, variance, centred = moments(x)
        rstd = (variance + EPSILON).rsqrt()
        r, d = self.module.correction(mean, variance)
        scale = weight * r
        y = th.addcmul(bias + weight * d, centred, scale * rstd)
        return y, (x, scale, mean, rstd, r, d)

    def first_rows(self, saved: Saved, n_rows: int) -> Saved:
        raise ValueError("the rows of a batch that is normalised together are trained together")

    def backward(self, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        x, scale, *statistics = saved
        grad = as_dtype(grad, x.dtype)
        if len(statistics) == 2:
            return aten.native_batch_norm_backward(grad, x, scale, *statistics, None, None, False, EPSILON, list(needs))
        mean, rstd, r, d = statistics
        grad_x, grad_scale, grad_shift = aten.native_batch_norm_backward(
            grad, x, scale, None, None, mean, rstd, True, EPSILON, [needs[0], True, True]
        )
        return grad_x, grad_scale * r + grad_shift * d, grad_shift


class DropoutLayer(Layer):
    """Dropout, as the plain layer draws it; nothing while evaluating.

    :param module: the plain layer
    """

    module: nn.Dropout

    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, Saved]:
        if not self.module.training or self.module.p == 0.0:
            return x, ()
        keep = 1.0 - self.module.p
        mask = th.empty_like(x).bernoulli_(keep).div_(keep)
        return x * mask, (mask,)

    def backward(self, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
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

    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, Saved]:
        y = self.module(x)
        return y, (y, x)

    def backward(self, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        y, x = saved
        return (self.GRADIENTS[type(self.module)](as_dtype(grad, y.dtype), y, x),)


def relu_backward_(grad: th.Tensor, y: th.Tensor) -> None:
    """Turn the gradient of a ReLU's output into that of its input, in place.

    :param grad: as ``y``
    :param y: the output
    """
    aten.threshold_backward.grad_input(grad, y, 0, grad_input=grad)


LAYERS: dict[type[nn.Module], type[Layer]] = {
    nn.LayerNorm: LayerNormLayer,
    BatchRenorm: BatchRenormLayer,
    nn.Dropout: DropoutLayer,
    **dict.fromkeys(ActivationLayer.GRADIENTS, ActivationLayer),
}


class Stack:
    """Layers one after another.

    :param modules: plain modules, in the order of the computation
    :param device: of the parameters
    :param dtype: of the operands of matrix products; None: the parameters' own
    :param heads: linear layers on top of the last module, whose outputs stand side by side
    :raises ValueError: a module that has no written-out gradient here, or a hook that would not be called
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
        for module, following in pairwise([*modules, None]):
            assert module is not None
            self._add(module, following, device)
        if heads:
            n_weights = sum(head.weight.numel() for head in heads)
            self.layers.append(HeadsLayer(heads, choose_products(device, dtype, n_weights)))

    def _add(self, module: nn.Module, following: nn.Module | None, device: th.device) -> None:
        if has_hooks(module):
            raise ValueError(f"{module} has hooks, which only `engine='eager'` calls")
        relu = {"relu": type(following) is nn.ReLU}
        if type(module) is nn.Linear:
            products = choose_products(device, self.dtype, module.weight.numel())
            self.layers.append(LinearLayer(module, products, **relu))
        elif type(module) is nn.ReLU and self.layers and self.layers[-1].takes_relu:
            return
        elif type(module) in LAYERS:
            kind = LAYERS[type(module)]
            self.layers.append(kind(module, **relu) if kind.takes_relu else kind(module))
        else:
            known = ", ".join(sorted(kind.__name__ for kind in {nn.Linear} | LAYERS.keys()))
            raise ValueError(f"{module} is not one of the layers with a written-out gradient: {known}")

    def parameters(self) -> list[th.Tensor | None]:
        """Of all layers, as they are now."""
        return [parameter for layer in self.layers for parameter in layer.parameters()]

    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, list[Saved]]:
        """The output, and what each layer saved.

        :param x: (B, I)
        :param parameters: of all layers
        """
        saved = []
        start = 0
        for layer in self.layers:
            end = start + layer.n_parameters
            x, kept = layer.forward(x, parameters[start:end])
            saved.append(kept)
            start = end
        return x, saved

    def backward(self, grad: th.Tensor, saved: Sequence[Saved], needs: Sequence[bool]) -> list[th.Tensor | None]:
        """Gradients of the input and of every parameter; goes down only as far as one is needed.

        :param grad: (B, O), of the output
        :param saved: of :meth:`forward`
        :param needs: whether a gradient is needed, of the input and of each parameter
        """
        if self.layers and self.layers[-1].overwrites_grad:
            grad = grad.clone()  # it is autograd's, and perhaps not only ours
        gradients: list[th.Tensor | None] = [None] * len(needs)
        end = len(needs)
        for layer, kept in zip(reversed(self.layers), reversed(saved), strict=True):
            start = end - layer.n_parameters
            grad_input, *gradients[start:end] = layer.backward(grad, kept, (any(needs[:start]), *needs[start:end]))
            if grad_input is None:
                return gradients
            grad, end = grad_input, start
        gradients[0] = grad
        return gradients


def run(stacks: Sequence[Stack], x: th.Tensor) -> th.Tensor:
    """The outputs of N stacks of one structure for the same input.

    :param stacks: N
    :param x: (B, I)
    :return: (N, B, O)
    """
    parameters = [parameter for stack in stacks for parameter in stack.parameters()]
    if th.is_grad_enabled():
        return _Network.apply(stacks, None, x, *parameters)[0]
    return _forward(stacks, x, parameters)[0]


def run_partly_trained(stack: Stack, x: th.Tensor, n_trained: int) -> tuple[th.Tensor, th.Tensor]:
    """The outputs of one stack, with gradients for the first rows only.

    :param stack: layers
    :param x: (B, I), which gets no gradient
    :param n_trained: rows that do
    :return: (n_trained, O), and (B - n_trained, O) without gradient
    """
    trained, other = _Network.apply([stack], n_trained, x, *stack.parameters())
    return trained[0], other[0]


def _forward(
    stacks: Sequence[Stack], x: th.Tensor, parameters: Sequence[th.Tensor | None]
) -> tuple[th.Tensor, list[list[Saved]]]:
    """The outputs (N, B, O), and what each layer of each stack saved."""
    inputs = as_dtype(x, stacks[0].dtype)
    n_parameters = len(parameters) // len(stacks)
    parts = [parameters[start : start + n_parameters] for start in range(0, len(parameters), n_parameters or 1)]
    outputs, saved = zip(*[stack.forward(inputs, part) for stack, part in zip(stacks, parts, strict=True)], strict=True)
    stacked = th.stack(outputs) if len(outputs) > 1 else outputs[0].unsqueeze(0)
    return as_dtype(stacked, x.dtype), list(saved)


class _Network(th.autograd.Function):
    """N stacks of layers as one node; of its two outputs the second, of the rows after the first, has no gradient."""

    @staticmethod
    def forward(
        ctx: Any, stacks: Sequence[Stack], n_trained: int | None, x: th.Tensor, *parameters: th.Tensor | None
    ) -> tuple[th.Tensor, th.Tensor | None]:
        outputs, saved = _forward(stacks, x, parameters)
        other = None
        if n_trained is not None:
            outputs, other = outputs[:, :n_trained], outputs[:, n_trained:]
            ctx.mark_non_differentiable(other)
            layers = stacks[0].layers
            saved = [[layer.first_rows(kept, n_trained) for layer, kept in zip(layers, saved[0], strict=True)]]
        ctx.stacks, ctx.dtype = stacks, x.dtype
        ctx.n_saved = [len(kept) for stack_saved in saved for kept in stack_saved]
        ctx.save_for_backward(*[tensor for stack_saved in saved for kept in stack_saved for tensor in kept])
        return outputs, other

    @staticmethod
    def backward(ctx: Any, grad_outputs: th.Tensor, _: Any) -> Any:
        needs_x, *needs = ctx.needs_input_grad[2:]
        saved = _regroup(ctx.saved_tensors, ctx.n_saved)
        n_layers, n_parameters = len(saved) // len(ctx.stacks), len(needs) // len(ctx.stacks)
        grad_x: th.Tensor | None = None
        gradients: list[th.Tensor | None] = []
        for i, (stack, grad) in enumerate(zip(ctx.stacks, grad_outputs.unbind(), strict=True)):
            own_needs = (needs_x, *needs[i * n_parameters : (i + 1) * n_parameters])
            grad_input, *own = stack.backward(grad, saved[i * n_layers : (i + 1) * n_layers], own_needs)
            gradients += own
            if needs_x:
                grad_x = grad_input if grad_x is None else grad_x + grad_input
        return None, None, *[as_dtype(gradient, ctx.dtype) for gradient in (grad_x, *gradients)]


def _regroup(tensors: Sequence[th.Tensor], sizes: Sequence[int]) -> list[Saved]:
    """Consecutive groups of the given sizes."""
    groups, start = [], 0
    for size in sizes:
        groups.append(tuple(tensors[start : start + size]))
        start += size
    return groups
