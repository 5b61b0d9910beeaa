"""The training's side of a Ray actor with environments: starts it, asks it, and says how it ended."""

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from types import ModuleType
from typing import Any, NamedTuple

import cloudpickle
import gymnasium as gym
from gymnasium import spaces

from sb3_softac.collecting.workers import GRACE, WorkerError
from sb3_softac.distributed.memory import Place
from sb3_softac.distributed.simulators import Simulators, pickled, send_at_once

#: Each actor on the node that has the fewest; `actor_options` of the user come on top.
OPTIONS = {"scheduling_strategy": "SPREAD", "max_restarts": 0}


class ActorLostError(Exception):
    """An actor has died, or does not answer in time. The text says how, as "... died: ..."."""


class Job(NamedTuple):
    """Work of an actor.

    :param label: names the actor in messages
    :param envs: indices of its environments
    :param env_fns: functions that make them, pickled
    """

    label: str
    envs: range
    env_fns: bytes


def jobs(env_fns: Sequence[Callable[[], gym.Env]], envs_per_actor: int) -> list[Job]:
    """Divide environments among actors.

    :param env_fns: functions that make them
    :param envs_per_actor: environments of each actor; the last one may have fewer
    :raises ValueError: a function that cannot be sent to another process
    """
    starts = range(0, len(env_fns), envs_per_actor)
    found = []
    for index, start in enumerate(starts):
        envs = range(start, min(start + envs_per_actor, len(env_fns)))
        named = f"environment {start}" if len(envs) == 1 else f"environments {start} to {envs[-1]}"
        label = f"Actor {index} of {len(starts)} ({named})"
        found.append(Job(label, envs, _pickled(env_fns, envs)))
    return found


def _pickled(env_fns: Sequence[Callable[[], gym.Env]], envs: range) -> bytes:
    for env in envs:
        try:
            cloudpickle.dumps(env_fns[env])
        except Exception as error:
            raise ValueError(
                f"The function that makes environment {env} cannot be sent to an actor ({type(error).__name__}: "
                f"{error}). Let it make all that it needs, as `lambda: gym.make(...)` does, and hold no open file, "
                "lock or running simulator"
            ) from error
    return cloudpickle.dumps([env_fns[env] for env in envs])


class Actor:
    """A Ray actor with environments, as the training sees it.

    :param ray: the module, connected
    :param job: of the actor
    :param timeout: seconds that an answer may take
    :param options: for ``ray.remote()``
    """

    def __init__(self, ray: ModuleType, job: Job, timeout: float, options: Mapping[str, Any]) -> None:
        self._ray = ray
        self._class = ray.remote(Simulators).options(**(OPTIONS | dict(options)))
        self._env_fns = ray.put(job.env_fns)
        self._handle: Any = None
        self._served: Any = None
        self._connection: Connection | None = None
        self._number = 0
        self.timeout = timeout
        self.label, self.envs = job.label, job.envs
        #: how often it was started anew
        self.restarts = 0
        #: infos of the resets when it was started anew
        self.reset_infos: list[dict[str, Any]] = []
        #: last observations of the episodes that ended with an actor before; None once the training knows of it
        self.lost: list[Any] | None = None

    # Beginning and end

    def launch(self) -> None:
        """Begin to start the actor, and to make its environments."""
        self._handle, self._key = self._class.remote(), os.urandom(32)
        arguments = (self._env_fns, os.getcwd(), self.restarts > 0, self._key)
        self._made = self._handle.make.remote(*arguments)

    def spaces(self) -> tuple[spaces.Space, spaces.Space]:
        """Wait until the environments are made.

        :return: observation space and action space
        :raises ActorLostError: the actor died, or was not there in time
        """
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(self._made, timeout=self.timeout)
        except errors.GetTimeoutError:
            raise ActorLostError(
                f"did not make its environments within {self.timeout:g} seconds (`timeout`); Ray has the resources "
                f"{self._ray.available_resources()} free"
            ) from None
        except (errors.RayError, OSError) as error:
            raise ActorLostError(f"died: {_in_one_line(error)}") from None
        *found, self._address = self._value_in(answer)
        return found[0], found[1]

    def connect(self, place: Place | None, n_envs: int) -> None:
        """Connect to the actor, which answers from then on.

        :param place: of the memory for the observations of all environments; None for none
        :param n_envs: number of all environments
        :raises ActorLostError: the actor died, or cannot be reached
        """
        self._served = self._handle.serve.remote(place, n_envs, self.envs.start)
        try:
            self._connection = Client(self._address, authkey=self._key)
        except (OSError, EOFError, AuthenticationError) as error:
            raise ActorLostError(f"cannot be reached at {self._address}: {error}") from None
        send_at_once(self._connection)

    def end(self) -> None:
        """End the actor by force."""
        if self._connection is not None:
            self._connection.close()
        if self._handle is not None:
            self._ray.kill(self._handle)
        self._connection = self._handle = None

    def close(self) -> None:
        """End the actor once it has closed its environments."""
        with suppress(ActorLostError):
            self.answer()
            with suppress(self._ray.exceptions.RayError):
                self._ray.get(self._served, timeout=self.timeout)
        self.end()

    # Requests

    def ask(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Ask for something; :meth:`answer` has the answer.

        :param name: of a method of :class:`Simulators`
        :raises ActorLostError: the actor has died
        """
        self._number += 1
        request = (self._number, name, args, kwargs)
        # An actor does not have the classes of the script that runs here: they are sent along.
        dumps = pickled if name == "step" else cloudpickle.dumps
        try:
            self._open().send_bytes(dumps(request))
        except OSError:
            raise ActorLostError(self._how_it_died()) from None

    def answer(self) -> Any:
        """Answer to the last request.

        :raises ActorLostError: the actor has died, or did not answer in time
        :raises Exception: what an environment raised; its cause says where
        """
        number = -1
        while number != self._number:  # an answer may be left that an interruption kept from being read
            answer = self._receive()
            number = pickle.loads(answer)[0]
        return self._value_in(answer)

    def _receive(self) -> bytes:
        connection = self._open()
        try:
            if connection.poll(self.timeout):
                return connection.recv_bytes()
        except (EOFError, OSError):
            raise ActorLostError(self._how_it_died()) from None
        raise ActorLostError(f"did not answer within {self.timeout:g} seconds (`timeout`)")

    def _value_in(self, answer: bytes) -> Any:
        _, is_value, value = pickle.loads(answer)
        if is_value:
            return value
        error, told = value
        raise error from WorkerError(f"{self.label} raised an error:\n{told}")

    def _open(self) -> Connection:
        if self._connection is None:
            raise ActorLostError("has been ended")
        return self._connection

    def _how_it_died(self) -> str:
        try:
            self._ray.get(self._served, timeout=GRACE)
        except (self._ray.exceptions.RayError, OSError) as error:
            return f"died: {_in_one_line(error)}"
        return "has closed its connection"


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
