"""Denormal numbers, which are smaller than normal floating-point numbers: some CPUs compute with them much slower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch as th

# A denormal double; the product of both is zero if the CPU takes denormals for zero.
_DENORMAL, _ONE = 5e-324, 1.0


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Context manager in which this thread takes denormal numbers for zero, if its CPU can.

    A unit that is never active has no gradient. Adam's mean of its gradients decays to a denormal number, where
    rounding keeps it forever. No weight moves by such a number, but a CPU may take several times as long for the step
    (``benchmarks/decisions/denormals.py``).
    """
    if _DENORMAL * _ONE == 0.0:  # the user has switched this on already
        yield
        return
    try:
        th.set_flush_denormal(True)
        yield
    finally:
        th.set_flush_denormal(False)
