"""Warnings of environments that are hard to learn in, from the steps before learning; each has its remedy.

Shapes: R rows, n_envs environments, D numbers of an observation.
"""

import warnings
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer
from sb3_softac.buffers.storage import to_numpy
from sb3_softac.buffers.tensors import TensorReplayBuffer

# Fewer show too little.
MIN_ROWS, MIN_EPISODES = 10, 5
# Standard deviations of an observation that lie further apart are of different units. MuJoCo's humanoids, which are
# learned as they are, have some forces of 340 beside joints of 0.02, and 1300 times the one in the middle.
UNEVEN, LARGE, UNEVEN_TO_MIDDLE = 1e3, 500.0, 3e3
# What varies less than this, or than this part of its size, is a constant with errors of rounding.
CONSTANT, CONSTANT_PART = 1e-6, 1e-4
# The entropy of a policy is of the order of one nat for each dimension of the action.
LARGE_REWARD = 1e3


class FirstRows(NamedTuple):
    """The first R rows of a replay buffer, as the environments gave them."""

    observations: dict[str | None, np.ndarray]  #: (R, n_envs, ...), by the key in a Dict, or None
    rewards: np.ndarray  #: (R, n_envs)
    dones: np.ndarray  #: (R, n_envs), time limits too; R is 0 if the first rows are no longer the oldest
    timeouts: np.ndarray  #: (R, n_envs)


def first_rows(buffer: ReplayBuffer, n_rows: int = 10_000) -> FirstRows | None:
    """The oldest rows of a replay buffer.

    :param buffer: of any class
    :param n_rows: no more than this
    :return: None if the class keeps them in another way
    """
    try:
        n_rows = min(n_rows, buffer.size())
        if isinstance(buffer, (SingleCopyReplayBuffer, TensorReplayBuffer)):
            observations = buffer.first_observations(n_rows)
        else:
            of_class: Any = buffer.observations
            leaves = of_class if isinstance(of_class, dict) else {None: of_class}
            observations = {key: values[:n_rows] for key, values in leaves.items()}
        in_order = 0 if buffer.full else n_rows
        scalars = (buffer.rewards[:n_rows], buffer.dones[:in_order], buffer.timeouts[:in_order])
        return FirstRows(observations, *map(to_numpy, scalars))
    except (AttributeError, TypeError):
        return None


def warn_of_environment(
    buffer: ReplayBuffer,
    reward_scale: float,
    gamma: float,
    normalize: VecNormalize | None,
    normalized_keys: Collection[str | None] = (),
) -> None:
    """Warn, at most once for each finding.

    :param buffer: with the steps before learning
    :param reward_scale: factor on the rewards in a batch
    :param gamma: discount of one step; at 0 it is of no consequence how episodes end
    :param normalize: what normalises observations and rewards in a batch; None for nothing
    :param normalized_keys: of observations that the policy normalises; None for one that is no Dict
    """
    rows = first_rows(buffer)
    if rows is None or len(rows.rewards) < MIN_ROWS:
        return
    with np.errstate(all="ignore"):  # what is not finite in a buffer that was loaded ends the first training
        findings = [
            *_uneven_observations(rows, normalize, normalized_keys),
            *_large_rewards(rows, reward_scale, normalize),
        ]
    if gamma > 0.0:
        findings += _equal_episodes(rows)
    for finding in findings:
        warnings.warn(f"Before learning starts: {finding}", stacklevel=6)


def _uneven_observations(
    rows: FirstRows, normalize: VecNormalize | None, normalized_keys: Collection[str | None]
) -> Iterator[str]:
    for key, values in rows.observations.items():
        keys = None if normalize is None else normalize.norm_obs_keys
        is_normalized = normalize is not None and normalize.norm_obs and (keys is None or key in keys)
        is_image = values.dtype.kind != "f" or values.ndim != 3
        if is_normalized or key in normalized_keys or is_image or values.size == 0:
            continue
        spread = uneven_dimensions(values.reshape(-1, values.shape[-1]))
        if spread is not None:
            low, high, name = *spread, "observation" if key is None else f"observation[{key!r}]"
            yield (
                f"the numbers of the {name} are of very different sizes: in random steps, [{high[0]}] varies by "
                f"{high[1]:.3g} and [{low[0]}] by {low[1]:.3g} (standard deviations), so that the networks hardly see "
                "the latter. Normalise them, by `policy_kwargs=dict(normalize_obs=True)`"
            )


def uneven_dimensions(values: np.ndarray) -> tuple[tuple[int, float], tuple[int, float]] | None:
    """The dimensions that vary least and most, with their standard deviations, if these are too far apart.

    :param values: (R, D)
    :return: None if they are not, apart from what hardly varies at all
    """
    deviations = values.std(axis=0, dtype=np.float64)
    varies = deviations > np.maximum(CONSTANT, CONSTANT_PART * np.abs(values).mean(axis=0, dtype=np.float64))
    dimensions = np.flatnonzero(varies)
    if len(dimensions) < 2:
        return None
    dimensions = dimensions[deviations[dimensions].argsort()]
    low, middle, high = deviations[dimensions[[0, (len(dimensions) - 1) // 2, -1]]]
    if high < UNEVEN * low or (high < LARGE and high < UNEVEN_TO_MIDDLE * middle):
        return None
    return (int(dimensions[0]), float(low)), (int(dimensions[-1]), float(high))


def _large_rewards(rows: FirstRows, reward_scale: float, normalize: VecNormalize | None) -> Iterator[str]:
    size = float(np.abs(rows.rewards).mean(dtype=np.float64)) * reward_scale
    if size > LARGE_REWARD and not (normalize is not None and normalize.norm_reward):
        yield (
            f"rewards are large, {size:.3g} on average in random steps, beside which the policy's entropy counts for "
            f"nothing. Scale them, by `reward_scale={reward_scale / size:.1g}` or stable_baselines3's `VecNormalize`"
        )


def _equal_episodes(rows: FirstRows) -> Iterator[str]:
    lengths = episode_lengths(rows.dones)
    if len(lengths) < MIN_EPISODES or len(set(lengths)) > 1:
        return
    if lengths[0] == 1:
        yield (
            f"each of the first {len(lengths)} episodes was over after one step, so that there is nothing to look "
            "ahead to. If that is the task, pass `gamma=0`; else the environment returns `terminated` where it must not"
        )
    elif not rows.timeouts.any():
        yield (
            f"each of the first {len(lengths)} episodes was over after {lengths[0]} steps, and each by `terminated`. "
            "If that is a time limit, the environment must return `truncated` in its place, or be wrapped in "
            "gymnasium's `TimeLimit`: else the agent learns that nothing comes after it, at a moment that it cannot see"
        )


def episode_lengths(dones: np.ndarray) -> list[int]:
    """Of the episodes that are over, from the first rows of a replay buffer.

    :param dones: (R, n_envs)
    """
    ends = [np.flatnonzero(column) for column in dones.T]
    return [int(length) for own in ends for length in np.diff(own, prepend=-1)]
