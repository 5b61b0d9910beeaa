"""Environments in a Ray actor, which answer the training over a socket.

Ray starts the process, places it and tells why it ended. The requests themselves do not go through Ray, whose calls
take several times as long as a socket (`docs/guide/ray.md`).
"""

import os
import pickle
import socket
import traceback
from collections.abc import Callable
from functools import partialmethod
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from typing import Any

import cloudpickle
import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_softac.distributed.memory import Arrays, Place, arrays_in


class LocalEnvs(DummyVecEnv):
    """Stable-Baselines3's ``DummyVecEnv``, whose observations may lie where another process reads them."""

    is_shared = False

    def write_into(self, arrays: Arrays) -> None:
        """Write observations into arrays, and no longer return them.

        :param arrays: (num_envs, ...) by key
        """
        self.buf_obs, self.is_shared = arrays, True  # type: ignore[assignment]

    def _obs_from_buf(self) -> Any:
        return None if self.is_shared else super()._obs_from_buf()


class Simulators:
    """A Ray actor with some environments, which its process steps one after the other."""

    def make(self, env_fns: bytes, folder: str, is_restarted: bool, key: bytes) -> bytes:
        """Make the environments.

        :param env_fns: functions that make them, pickled
        :param folder: in which the training runs; it is used if this machine has it
        :param is_restarted: whether another actor had these environments before
        :param key: secret that the training shows as it connects
        :return: an answer with observation space, action space, and the address at which :meth:`serve` answers
        """
        return self._answer(0, "_make", (env_fns, folder, is_restarted, key), {})

    def _make(self, env_fns: bytes, folder: str, is_restarted: bool, key: bytes) -> tuple[Any, ...]:
        import ray

        if os.path.isdir(folder):
            os.chdir(folder)
        if is_restarted:  # the episodes so far stay in the files of the monitors
            appending = partialmethod(Monitor.__init__, override_existing=False)
            Monitor.__init__ = appending  # type: ignore[assignment, method-assign]
        fns: list[Callable[[], Any]] = cloudpickle.loads(env_fns)
        self._envs = LocalEnvs(fns)
        self._node = ray.get_runtime_context().get_node_id()
        self._listener = Listener((ray.util.get_node_ip_address(), 0), authkey=key)
        return self._envs.observation_space, self._envs.action_space, self._listener.address

    def serve(self, place: Place | None, n_envs: int, first: int) -> None:
        """Answer requests until the training closes the environments, or ends.

        :param place: of the memory for the observations of all environments; None for none
        :param n_envs: number of all environments
        :param first: index of the first environment of this actor
        """
        memory = None if place is None else place.open(self._node)
        if memory is not None:
            own = slice(first, first + self._envs.num_envs)
            arrays = arrays_in(memory, self._envs.observation_space, n_envs)
            self._envs.write_into({key: array[own] for key, array in arrays.items()})
        connection, name = self._accept(), ""
        while name != "close":
            try:
                number, name, args, kwargs = pickle.loads(connection.recv_bytes())
            except (EOFError, OSError):  # the training has ended
                return self._envs.close()
            connection.send_bytes(self._answer(number, name, args, kwargs))
        return None

    def _accept(self) -> Connection:
        while True:
            try:
                connection = self._listener.accept()
            except (AuthenticationError, EOFError, ConnectionError):  # somebody else, who does not know the secret
                continue
            self._listener.close()
            send_at_once(connection)
            return connection

    def _answer(self, number: int, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        try:
            return pickled((number, True, getattr(self, name)(*args, **kwargs)))
        except Exception as error:
            told = "".join(traceback.format_exception(error))
            try:
                return pickled((number, False, (pickle.loads(pickled(error)), told)))
            except Exception:  # the error cannot be sent
                return pickled((number, False, (RuntimeError(f"{type(error).__name__}: {error}"), told)))

    # Requests

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        """Step all environments, and reset those whose episode ended.

        :param actions: (num_envs, ...)
        :return: observations (None if they lie in shared memory), rewards, dones, infos, infos of the last resets (None
            if there was none)
        """
        obs, rewards, dones, infos = self._envs.step(actions)
        return obs, rewards, dones, infos, self._envs.reset_infos if dones.any() else None

    def reset(self, seeds: list[int | None], options: list[dict[str, Any]]) -> tuple[Any, list[dict[str, Any]]]:
        """Reset all environments.

        :param seeds: one for each
        :param options: for each
        :return: observations (None if they lie in shared memory), infos
        """
        self._envs._seeds, self._envs._options = seeds, options
        return self._envs.reset(), self._envs.reset_infos

    def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the ``VecEnv``.

        :param name: of the method
        """
        return getattr(self._envs, name)(*args, **kwargs)

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()


def pickled(value: Any) -> bytes:
    """Pickle a value; classes that only one of two processes has are sent with it."""
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return cloudpickle.dumps(value)


def send_at_once(connection: Connection) -> None:
    """Let the system send small messages without waiting for more of them."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
