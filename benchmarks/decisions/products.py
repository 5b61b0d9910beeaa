"""Matrix products of a layer: which library is the fastest, and do twin critics gain from one batched call?

    python -m benchmarks.decisions.products

Answer (`results/products.md`, AMD of Zen 5; `results/zen4/products.md`, AMD of Zen 4; `results/intel/products.md`,
Intel with AMX; one thread). With units of 512 bits, on Zen 5, oneDNN multiplies a layer of 256 to 256 in 168 us and
PyTorch's own choice in 343 us. Where the units are 256 bits wide, on Zen 4, both take the same time, and on the Intel
PyTorch's choice is the faster one. A call of oneDNN costs some 15 us more, so that it is slower everywhere for a layer
of 64 to 64, and for one output. One batched call for two critics of 256 units takes as long as PyTorch's two calls.
Gradients of 17 or 23 columns take PyTorch's choice half the time if the product is made the other way round. So
`networks/fused/products.py` takes oneDNN for wide layers where the CPU has AVX-512 and units that MKL does not fill
(for bfloat16 on every CPU that has it), and then loops over the critics. With PyTorch's own products,
`networks/fused/ensemble.py` makes one call for all critics, as smaller networks gain by it (`recorded.py`).

Measured are the forward pass and both gradients of one linear layer, and the forward pass of two critics, by turns in
one process; microseconds, the median over blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch as th

from benchmarks import _machine
from benchmarks._output import grid
from sb3_softac.networks.fused.products import OneDnnProducts, Products, TorchProducts, onednn_is_available


class AsWritten(TorchProducts):
    """PyTorch's own products, none of them made the other way round."""

    def grad_input(self, grad: th.Tensor, weight: th.Tensor) -> th.Tensor:
        return grad @ weight

    def grad_weight(self, grad: th.Tensor, x: th.Tensor) -> th.Tensor:
        return grad.t() @ x


#: inputs and outputs of a layer
LAYERS = [(17, 256), (23, 256), (256, 256), (256, 12), (256, 1), (64, 64)]
BATCH, BLOCKS, BLOCK_SECONDS = 256, 9, 0.02


def contestants() -> dict[str, Products]:
    """Libraries that can be measured on this machine."""
    made: dict[str, Products] = {"PyTorch's choice": TorchProducts(), "as written": AsWritten()}
    if onednn_is_available():
        made |= {"oneDNN": OneDnnProducts(), "oneDNN, bfloat16": OneDnnProducts(th.bfloat16)}
    return made


def layer_calls(products: Products, n_inputs: int, n_outputs: int) -> dict[str, Callable[[], Any]]:
    """The three products of one layer."""
    dtype = products.dtype or th.float32
    x, weight = th.randn(BATCH, n_inputs).to(dtype), th.randn(n_outputs, n_inputs).to(dtype)
    bias, grad = th.randn(n_outputs).to(dtype), th.randn(BATCH, n_outputs).to(dtype)
    return {
        "forward": lambda: products.linear(x, weight, bias, True),
        "gradient of the input": lambda: products.grad_input(grad, weight),
        "gradient of the weight": lambda: products.grad_weight(grad, x),
    }


def twin_calls(width: int) -> dict[str, Callable[[], Any]]:
    """The hidden layer of two critics: one after the other, or one batched product."""
    x, weight, bias = th.randn(2, BATCH, width), th.randn(2, width, width), th.randn(2, width)
    loops = {
        f"loop, {name}": lambda products=products: [products.linear(x[i], weight[i], bias[i], True) for i in range(2)]
        for name, products in contestants().items()
        if products.dtype is None and type(products) is not AsWritten
    }
    return loops | {"batched": lambda: th.baddbmm(bias.unsqueeze(1), x, weight.mT).relu_()}


def measure(calls: dict[str, Callable[[], Any]]) -> str:
    """Median microseconds of each call, in blocks by turns."""
    counts = {name: max(10, int(10 * BLOCK_SECONDS / seconds(call, 10))) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(BLOCKS):
        for name, call in calls.items():
            times[name].append(1e6 * seconds(call, counts[name]) / counts[name])
    return ", ".join(f"{name} {median(values):.0f}" for name, values in times.items())


def seconds(call: Callable[[], Any], count: int) -> float:
    """Of a number of calls."""
    started = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - started


def main() -> None:
    """Measure on one thread and on two, and print the table."""
    rows = []
    for threads in (1, 2):
        th.set_num_threads(threads)
        for n_inputs, n_outputs in LAYERS:
            by_name = {name: layer_calls(each, n_inputs, n_outputs) for name, each in contestants().items()}
            for what in next(iter(by_name.values())):
                measured = measure({name: layer[what] for name, layer in by_name.items()})
                rows.append((threads, f"{n_inputs} to {n_outputs}", what, measured))
        rows.append((threads, "256 to 256", "forward, two critics", measure(twin_calls(256))))
    print(f"# Matrix products of one linear layer, microseconds\n\nBatch {BATCH}, {_machine.machine()['cpu']}.\n")
    print(grid(("threads", "layer", "what", "microseconds"), rows))


if __name__ == "__main__":
    main()
