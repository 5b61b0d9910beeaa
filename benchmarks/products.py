"""Which matrix products are fastest for the layers of an agent: PyTorch's choice, oneDNN's, or one batched call?

    python -m benchmarks.products --threads 1 2

The forward pass, the gradient of the input and the gradient of the weight of one linear layer, and the forward pass of
two critics by a loop or by one batched product. By turns in one process; microseconds, the median over blocks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch as th

from benchmarks import _machine
from benchmarks._output import Columns, publish, table
from sb3_softac.networks.fused.products import OneDnnProducts, Products, TorchProducts, onednn_is_available

RESULTS = Path(__file__).resolve().parent / "results"
#: inputs and outputs of a layer
LAYERS = [(17, 256), (23, 256), (256, 256), (256, 12), (256, 1), (64, 64)]


def contestants() -> dict[str, Products]:
    """What can be measured on this machine."""
    made: dict[str, Products] = {"PyTorch's choice": TorchProducts()}
    if onednn_is_available():
        made |= {"oneDNN": OneDnnProducts(), "oneDNN, bfloat16": OneDnnProducts(th.bfloat16)}
    return made


def layer_calls(products: Products, batch_size: int, n_inputs: int, n_outputs: int) -> dict[str, Callable[[], Any]]:
    """The three products of one layer."""
    dtype = products.dtype or th.float32
    x, weight = th.randn(batch_size, n_inputs).to(dtype), th.randn(n_outputs, n_inputs).to(dtype)
    bias, grad = th.randn(n_outputs).to(dtype), th.randn(batch_size, n_outputs).to(dtype)
    return {
        "forward": lambda: products.linear(x, weight, bias, True),
        "gradient of the input": lambda: products.grad_input(grad, weight),
        "gradient of the weight": lambda: products.grad_weight(grad, x),
    }


def twin_calls(batch_size: int, width: int) -> dict[str, Callable[[], Any]]:
    """The hidden layer of two critics: one after the other, or one batched product."""
    x, weight, bias = th.randn(2, batch_size, width), th.randn(2, width, width), th.randn(2, width)
    loops = {
        f"loop, {name}": lambda products=products: [products.linear(x[i], weight[i], bias[i], True) for i in range(2)]
        for name, products in contestants().items()
        if products.dtype is None
    }
    return loops | {"batched": lambda: th.baddbmm(bias.unsqueeze(1), x, weight.mT).relu_()}


def measure(calls: dict[str, Callable[[], Any]], blocks: int, seconds: float) -> dict[str, float]:
    """Median microseconds of each call, in blocks by turns.

    :param calls: by name
    :param blocks: of each
    :param seconds: of one block
    """
    counts = {}
    for name, call in calls.items():
        call()
        started = time.perf_counter()
        for _ in range(10):
            call()
        counts[name] = max(10, int(10 * seconds / (time.perf_counter() - started)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(blocks):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(counts[name]):
                call()
            times[name].append(1e6 * (time.perf_counter() - started) / counts[name])
    return {name: round(median(values), 1) for name, values in times.items()}


def measure_all(threads: int, batch_size: int, blocks: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each layer and product, and one for the two critics."""
    th.set_num_threads(threads)
    rows = []
    for n_inputs, n_outputs in LAYERS:
        by_name = {name: layer_calls(each, batch_size, n_inputs, n_outputs) for name, each in contestants().items()}
        for what in next(iter(by_name.values())):
            calls = {name: layer[what] for name, layer in by_name.items()}
            row = {"threads": threads, "layer": f"{n_inputs} to {n_outputs}", "what": what}
            rows.append(row | {"microseconds": measure(calls, blocks, seconds)})
    row = {"threads": threads, "layer": "256 to 256", "what": "forward, two critics"}
    return [*rows, row | {"microseconds": measure(twin_calls(batch_size, 256), blocks, seconds)}]


COLUMNS: Columns = (
    ("threads", lambda row: row["threads"]),
    ("layer", lambda row: row["layer"]),
    ("what", lambda row: row["what"]),
    ("microseconds", lambda row: ", ".join(f"{name} {value:.0f}" for name, value in row["microseconds"].items())),
)


def report(result: dict[str, Any]) -> str:
    """The rows in Markdown."""
    lines = [
        "# Matrix products of one linear layer, microseconds",
        "",
        f"Written by `python -m benchmarks.products`; batch {result['settings']['batch_size']}, "
        f"{result['machine']['cpu']}.",
        "",
    ]
    return "\n".join(lines) + "\n" + table(COLUMNS, result["rows"])


def main() -> None:
    """Measure, write `products.json` and `products.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of torch (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=256, help="rows (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=9, help="of each call (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.02, help="of one block (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default: %(default)s)")
    options = parser.parse_args()
    settings = {name: value for name, value in vars(options).items() if name != "out"}
    result = {"settings": settings, "machine": _machine.machine(), "versions": _machine.versions()}
    result["rows"] = [
        row
        for threads in options.threads
        for row in measure_all(threads, options.batch_size, options.blocks, options.seconds)
    ]
    publish(options.out / "products", result, report(result))


if __name__ == "__main__":
    main()
