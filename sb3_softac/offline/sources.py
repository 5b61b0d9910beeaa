"""Sources of data: one function reads all of them."""

import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer
from sb3_softac.buffers.tensors import TensorReplayBuffer
from sb3_softac.networks.observations import on_host
from sb3_softac.offline import arrays, minari_files
from sb3_softac.offline.fitting import unscaled
from sb3_softac.offline.steps import Data, Leaves, Steps, make_steps
from sb3_softac.saving import files, replay


def read(source: Any, allow_pickle: bool | None = None) -> Data:
    """Data from elsewhere.

    :param source: one of

        - the id of a local Minari data set, as ``"pointmaze/umaze-v2"``, or a ``minari.MinariDataset``
        - the path of an ``.npz`` file, or its arrays by name: see :func:`sb3_softac.offline.to_npz`
        - the path of a ``.pkl`` file of ``save_replay_buffer()``, by this package or by Stable-Baselines3
        - a replay buffer, or a model with one
        - what :func:`sb3_softac.offline.collect` or this function returned
        - a list of these, of which one follows the other
    :param allow_pickle: run code of a file, as reading a pickle of Stable-Baselines3 does; None: as the environment
        variable ``SB3_SOFTAC_ALLOW_PICKLE`` says
    :raises ValueError: naming the source, and what is wrong with it
    :raises FileNotFoundError: there is no such file or data set
    :raises ImportError: Minari is not installed
    """
    if isinstance(source, Data):
        return source
    if isinstance(source, (list, tuple)) and source:
        return _joined([read(each, allow_pickle) for each in source])
    if isinstance(source, OffPolicyAlgorithm) and source.replay_buffer is not None:  # SB3's has none once it is loaded
        return _of_buffer(source.replay_buffer, "the model's replay buffer")
    if isinstance(source, ReplayBuffer):
        return _of_buffer(source, "the replay buffer")
    if isinstance(source, Mapping):
        return arrays.read(source, "the arrays")
    if isinstance(source, (str, os.PathLike)):
        return _of_path(source, allow_pickle)
    if minari_files.is_dataset(source):
        return minari_files.of_dataset(source)
    raise ValueError(
        f"{type(source).__name__} is no source of data; give the id of a Minari data set, the path of a .npz or a .pkl "
        "file, arrays by name, a replay buffer, a model, what `offline.collect()` returned, or a list of these"
    )


def _of_path(source: str | os.PathLike[str], allow_pickle: bool | None) -> Data:
    path = pathlib.Path(source)
    if path.suffix == ".npz":
        return arrays.read_file(path)
    if path.suffix == ".pkl" or path.with_name(path.name + ".pkl").is_file():
        return _of_buffer(replay.read(files.existing(path, ".pkl"), allow_pickle), repr(str(path)))
    return minari_files.of_id(str(source))


def _joined(all_data: list[Data]) -> Data:
    """Data sets one after another. Each one's own spaces are those of the whole if they are the same."""

    def blocks() -> Iterator[Steps]:
        for data in all_data:
            yield from data

    first = all_data[0]
    for other in all_data[1:]:
        for name in ("observation_space", "action_space"):
            own, given = getattr(first, name), getattr(other, name)
            if own is not None and given is not None and own != given:
                raise ValueError(
                    f"The data of {other.name} has the `{name}` {given}, but that of {first.name} has {own}; read data "
                    "sets of different environments one by one"
                )
    of_all = [
        next((space for data in all_data if (space := getattr(data, name)) is not None), None)
        for name in ("observation_space", "action_space")
    ]
    return Data(", ".join(data.name for data in all_data), blocks, *of_all)


# Replay buffers


def _of_buffer(buffer: ReplayBuffer, name: str) -> Data:
    """Steps of a replay buffer, one environment after another, each from its oldest step on.

    Read as they are at each iteration.
    """

    def blocks() -> Iterator[Steps]:
        held = _in_numpy(buffer)
        n_rows = held.size()
        rows = (np.arange(n_rows) + (held.pos if held.full else 0)) % held.buffer_size
        for env in range(held.n_envs):
            ends = np.flatnonzero(held.dones[rows, env]) + 1
            for part in np.split(rows, ends):
                if len(part) > 0:
                    yield _block(held, part, env)

    return Data(name, blocks, buffer.observation_space, buffer.action_space)


def _in_numpy(buffer: ReplayBuffer) -> ReplayBuffer:
    """A replay buffer of arrays: one of tensors is copied to the host."""
    if not isinstance(buffer, TensorReplayBuffer):
        return buffer
    cls: Any = DictReplayBuffer if isinstance(buffer.observation_space, spaces.Dict) else ReplayBuffer
    held = cls(buffer.n_envs, buffer.observation_space, buffer.action_space, "cpu", buffer.n_envs)
    for field in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        setattr(held, field, on_host(getattr(buffer, field)))
    held.buffer_size, held.pos, held.full = buffer.buffer_size, buffer.pos, buffer.full
    return held


def _block(buffer: ReplayBuffer, rows: np.ndarray, env: int) -> Steps:
    dones, timeouts = buffer.dones[rows, env] > 0, buffer.timeouts[rows, env] > 0
    return make_steps(
        {
            "observations": _shaped(buffer, _taken(buffer.observations, rows, env)),
            "next_observations": _next_of(buffer, rows, env),
            "actions": unscaled(buffer.actions[rows, env], buffer.action_space),
            "rewards": buffer.rewards[rows, env],
            "terminations": dones & ~timeouts,
            "truncations": timeouts,
        }
    )


def _next_of(buffer: ReplayBuffer, rows: np.ndarray, env: int) -> Leaves | None:
    if isinstance(buffer, SingleCopyReplayBuffer):
        return _shaped(buffer, buffer.next_observations_of(rows * buffer.n_envs + env))
    if not isinstance(buffer, DictReplayBuffer) and buffer.optimize_memory_usage:
        return None  # the following ones; the last of an episode is lost
    return _shaped(buffer, _taken(buffer.next_observations, rows, env))


def _taken(values: Any, rows: np.ndarray, env: int) -> Leaves:
    leaves = values if isinstance(values, dict) else {None: values}
    return {key: each[rows, env] for key, each in leaves.items()}


def _shaped(buffer: ReplayBuffer, leaves: Leaves) -> Leaves:
    """Observations in the shape of their spaces: a buffer holds ids as (T, 1)."""
    own: Any = {None: buffer.observation_space} if None in leaves else buffer.observation_space
    return {key: values.reshape(len(values), *own[key].shape) for key, values in leaves.items()}
