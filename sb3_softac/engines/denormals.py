"""Numbers too small for a normal floating-point number, with which some CPUs compute much slower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch as th

# Multiplied at run time; a denormal double, as Python's numbers are.
_DENORMAL, _ONE = 5e-324, 1.0


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Let this thread take denormal numbers for zero, where its CPU can.

    A unit that is never active has no gradient. Adam's mean of its gradients decays until rounding holds it at a
    denormal number, forever; no weight moves by that much, but a CPU may take several times as long for the step
    (``benchmarks/decisions/denormals.py``).
    """
    if _DENORMAL * _ONE == 0.0:  # as the user wants it
        yield
        return
    try:
        th.set_flush_denormal(True)
        yield
    finally:
        th.set_flush_denormal(False)
