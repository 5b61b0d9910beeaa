"""Layers as pure functions with written-out gradients: the parts of a network that is one autograd node.

Shapes: B rows, I inputs, O outputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch as th
from torch import nn

from sb3_softac.networks.batch_renorm import EPSILON, BatchRenorm, moments
from sb3_softac.networks.fused.products import Products, as_dtype

aten = th.ops.aten
#: tensors that a layer keeps for its backward pass; those of the layers inside of it are tuples in this one
Saved = tuple[Any, ...]
#: gradients of a layer's input and of its parameters; None where none is needed
Gradients = tuple[th.Tensor | None, ...]


class Layer(ABC):
    """One layer as a pure function, with its gradient.

    :param module: the plain layer, which holds the parameters
    """

    #: names of the parameters, in the order of their gradients
    parameter_names: tuple[str, ...] = ()
    #: whether :meth:`backward` writes into the gradient that it is given
    overwrites_grad = False
    #: whether a layer of this kind can also compute the ReLU that follows it
    takes_relu = False

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.n_parameters = len(self.parameter_names)

    def parameters(self) -> list[th.Tensor | None]:
        """Current parameters, in the order of ``parameter_names``."""
        own = self.module._parameters  # without the search of `nn.Module.__getattr__`
        return [own[name] for name in self.parameter_names]

    @abstractmethod
    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, Saved]:
        """Output of the layer, and the tensors that :meth:`backward` needs.

        :param x: (B, I)
        :param parameters: in the order of ``parameter_names``
        :return: (B, O), and the tensors to save
        """

    def first_rows(self, saved: Saved, n_rows: int) -> Saved:
        """Tensors that :meth:`backward` needs for the first rows only.

        :param saved: from :meth:`forward`
        :param n_rows: number of rows
        """
        return tuple(tensor[:n_rows] for tensor in saved)

    @abstractmethod
    def backward(self, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        """Gradients of the input and of each parameter.

        :param grad: (B, O), gradient of the output
        :param saved: from :meth:`forward`
        :param needs: for the input and each parameter, whether a gradient is needed
        :return: a gradient for the input and each parameter; None where none is needed
        """


class LinearLayer(Layer):
    """Linear layer ``y = x W^T + b``, with the ReLU that follows, if any.

    :param module: the plain layer
    :param products: the matrix products
    :param relu: whether a ReLU follows
    """

    parameter_names = ("weight", "bias")
    takes_relu = True

    def __init__(self, module: nn.Module, products: Products, relu: bool = False) -> None:
        super().__init__(module)
        self.products = products
        self.has_relu = self.overwrites_grad = relu

    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, Saved]:
        weight, bias = parameters
        dtype = self.products.dtype
        x, weight = as_dtype(x, dtype), as_dtype(weight, dtype)
        y = self.products.linear(x, weight, bias, self.has_relu)
        return y, ((weight, x, y) if self.has_relu else (weight, x))

    def first_rows(self, saved: Saved, n_rows: int) -> Saved:
        weight, *rows = saved
        return weight, *super().first_rows(tuple(rows), n_rows)

    def backward(self, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        weight, x, *y = saved
        grad = as_dtype(grad, weight.dtype)
        if self.has_relu:
            relu_backward_(grad, y[0])
        needs_x, needs_weight, needs_bias = needs
        return (
            self.products.grad_input(grad, weight) if needs_x else None,
            self.products.grad_weight(grad, x) if needs_weight else None,
            grad.sum(dim=-2) if needs_bias else None,
        )


class HeadsLayer(LinearLayer):
    """Several linear layers with the same input, computed by one matrix product.

    :param heads: the plain layers, whose outputs stand side by side
    :param products: the matrix products
    """

    def __init__(self, heads: Sequence[nn.Linear], products: Products) -> None:
        super().__init__(heads[0], products)
        self._heads = heads

    def parameters(self) -> list[th.Tensor | None]:
        """Weights and biases of all heads, concatenated by a differentiable operation: each head gets its gradient."""
        return [th.cat([head.weight for head in self._heads]), th.cat([head.bias for head in self._heads])]


class LayerNormLayer(Layer):
    """Layer normalisation over the last dimension, with the ReLU that follows, if any.   arXiv:1607.06450

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
    """Batch renormalisation with the running statistics of the plain layer, which it updates in training mode.

    arXiv:1702.03275

    :param module: the plain layer
    """

    parameter_names = ("weight", "bias")
    module: BatchRenorm

    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, Saved]:
        weight, bias = parameters
        assert weight is not None
        assert bias is not None
        x = as_dtype(x, weight.dtype)  # running statistics in bfloat16 would round small steps away
        if not self.module.training:
            statistics = self.module.running_mean, self.module.running_var
            y, *_ = aten.native_batch_norm(x, weight, bias, *statistics, False, 0.0, EPSILON)
            return y, (x, weight, *statistics)
        mean, variance, centred = moments(x)
        rstd = (variance + EPSILON).rsqrt()
        correction = self.module.correction(mean, variance)
        self.module.track(mean, variance)
        if correction is not None:
            r, d = correction
            bias, weight = bias + weight * d, weight * r
        return th.addcmul(bias, centred, weight * rstd), (x, weight, mean, rstd, correction or ())

    def first_rows(self, saved: Saved, n_rows: int) -> Saved:
        raise ValueError("the rows of a batch that is normalised together are trained together")

    def backward(self, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        x, scale, *statistics = saved
        grad = as_dtype(grad, x.dtype)
        if len(statistics) == 2:
            return aten.native_batch_norm_backward(grad, x, scale, *statistics, None, None, False, EPSILON, list(needs))
        mean, rstd, correction = statistics
        grad_x, grad_scale, grad_shift = aten.native_batch_norm_backward(
            grad, x, scale, None, None, mean, rstd, True, EPSILON, [needs[0], True, True]
        )
        if correction:
            r, d = correction
            grad_scale = grad_scale * r + grad_shift * d
        return grad_x, grad_scale, grad_shift


class RMSNormLayer(Layer):
    """Root mean square normalisation over the last dimension.   arXiv:1910.07467

    :param module: the plain layer
    """

    parameter_names = ("weight",)
    module: nn.RMSNorm

    def forward(self, x: th.Tensor, parameters: Sequence[th.Tensor | None]) -> tuple[th.Tensor, Saved]:
        (weight,) = parameters
        assert weight is not None
        x = as_dtype(x, weight.dtype)
        epsilon = self.module.eps or th.finfo(x.dtype).eps
        rstd = (x.square().mean(dim=-1, keepdim=True) + epsilon).rsqrt()
        unscaled = x * rstd
        return unscaled * weight, (weight, unscaled, rstd)

    def first_rows(self, saved: Saved, n_rows: int) -> Saved:
        weight, *rows = saved
        return weight, *super().first_rows(tuple(rows), n_rows)

    def backward(self, grad: th.Tensor, saved: Saved, needs: Sequence[bool]) -> Gradients:
        weight, unscaled, rstd = saved
        grad = as_dtype(grad, weight.dtype)
        grad_weight = (grad * unscaled).sum(dim=0) if needs[1] else None
        if not needs[0]:
            return None, grad_weight
        scaled = grad * weight
        along = (scaled * unscaled).mean(dim=-1, keepdim=True)
        return (scaled - unscaled * along) * rstd, grad_weight


class DropoutLayer(Layer):
    """Dropout with the random numbers of the plain layer; the identity in evaluation mode.

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
    """Activation without parameters.

    :param module: the plain layer
    """

    #: for each activation: function from (gradient of the output, output, input) to the gradient of the input
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
    """Turn the gradient of a ReLU's output into the gradient of its input, in place.

    :param grad: gradient of the output, of any shape
    :param y: output of the ReLU, of the same shape
    """
    aten.threshold_backward.grad_input(grad, y, 0, grad_input=grad)


LAYERS: dict[type[nn.Module], type[Layer]] = {
    nn.LayerNorm: LayerNormLayer,
    nn.RMSNorm: RMSNormLayer,
    BatchRenorm: BatchRenormLayer,
    nn.Dropout: DropoutLayer,
    **dict.fromkeys(ActivationLayer.GRADIENTS, ActivationLayer),
}
