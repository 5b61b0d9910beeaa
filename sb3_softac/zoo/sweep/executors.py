"""Engines that run many jobs, behind the interface of :mod:`concurrent.futures`: this machine, or a cluster of Ray."""

import logging
import os
import pickle
import platform
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from sb3_softac.version import __version__

T = TypeVar("T")
#: address that stands for a Ray of this machine alone, which begins and ends with the command
LOCAL = "local"
# in which a cluster answers
SECONDS = 10
EXTRA = "pip install 'sb3_softac[ray]'"


class EngineError(ValueError):
    """An engine that cannot be used, or cannot run a job; the message says what to do."""


def make_executor(ray: str | None, n_jobs: int) -> Executor:
    """Engine that runs jobs side by side.

    :param ray: address of a cluster of Ray, ``"local"`` for one of this machine alone, or None for threads. A job in a
        thread should start a process for what it computes
    :param n_jobs: at a time; a cluster runs one for each of its cores
    :raises EngineError: Ray is not installed, there is no cluster, or it has other versions
    """
    return ThreadPoolExecutor(n_jobs) if ray is None else RayExecutor(ray, n_jobs)


def run_all(
    executor: Executor, job: Callable[[T], Any], items: Iterable[T], retries: int = 0
) -> Iterator[tuple[T, "Future[Any]"]]:
    """Run a job for each item; one that fails is tried again.

    If the caller leaves early, as by Ctrl-C, jobs that have not begun do not begin.

    :param executor: that runs them
    :param job: function of a module
    :param items: one for each job
    :param retries: how often a job is tried again
    :return: each item with what came out, in the order in which they end
    """
    waiting = {executor.submit(job, item): (item, retries) for item in items}
    try:
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                item, left = waiting.pop(future)
                if future.exception() is not None and left > 0:
                    waiting[executor.submit(job, item)] = item, left - 1
                else:
                    yield item, future
    finally:
        for future in waiting:
            future.cancel()


class RayExecutor(Executor):
    """Jobs as tasks of Ray, each on one core of the cluster.

    :param address: of the cluster: ``host:port``, ``ray://host:port``, ``auto``; ``local`` begins one of this machine
    :param n_cpus: cores of the one that begins here
    :raises EngineError: Ray is not installed, there is no cluster, or it has other versions
    """

    def __init__(self, address: str, n_cpus: int) -> None:
        # Ray would send statistics to its makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise EngineError(f"Ray is not installed: {EXTRA}") from None
        if ":" in address:
            _check_port(address)
        own: dict[str, Any] = {"num_cpus": n_cpus, "include_dashboard": False} if address == LOCAL else {}
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
        except Exception as error:  # of several modules; a RuntimeError if versions differ
            raise EngineError(
                f"Ray's cluster {address!r} cannot be used: {' '.join(str(error).split())[:500]}. Give the address "
                "that `ray start --head` printed. All machines need the same versions of Python and of Ray"
            ) from None
        self._ray = ray
        self._task = ray.remote(max_retries=0, num_cpus=1)(_task())

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        reference = self._task.remote(versions(), pickle.dumps((fn, args, kwargs)))
        return _with_plain_errors(reference.future())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._ray.shutdown()


def _check_port(address: str) -> None:
    """Refuse an address at which nothing answers: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise EngineError(
            f"Ray's cluster {address!r} cannot be reached ({error}). Give the address that `ray start --head` printed, "
            "as host:6379, or ray://host:10001 from a machine that does not belong to the cluster"
        ) from None


def versions() -> dict[str, str]:
    """Versions that all machines of a cluster must share: of this package and of Python, without its last number."""
    return {"sb3_softac": __version__, "Python": ".".join(platform.python_version_tuple()[:2])}


def _task() -> Callable[..., Any]:
    """A function that Ray sends as a whole, since it has no name in a module: it runs without this package, too."""

    def run(expected: dict[str, str], job: bytes) -> Any:
        import importlib
        import pickle
        import platform

        here = {"Python": ".".join(platform.python_version_tuple()[:2])}
        try:
            here["sb3_softac"] = importlib.import_module("sb3_softac.version").__version__
        except ImportError:
            here["sb3_softac"] = "none"
        for package, version in expected.items():
            if here[package] != version:
                raise RuntimeError(
                    f"{platform.node()} has {package} {here[package]}, and {version} is needed: install the same "
                    "version on all machines of the cluster"
                )
        function, args, kwargs = pickle.loads(job)  # only now, as this needs the package
        return function(*args, **kwargs)

    return run


def _with_plain_errors(of_ray: "Future[Any]") -> "Future[Any]":
    """A future whose error is that of the job, and not Ray's text of many lines around it."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()

    def settle(done: "Future[Any]") -> None:
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        else:
            future.set_exception(getattr(error, "cause", None) or EngineError(_in_words(error)))

    of_ray.add_done_callback(settle)
    return future


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:1000]}"
