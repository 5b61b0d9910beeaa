"""N stacks of linear layers that are computed together: one product for each layer of all of them.

For layers of 64 units, a call costs about as much as its arithmetic.

Shapes: N networks, B rows, I inputs, O outputs.
"""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import torch as th
from torch import nn

from sb3_softac.networks.fused.layers import LinearLayer
from sb3_softac.networks.fused.products import TorchProducts, product
from sb3_softac.networks.fused.stack import Parts, Stack, put_back, side_by_side, taken_out

# For fewer inputs or outputs, a library computes a product of a batch in another way than the same product alone.
NARROW = 16


class BatchedProducts(TorchProducts):
    """Products of the linear layers of N networks: every argument has N as its first dimension.

    They round as the products of one network do.
    """

    def linear(self, x: th.Tensor, weight: th.Tensor, bias: th.Tensor | None, relu: bool) -> th.Tensor:
        if _is_narrow(weight):
            biases = [None] * len(weight) if bias is None else bias.unbind()
            y = th.stack(
                [super(BatchedProducts, self).linear(*each, False) for each in zip(x, weight, biases, strict=True)]
            )
        elif bias is None:
            y = th.bmm(x, weight.transpose(1, 2))
        else:
            y = th.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
        return y.relu_() if relu else y

    def grad_input(self, grad: th.Tensor, weight: th.Tensor) -> th.Tensor:
        return product(grad, weight, _one_by_one if _is_narrow(weight) else th.bmm)

    def grad_weight(self, grad: th.Tensor, x: th.Tensor) -> th.Tensor:
        return product(grad.mT, x, _one_by_one if min(grad.shape[-1], x.shape[-1]) < NARROW else th.bmm)


def _one_by_one(a: th.Tensor, b: th.Tensor) -> th.Tensor:
    """Products of N pairs of matrices."""
    return th.stack([one @ other for one, other in zip(a, b, strict=True)])


def _is_narrow(weight: th.Tensor) -> bool:
    return min(weight.shape[1:]) < NARROW


class Ensemble(Stack):
    """N stacks as one, whose parameters and inputs have N as their first dimension.

    :param stacks: N stacks for which :func:`fits` is true
    """

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.stacks = list(stacks)
        self.dtype = self.input_dtype = None
        self.layers = [LinearLayer(layer.module, BatchedProducts(), layer.has_relu) for layer in _linear(stacks[:1])]

    def run(self, *parts: th.Tensor) -> th.Tensor:
        """Outputs of all networks for the same input.

        :param parts: (B, I) in all, side by side; a gradient is computed from the first part on that needs one
        :return: (N, B, O)
        """
        parameters = [parameter for stack in self.stacks for parameter in stack.parameters()]
        if th.is_grad_enabled():
            return _Node.apply(self, len(parts), *parts, *parameters)
        x = side_by_side(parts)
        return self.forward(x.expand(len(self.stacks), *x.shape), self.joined(parameters))[0]

    def joined(self, parameters: Sequence[th.Tensor | None]) -> list[th.Tensor | None]:
        """Parameters of all networks as one tensor for each of the first one's.

        :param parameters: those of the first network, then those of the second, ...
        """
        n_each = len(parameters) // len(self.stacks)
        return [_side_by_side(parameters[i::n_each]) for i in range(n_each)]


class _Node(th.autograd.Function):
    """Autograd node of an ensemble."""

    @staticmethod
    def forward(ctx: Any, ensemble: Ensemble, n_parts: int, *tensors: th.Tensor | None) -> th.Tensor:
        ctx.ensemble, ctx.parts = ensemble, Parts(tensors[:n_parts])
        x = side_by_side(tensors[:n_parts])
        joined = ensemble.joined(tensors[n_parts:])
        outputs, saved = ensemble.forward(x.expand(len(ensemble.stacks), *x.shape), joined)
        kept: list[th.Tensor] = []
        ctx.saved = taken_out(saved, kept)
        ctx.save_for_backward(*kept)
        return outputs

    @staticmethod
    def backward(ctx: Any, grad_outputs: th.Tensor) -> Any:
        needs_parts, needs = ctx.parts.split(ctx.needs_input_grad[2:])
        n_networks = len(ctx.ensemble.stacks)
        n_each = len(needs) // n_networks
        needed = [any(needs[i::n_each]) for i in range(n_each)]  # a user may have frozen a layer of one network
        saved = put_back(ctx.saved, ctx.saved_tensors)
        start = ctx.parts.start(needs_parts)
        grad_x, *joined = ctx.ensemble.backward(grad_outputs, saved, (any(needs_parts), *needed), start)
        gradients = [None if own is None else own[i] for i in range(n_networks) for own in joined]
        chosen = [own if is_needed else None for own, is_needed in zip(gradients, needs, strict=True)]
        grad_parts = ctx.parts.gradients(reduce(add, grad_x) if any(needs_parts) else None, needs_parts)
        return None, None, *grad_parts, *chosen


def fits(stacks: Sequence[Stack]) -> bool:
    """Whether stacks can be computed together: linear layers alone, by PyTorch's own products.

    :param stacks: stacks of one structure
    """
    layers = [layer for stack in stacks for layer in stack.layers]
    products = [layer.products for layer in _linear(stacks)]
    own = all(type(each) is TorchProducts and each.dtype is None for each in products)
    return len(stacks) > 1 and len(layers) > 0 and len(products) == len(layers) and own


def _linear(stacks: Sequence[Stack]) -> list[LinearLayer]:
    return [layer for stack in stacks for layer in stack.layers if type(layer) is LinearLayer]


def lay_side_by_side(networks: Sequence[nn.Module]) -> None:
    """Move the parameters of networks, so that the same ones of all networks are one piece of memory.

    :param networks: networks of one structure
    """
    for parameters in zip(*[network.parameters() for network in networks], strict=True):
        for parameter, place in zip(parameters, th.stack([each.data for each in parameters]), strict=True):
            parameter.data = place


def _side_by_side(tensors: Sequence[th.Tensor | None]) -> th.Tensor | None:
    """Tensors as one, (N, ...): a view, if they lie side by side in memory."""
    first = tensors[0]
    if first is None:
        return None
    step = first.numel() * first.element_size()
    storage, start = first.untyped_storage().data_ptr(), first.data_ptr()
    for i, tensor in enumerate(tensors):
        assert tensor is not None  # all networks have one structure
        lies_there = tensor.untyped_storage().data_ptr() == storage and tensor.data_ptr() == start + i * step
        if not lies_there or not tensor.is_contiguous():  # a user has put in another one
            return th.stack(tensors)  # type: ignore[arg-type]
    return first.as_strided((len(tensors), *first.shape), (first.numel(), *first.stride()))
