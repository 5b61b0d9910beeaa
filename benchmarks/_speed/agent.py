"""One contender at work: built, started, and timed block by block, in this process."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import _machine
from benchmarks._speed.case import Case
from benchmarks._speed.contenders import Contender, RefusedError

#: beside the packages that every benchmark records
JAX_PACKAGES = ("sbx-rl", "jax", "jaxlib")
# Twice those that SoftAC makes plainly before it records one.
N_FIRST_UPDATES = 101


class Agent:
    """An agent that is built; :meth:`startup` makes it ready for the rest.

    :param contender: the algorithm, and arguments of its own
    :param case: sizes and arguments that it shares with the reference
    :param transitions: random steps before the first update, at least a batch
    :raises RefusedError: not installed, or the constructor refuses its arguments
    """

    def __init__(self, contender: Contender, case: Case, transitions: int) -> None:
        algorithm = contender.load()
        self._case = case
        self._imports_mib = peak_memory_mib()
        started = time.perf_counter()
        own = {**contender.arguments, "learning_starts": max(transitions, case.batch_size)}
        try:
            self.model = case.build(algorithm, own)
        except (TypeError, ValueError, NotImplementedError, AssertionError) as error:
            raise RefusedError(f"{contender.name}: refused ({_first_line(error)})") from error
        self._build_seconds = time.perf_counter() - started

    def call(self, method: str, **arguments: Any) -> Any:
        """A method by its name: what :class:`~benchmarks._speed.child.ChildAgent` does over a pipe."""
        return getattr(self, method)(**arguments)

    def close(self) -> None:
        """Give back what the agent holds."""
        self.model = None
        gc.collect()

    def fill(self) -> None:
        """Random steps, by the agent's own code, up to where learning starts."""
        self.model.learn(self.model.learning_starts)

    def startup(self) -> dict[str, float]:
        """Fill the buffer; time from the constructor to the first update, and peak memory after more of them.

        They are so many that an update which is recorded, to be replayed, is among them: the slowest of the later ones.
        """
        self.fill()
        updates = [self._clocked(lambda: self._train(1), 1)["wall"] for _ in range(N_FIRST_UPDATES)]
        measured = {
            # the kernel counts in batches: a later reading of a peak can be some kB less than an earlier one
            "peak_mib": max(peak_memory_mib(), self._imports_mib),
            "peak_after_imports_mib": self._imports_mib,
            "build_ms": 1e3 * self._build_seconds,
            "first_update_ms": 1e3 * updates[0],
            "later_update_ms": 1e3 * median(updates[1:]),
            "slowest_later_ms": 1e3 * max(updates[1:]),
            **_device_memory(self._case.device),
        }
        return {name: round(value, 3) for name, value in measured.items()}

    def updates(self, count: int) -> dict[str, float]:
        """Time ``train()`` alone."""
        return self._timed(lambda: self._train(count), count)

    def learn(self, count: int) -> dict[str, float]:
        """Time the whole loop: act, store, sample, update.

        :param count: environment steps; rounded up to whole steps of all environments
        """
        before = self.model.num_timesteps
        measured = self._timed(lambda: self.model.learn(count, reset_num_timesteps=False), count)
        return {**measured, "count": self.model.num_timesteps - before}

    def versions(self) -> dict[str, str]:
        """Versions of all that took part in this process."""
        found = _machine.versions()
        for package in JAX_PACKAGES:
            if package.removesuffix("-rl") in sys.modules:
                found[package] = metadata.version(package)
        return found

    def synchronize(self) -> None:
        """Wait for the device."""
        if self._case.device.startswith("cuda"):
            import torch as th

            th.cuda.synchronize(self._case.device)

    def _train(self, count: int) -> None:
        self.model.train(gradient_steps=count, batch_size=self._case.batch_size)

    def _timed(self, block: Callable[[], object], count: int) -> dict[str, float]:
        """Wall and CPU seconds of a block; the garbage of earlier blocks is collected before, none during it."""
        gc.collect(1)  # the young: all objects would be as slow as many a block
        gc.disable()
        try:
            return self._clocked(block, count)
        finally:
            gc.enable()

    def _clocked(self, block: Callable[[], object], count: int) -> dict[str, float]:
        self.synchronize()
        wall, cpu = time.perf_counter(), time.process_time()
        block()
        self.synchronize()
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "count": count}


def peak_memory_mib() -> float:
    """The most memory this process has held.

    ``ru_maxrss`` alone is not enough: Linux carries it over from the parent through fork and exec, so the
    child of a large process starts with a large peak. The kernel's VmHWM belongs to this program only.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def _device_memory(device: str) -> dict[str, float]:
    """Peak memory on a GPU, as the library that holds it counts."""
    if not device.startswith("cuda"):
        return {}
    jax = sys.modules.get("jax")
    if jax is not None:
        statistics = jax.devices()[0].memory_stats() or {}
        return {"peak_device_mib": statistics.get("peak_bytes_in_use", 0) / 2**20}
    import torch as th

    return {"peak_device_mib": th.cuda.max_memory_allocated(device) / 2**20}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
