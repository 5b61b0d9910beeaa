"""Replay buffers filled with data from elsewhere."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_softac.buffers.make import Demonstrations, end_episodes
from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer
from sb3_softac.offline.fitting import Fit
from sb3_softac.offline.sources import read
from sb3_softac.offline.steps import Data, Leaves, Steps
from sb3_softac.settings.parsing import POSITIVE_FRACTION, number


def fill_buffer(
    model: OffPolicyAlgorithm, source: Any, *, clip_actions: bool = False, allow_pickle: bool | None = None
) -> int:
    """Add the steps of a data set to the replay buffer of a model. All of it is checked before any is added.

    With several environments, the last steps that do not give one to each are left out. ``HerReplayBuffer`` chooses
    goals among these episodes as among its own.

    :param model: a SoftAC, or another off-policy model of Stable-Baselines3
    :param source: see :func:`sb3_softac.offline.read`
    :param clip_actions: True: move actions that are out of bounds to the bounds; False: refuse them
    :param allow_pickle: as for ``SoftAC.load_replay_buffer()``
    :return: number of steps that were added
    :raises ValueError: the data does not fit the model, is empty, or is more than the buffer holds
    """
    buffer: Any = model.replay_buffer
    data = read(source, allow_pickle)
    fit = Fit(data, model.observation_space, model.action_space, clip_actions)
    n_steps = checked_steps(data, fit)
    n_rows, n_envs = n_steps // buffer.n_envs, buffer.n_envs
    if n_rows > buffer.buffer_size:
        raise ValueError(
            f"The data of {data.name} has {n_steps:,} steps, but the model's replay buffer holds "
            f"{buffer.buffer_size * n_envs:,}; make the model with `buffer_size={n_steps}` or more, or take a part of "
            "the data, as by `offline.read(...).filtered(...)`"
        )
    if getattr(buffer, "copy_info_dict", False):
        raise ValueError(
            "`copy_info_dict=True` asks for the infos of the environment, which data sets do not have; leave it out "
            "of `replay_buffer_kwargs`"
        )
    end_episodes(buffer)
    columns = [map(fit, data.part(index * n_rows, (index + 1) * n_rows)) for index in range(n_envs)]
    add(buffer, columns)
    end_episodes(buffer)
    return n_rows * n_envs


def checked_steps(data: Data, fit: Fit) -> int:
    """Check every block, and count the steps.

    :param data: the data set
    :param fit: to the model
    :raises ValueError: a block that does not fit, or no steps
    """
    n_steps = sum(fit(block).n_steps for block in data)
    if n_steps == 0:
        raise ValueError(f"The data of {data.name} is empty: it has no step whose next observation is known")
    return n_steps


def add(buffer: ReplayBuffer, columns: Iterable[Iterable[Steps]]) -> None:
    """Add steps to a replay buffer.

    :param buffer: of any class
    :param columns: the blocks of each environment, with as many steps in all
    """
    for steps in zip(*(chain.from_iterable(map(_each, column)) for column in columns), strict=True):
        observations, next_observations, actions, rewards, terminations, truncations = zip(*steps, strict=True)
        buffer.add(
            _stacked(observations),
            _stacked(next_observations),
            np.stack(actions),
            np.array(rewards),
            np.array(terminations) | np.array(truncations),
            [{"TimeLimit.truncated": bool(truncated)} for truncated in truncations],
        )


def _each(block: Steps) -> Iterator[tuple[Any, ...]]:
    """The fields of each step."""
    for index in range(block.n_steps):
        leaves = ({key: values[index] for key, values in each.items()} for each in block[:2])
        yield (*leaves, *(values[index] for values in block[2:]))


def _stacked(leaves: Iterable[Leaves]) -> Any:
    of_envs = list(leaves)
    arrays = {key: np.stack([each[key] for each in of_envs]) for key in of_envs[0]}
    return arrays.get(None, arrays)


def make_demonstrations(
    sources: list[Any],
    ratio: float,
    spaces_of_model: tuple[Any, Any],
    buffer: ReplayBuffer,
    device: th.device,
    clip_actions: bool,
    allow_pickle: bool | None,
) -> Demonstrations:
    """A buffer of demonstrations, as large as they are.

    :param sources: see :func:`sb3_softac.offline.read`; one after another
    :param ratio: part of each batch, above 0 and at most 1
    :param spaces_of_model: observation space and action space
    :param buffer: of the model, whose returns over several steps the demonstrations have as well
    :param device: of the batches
    :param clip_actions: True: move actions that are out of bounds to the bounds
    :param allow_pickle: as for ``SoftAC.load_replay_buffer()``
    :raises ValueError: the data does not fit the model, or is empty
    """
    ratio = number("ratio", ratio, POSITIVE_FRACTION)
    data = read(sources, allow_pickle)
    fit = Fit(data, *spaces_of_model, clip_actions)
    n_steps = checked_steps(data, fit)
    demonstrations = SingleCopyReplayBuffer(
        n_steps,
        *spaces_of_model,
        device=device,
        n_steps=getattr(buffer, "n_steps", 1),
        gamma=getattr(buffer, "gamma", 0.99),
        storage=getattr(buffer, "storage", "host"),
    )
    add(demonstrations, [map(fit, data)])
    return Demonstrations(demonstrations, ratio)
