"""Environments in processes of their own, of which none can keep the training waiting for ever."""

import multiprocessing as mp
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_softac.settings.parsing import POSITIVE, number

# A process that has ended its pipe is gone within this time, in seconds.
GRACE = 5.0
#: what to do after a :class:`WorkerError`
GO_ON = "`model.set_env(new_envs)` and `model.learn(..., reset_num_timesteps=False)` go on"


class WorkerError(RuntimeError):
    """A process with an environment has died, or did not answer in time. All of them were ended."""


class Answers:
    """The parent's end of the pipe to a worker, which waits for an answer no longer than it may.

    :param connection: to the worker
    :param index: of the worker
    :param envs: all of them, which end together
    """

    def __init__(self, connection: Connection, index: int, envs: "GuardedSubprocVecEnv") -> None:
        self._connection = connection
        self._index = index
        self._envs = envs

    def __reduce__(self) -> tuple[Any, ...]:
        return _unchanged, (self._connection,)  # a worker closes its copy of this end

    def send(self, request: Any) -> None:
        """Ask a worker for something.

        :param request: a command and its argument
        :raises WorkerError: it is dead
        """
        try:
            self._connection.send(request)
        except (OSError, ValueError):
            raise self._envs.failure(self._index, self._how_it_ended()) from None

    def recv(self) -> Any:
        """Answer of a worker.

        :raises WorkerError: it is dead, or did not answer in time
        """
        process = self._envs.processes[self._index]
        # An answer may be there although the process has ended since. Where processes are forked, others hold the
        # worker's end of the pipe as well, so that a death does not close it.
        ready = wait([self._connection, process.sentinel], self._envs.timeout)
        try:
            if self._connection.poll():
                return self._connection.recv()
        except (EOFError, OSError):
            raise self._envs.failure(self._index, self._how_it_ended()) from None
        how = self._how_it_ended() if ready else f"did not answer within {self._envs.timeout:g} seconds (`timeout`)"
        raise self._envs.failure(self._index, how)

    def _how_it_ended(self) -> str:
        process = self._envs.processes[self._index]
        process.join(GRACE)
        code = process.exitcode
        if code is None:
            return "has closed its pipe"
        return f"was killed by signal {-code}" if code < 0 else f"has ended with exit code {code}"

    def close(self) -> None:
        """Close this end."""
        self._connection.close()


class GuardedSubprocVecEnv(SubprocVecEnv):
    """Stable-Baselines3's ``SubprocVecEnv``, with an error in place of a wait for ever.

    Whatever is asked of a worker, a dead one is noticed at once, and one that hangs after ``timeout`` seconds. All
    processes are then ended, and the error names the worker. The agent stays as it is:
    ``model.set_env(new_envs)`` and ``model.learn(..., reset_num_timesteps=False)`` go on.

    :param env_fns: functions that make the environments
    :param timeout: seconds that an environment may take to answer: to be made, for a reset, or for a step
    :param start_method: of the processes; None: Stable-Baselines3's choice
    :raises ValueError: ``timeout`` is no finite number above 0
    :raises WorkerError: an environment could not be made
    """

    def __init__(
        self, env_fns: list[Callable[[], gym.Env]], timeout: float = 60.0, start_method: str | None = None
    ) -> None:
        self.timeout = number("timeout", timeout, POSITIVE)
        super().__init__(env_fns, start_method)

    # Stable-Baselines3 uses these ends of the pipes for whatever it asks, even as it makes the workers.

    @property
    def remotes(self) -> Sequence[Answers]:
        """The parent's ends of the pipes."""
        return self._remotes

    @remotes.setter
    def remotes(self, connections: Sequence[Connection]) -> None:
        self._remotes = [Answers(connection, index, self) for index, connection in enumerate(connections)]

    def failure(self, index: int, how: str) -> WorkerError:
        """End all workers, and say why.

        :param index: of the worker that failed
        :param how: it failed
        """
        was_waiting = "in a step" if self.waiting else "as it was made, reset or asked for something"
        self._end(deadline=time.monotonic())
        return WorkerError(
            f"Worker {index} of {len(self.remotes)} {how}, {was_waiting}; all were ended. An environment's own error "
            "is printed above. Mend the environment, or allow more time "
            f"(`GuardedSubprocVecEnv(..., timeout=...)`); {GO_ON}"
        )

    def close(self) -> None:
        """End the workers: when their environments are closed, or by force if that takes longer than ``timeout``."""
        if self.closed:
            return
        with suppress(WorkerError):
            if self.waiting:
                for remote in self.remotes:
                    remote.recv()
            for remote in self.remotes:
                remote.send(("close", None))
            self._end(deadline=time.monotonic() + self.timeout)

    def _end(self, deadline: float) -> None:
        self.waiting, self.closed = False, True
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        for remote in self.remotes:
            remote.close()


def _unchanged(connection: mp.connection.Connection) -> mp.connection.Connection:
    return connection
