"""Matrix products of a linear layer, forward and backward, by the fastest library for the device.

Shapes: B rows, I inputs, O outputs.
"""

import operator
import platform
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch as th

# Layers with at most so many weights are faster by PyTorch's shorter calls, and in float32, which needs no conversions.
FEW_WEIGHTS = 64 * 64
# Numbers in single precision in the widest register.
REGISTER = 16
# The operation that PyTorch's own compiler emits for a linear layer on a CPU; None in a PyTorch without oneDNN.
_onednn_linear: Any = None
if th.backends.mkldnn.is_available() and hasattr(th.ops.mkldnn, "_linear_pointwise"):
    _onednn_linear = th.ops.mkldnn._linear_pointwise.default
CPU_INFO = Path("/proc/cpuinfo")  # of Linux


class Products(Protocol):
    """Matrix products of a linear layer ``y = x W^T + b`` and of its gradients."""

    #: dtype of the operands, except the bias; None: that of the parameters
    dtype: th.dtype | None

    def linear(self, x: th.Tensor, weight: th.Tensor, bias: th.Tensor | None, relu: bool) -> th.Tensor:
        """Compute the output ``x W^T + b``, followed by ReLU if asked for.

        :param x: (B, I)
        :param weight: (O, I)
        :param bias: (O,) or None
        :param relu: whether a ReLU follows
        :return: (B, O)
        """

    def grad_input(self, grad: th.Tensor, weight: th.Tensor) -> th.Tensor:
        """Compute the gradient of the input, ``g W``.

        :param grad: g, (B, O)
        :param weight: (O, I)
        :return: (B, I)
        """

    def grad_weight(self, grad: th.Tensor, x: th.Tensor) -> th.Tensor:
        """Compute the gradient of the weight, ``g^T x``.

        :param grad: g, (B, O)
        :param x: (B, I)
        :return: (O, I)
        """


class TorchProducts:
    """PyTorch's own matrix products, for any device and dtype.

    :param dtype: dtype of the operands; None: that of the parameters
    """

    def __init__(self, dtype: th.dtype | None = None) -> None:
        self.dtype = dtype

    def linear(self, x: th.Tensor, weight: th.Tensor, bias: th.Tensor | None, relu: bool) -> th.Tensor:
        y = th.nn.functional.linear(x, weight, as_dtype(bias, x.dtype))
        return y.relu_() if relu else y

    def grad_input(self, grad: th.Tensor, weight: th.Tensor) -> th.Tensor:
        return product(grad, weight)

    def grad_weight(self, grad: th.Tensor, x: th.Tensor) -> th.Tensor:
        return product(grad.t(), x)


def product(
    a: th.Tensor, b: th.Tensor, multiply: Callable[[th.Tensor, th.Tensor], th.Tensor] = operator.matmul
) -> th.Tensor:
    """Matrix product, with its wider side as columns where these do not fill the registers of a CPU.

    For 17 or 23 columns, MKL was measured half as fast as for so many rows.

    :param a: (R, I), or (N, R, I)
    :param b: (I, C), or (N, I, C)
    :param multiply: multiplies two matrices, or N pairs of them
    :return: (R, C), or (N, R, C); in memory it may lie the other way round
    """
    n_rows, n_columns = a.shape[-2], b.shape[-1]
    if 1 < n_columns < n_rows and n_columns % REGISTER:
        return multiply(b.mT, a.mT).mT
    return multiply(a, b)


class OneDnnProducts(TorchProducts):
    """Matrix products of oneDNN, for the CPU.

    PyTorch sends single precision to MKL. On processors that are not Intel's, MKL takes 256-bit instructions. Where
    units are 512 bits wide, oneDNN was measured twice as fast. One call of it also adds a bias in single precision and
    computes the ReLU.
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
            # With the wider side as columns, oneDNN was measured twice as fast for a first layer of 17 inputs.
            return _onednn_linear(x.t(), grad.t(), None, "none", [], "").t()
        return _onednn_linear(grad.t(), x.t(), None, "none", [], "")


def onednn_is_available() -> bool:
    """Whether :class:`OneDnnProducts` can be called."""
    return _onednn_linear is not None


def onednn_is_faster(dtype: th.dtype | None = None) -> bool:
    """Whether oneDNN is faster than PyTorch's own choice on this machine's CPU.

    With 512-bit units it is faster, except for single precision where MKL keeps all units busy. A fixed rule decides,
    and not a measurement, so that one machine always computes the same numbers.

    :param dtype: dtype of the operands; None for single precision
    """
    wide = th.backends.cpu.get_cpu_capability().startswith("AVX512")
    return onednn_is_available() and wide and (dtype is th.bfloat16 or not mkl_is_as_fast())


@cache
def mkl_is_as_fast() -> bool:
    """Whether MKL keeps all units of this CPU busy, according to the operating system.

    It does on Intel's CPUs, for which it is made, and on AMD's Zen 4, which runs a 512-bit instruction in two halves.
    """
    told = CPU_INFO.read_text(encoding="utf-8", errors="replace") if CPU_INFO.is_file() else platform.processor()
    is_family_25 = re.search(r"family\s*:?\s*25\b", told, re.IGNORECASE) is not None
    return "GenuineIntel" in told or ("AuthenticAMD" in told and is_family_25)


def choose_products(device: th.device, dtype: th.dtype | None, n_weights: int) -> Products:
    """Choose the fastest matrix products for a layer.

    :param device: device of the networks
    :param dtype: dtype of the operands; None: that of the parameters
    :param n_weights: inputs times outputs of the layer
    """
    if device.type == "cpu" and n_weights <= FEW_WEIGHTS:
        return TorchProducts(dtype and th.float32)
    return (OneDnnProducts if device.type == "cpu" and onednn_is_faster(dtype) else TorchProducts)(dtype)


def as_dtype(tensor: th.Tensor | None, dtype: th.dtype | None) -> Any:
    """Convert a tensor to a dtype, without a call to PyTorch if there is nothing to convert.

    :param tensor: of any shape, or None
    :param dtype: None for no conversion
    :return: the converted tensor, or None for None
    """
    return tensor if tensor is None or dtype is None or tensor.dtype is dtype else tensor.to(dtype)
