"""Engines that run many jobs, behind the interface of :mod:`concurrent.futures`: this machine, or a cluster of Ray."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any, TypeVar

from sb3_softac.distributed.cluster import ClusterError, connect

T = TypeVar("T")
#: address that stands for a Ray of this machine alone, which begins and ends with the command
LOCAL = "local"


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

    :param address: of the cluster: ``host:port`` or ``auto``; ``local`` begins one of this machine
    :param n_cpus: cores of the one that begins here
    :raises EngineError: Ray is not installed, there is no cluster, or it has other versions
    """

    def __init__(self, address: str, n_cpus: int) -> None:
        self._held = ExitStack()
        own = {"num_cpus": n_cpus} if address == LOCAL else {}
        try:
            ray = self._held.enter_context(connect(address, log_to_driver=False, **own))
        except (ImportError, ValueError, ClusterError) as error:
            raise EngineError(str(error)) from error
        self._task = ray.remote(max_retries=0, num_cpus=1)(_call)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        return _with_plain_errors(self._task.remote(fn, args, kwargs).future())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._held.close()


def _call(function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    return function(*args, **kwargs)


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
