"""Observations of all environments in memory that the processes of one machine share.

The memory has no name: the system frees it with the last process that has it, however that ended. Actors of other
machines, or of a system without such memory, send their observations.
"""

import mmap
import os
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env.util import dict_to_obs, obs_space_info

#: arrays (n_envs, ...) by the key in a Dict, the index in a Tuple, or None
Arrays = dict[Any, np.ndarray]


class Place(NamedTuple):
    """Place of the memory, for other processes: on a node of Ray, a file that a process has open."""

    node: str
    process: int
    file: int

    def open(self, node: str) -> mmap.mmap | None:
        """Map the memory into this process.

        :param node: on which this process is
        :return: None on another node, or where the system does not allow it
        """
        if node != self.node:
            return None
        try:
            file = os.open(f"/proc/{self.process}/fd/{self.file}", os.O_RDWR)
        except OSError:
            return None
        try:
            return mmap.mmap(file, 0)
        finally:
            os.close(file)


class ObservationMemory:
    """Observations of all environments, which actors write and the training reads.

    :param space: observation space of one environment
    :param n_envs: number of environments
    :param node: of Ray, on which this process is
    """

    def __init__(self, space: spaces.Space, n_envs: int, node: str) -> None:
        self._space = space
        size = max(1, layout(space, n_envs).itemsize)
        self._file = _new_file(size)
        buffer = bytearray(size) if self._file is None else mmap.mmap(self._file, size)
        self._arrays = arrays_in(buffer, space, n_envs)
        #: None where the system has no such memory
        self.place = None if self._file is None else Place(node, os.getpid(), self._file)

    def write(self, envs: range, observation: Any) -> None:
        """Write observations that an actor has sent.

        :param envs: its environments
        :param observation: (len(envs), ...), or a dict or tuple of such
        """
        for key, array in self._arrays.items():
            array[envs.start : envs.stop] = observation if key is None else observation[key]

    def read(self) -> Any:
        """Copy of the observations, as Stable-Baselines3's environments give them: (n_envs, ...), or a dict of such."""
        return dict_to_obs(self._space, {key: array.copy() for key, array in self._arrays.items()})

    def read_one(self, env: int) -> Any:
        """Copy of the observation of one environment.

        :param env: its index
        """
        return dict_to_obs(self._space, {key: array[env].copy() for key, array in self._arrays.items()})

    def close(self) -> None:
        """Give the memory back, once the arrays are gone."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _new_file(size: int) -> int | None:
    """A file in memory, without a name; None where the system has none, or no room for it."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        file = os.memfd_create("observations")
    except OSError:
        return None
    try:
        os.posix_fallocate(file, 0, size)  # it fails here, and not as an actor writes
    except OSError:
        os.close(file)
        return None
    return file


def layout(space: spaces.Space, n_envs: int) -> np.dtype:
    """One array (n_envs, ...) for each leaf of an observation space.

    :param space: of one environment
    :param n_envs: number of environments
    """
    keys, shapes, dtypes = obs_space_info(space)
    return np.dtype([("", dtypes[key], (n_envs, *shapes[key])) for key in keys], align=True)


def arrays_in(buffer: Any, space: spaces.Space, n_envs: int) -> Arrays:
    """The arrays of observations in some memory.

    :param buffer: memory
    :param space: observation space of one environment
    :param n_envs: number of environments
    """
    record = np.ndarray((), layout(space, n_envs), buffer)
    keys, _, _ = obs_space_info(space)
    return {key: record[name] for key, name in zip(keys, record.dtype.names or (), strict=True)}
