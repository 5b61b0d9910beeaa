"""Matrix products of a linear layer, forward and backward, by the library that is fastest for them.

Shapes: B rows, I inputs, O outputs.
"""

import platform
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch as th

# Inputs times outputs from which oneDNN's longer call pays, and a lower precision pays for its conversions on a CPU.
MIN_WEIGHTS = 1024
# What PyTorch's own compiler emits for a linear layer on a CPU; None in a PyTorch without oneDNN.
_onednn_linear: Any = None
if th.backends.mkldnn.is_available() and hasattr(th.ops.mkldnn, "_linear_pointwise"):
    _onednn_linear = th.ops.mkldnn._linear_pointwise.default
CPU_INFO = Path("/proc/cpuinfo")  # of Linux


class Products(Protocol):
    """How a linear layer ``y = x W^T + b`` and its gradients are computed."""

    #: of the products' operands, but for the bias; None: the parameters' own
    dtype: th.dtype | None

    def linear(self, x: th.Tensor, weight: th.Tensor, bias: th.Tensor | None, relu: bool) -> th.Tensor:
        """``x W^T + b``, with ReLU if asked for.

        :param x: (B, I)
        :param weight: (O, I)
        :param bias: (O,) or None
        :param relu: whether negative outputs become 0
        :return: (B, O)
        """

    def grad_input(self, grad: th.Tensor, weight: th.Tensor) -> th.Tensor:
        """``g W``: (B, O) and (O, I) to (B, I)."""

    def grad_weight(self, grad: th.Tensor, x: th.Tensor) -> th.Tensor:
        """``g^T x``: (B, O) and (B, I) to (O, I)."""


class TorchProducts:
    """PyTorch's own matrix products, of any device and dtype.

    :param dtype: of the operands; None: the parameters' own
    """

    def __init__(self, dtype: th.dtype | None = None) -> None:
        self.dtype = dtype

    def linear(self, x: th.Tensor, weight: th.Tensor, bias: th.Tensor | None, relu: bool) -> th.Tensor:
        y = th.nn.functional.linear(x, weight, as_dtype(bias, x.dtype))
        return y.relu_() if relu else y

    def grad_input(self, grad: th.Tensor, weight: th.Tensor) -> th.Tensor:
        return grad @ weight

    def grad_weight(self, grad: th.Tensor, x: th.Tensor) -> th.Tensor:
        return grad.t() @ x


class OneDnnProducts(TorchProducts):
    """oneDNN's matrix products, for the CPU.

    PyTorch sends single precision to MKL, which leaves the 512-bit units of processors that are not Intel's idle:
    oneDNN was measured twice as fast there, and takes ReLU along, and a bias in single precision.
    """

    def linear(self, x: th.Tensor, weight: th.Tensor, bias: th.Tensor | None, relu: bool) -> th.Tensor:
        if x.dtype is th.float64:
            return super().linear(x, weight, bias, relu)
        return _onednn_linear(x, weight, bias, "relu" if relu else "none", [], "")

    def grad_input(self, grad: th.Tensor, weight: th.Tensor) -> th.Tensor:
        if grad.dtype is th.float64:
            return super().grad_input(grad, weight)
        return _onednn_linear(grad, weight.t(), None, "none", [], "")

    def grad_weight(self, grad: th.Tensor, x: th.Tensor) -> th.Tensor:
        if grad.dtype is th.float64:
            return super().grad_weight(grad, x)
        if x.shape[1] < grad.shape[1]:
            # The wider side as the library's columns: measured twice as fast for a first layer of 17 inputs.
            return _onednn_linear(x.t(), grad.t(), None, "none", [], "").t()
        return _onednn_linear(grad.t(), x.t(), None, "none", [], "")


def onednn_is_available() -> bool:
    """Whether :class:`OneDnnProducts` can be called."""
    return _onednn_linear is not None


def onednn_is_faster(dtype: th.dtype | None = None) -> bool:
    """Whether oneDNN beats PyTorch's choice on this machine's CPU: not on Intel's, which MKL is made for.

    A rule and not a measurement, so that one machine always computes the same numbers.

    :param dtype: of the operands; None for single precision
    """
    wide = th.backends.cpu.get_cpu_capability().startswith("AVX512")
    return onednn_is_available() and wide and (dtype is th.bfloat16 or not cpu_is_intels())


@cache
def cpu_is_intels() -> bool:
    """Whether this machine's CPU is Intel's, as the system tells it."""
    told = CPU_INFO.read_text(encoding="utf-8", errors="replace") if CPU_INFO.is_file() else platform.processor()
    return "GenuineIntel" in told


def choose_products(device: th.device, dtype: th.dtype | None, n_weights: int) -> Products:
    """The fastest products for a layer.

    :param device: of the networks
    :param dtype: of the operands; None: the parameters' own
    :param n_weights: inputs times outputs of the layer
    """
    if device.type == "cpu" and n_weights < MIN_WEIGHTS:
        return TorchProducts(dtype and th.float32)
    return (OneDnnProducts if device.type == "cpu" and onednn_is_faster(dtype) else TorchProducts)(dtype)


def as_dtype(tensor: th.Tensor | None, dtype: th.dtype | None) -> Any:
    """The tensor in another dtype; without a call where nothing is to do.

    :param tensor: of any shape; None for none
    :param dtype: None for its own
    """
    return tensor if tensor is None or dtype is None or tensor.dtype is dtype else tensor.to(dtype)
