"""Action spaces: what SoftAC can act in, discrete actions as factors, and masks of the actions that are allowed.

Shapes: F factors, A actions of all factors one after another, n_envs environments.
"""

import math
import warnings
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces

# Up to here a MultiDiscrete space is enumerated: an exact expectation costs one output of the critics for each action.
JOINT_ACTIONS_LIMIT = 256
# Beyond this, a tanh policy rarely explores well: rescale in a wrapper.
LARGE_ACTION_BOUND = 10.0
# Key of a Dict observation that tells which discrete actions are allowed.
ACTION_MASK = "action_mask"


def check_action_space(action_space: spaces.Space) -> None:
    """Refuse spaces that SoftAC cannot act in, and warn of those that it rarely learns in.

    :param action_space: of the environment
    :raises ValueError: neither Box nor Discrete nor MultiDiscrete; a Box of integers, or with infinite or empty bounds
    """
    if isinstance(action_space, (spaces.Discrete, spaces.MultiDiscrete)):
        if np.any(action_space.start != 0):
            raise ValueError(f"Discrete actions must start at 0, but the environment has {action_space}; shift them")
        if np.ndim(action_space.sample()) > 1:
            raise ValueError(f"MultiDiscrete actions must be in one row, but the environment has {action_space}")
        return
    if not isinstance(action_space, spaces.Box):
        raise ValueError(
            f"SoftAC needs actions of type Box, Discrete or MultiDiscrete, but the environment has {action_space}"
        )
    if not np.issubdtype(action_space.dtype, np.floating):
        raise ValueError(
            f"SoftAC's actions in a Box are floats, but the environment has {action_space}; give its Box the dtype "
            "float32 and round in the environment, or use Discrete or MultiDiscrete actions"
        )
    _check_bounds(action_space)


def _check_bounds(action_space: spaces.Box) -> None:
    low, high = action_space.low, action_space.high
    with np.errstate(over="ignore"):  # a range that overflows is as good as infinite
        width = high - low
    if not np.all(np.isfinite(width)):
        raise ValueError(
            f"SoftAC needs finite bounds of the actions, but the environment has {action_space}; "
            "wrap it in gymnasium.wrappers.RescaleAction, or give its Box a finite `low` and `high`"
        )
    if np.any(width <= 0):
        raise ValueError(f"Each action needs `low` below `high`, but the environment has {action_space}")
    if max(np.abs(low).max(), np.abs(high).max()) > LARGE_ACTION_BOUND:
        warnings.warn(
            f"The actions' bounds exceed {LARGE_ACTION_BOUND:g} ({action_space}). The policy spans them evenly, so "
            "exploration is as coarse as they are wide; narrow them to what the task needs.",
            stacklevel=4,
        )


# Discrete actions


def discrete_sizes(action_space: spaces.Space) -> list[int]:
    """Actions of each factor.

    :param action_space: Discrete (one factor) or MultiDiscrete
    """
    if isinstance(action_space, spaces.Discrete):
        return [int(action_space.n)]
    assert isinstance(action_space, spaces.MultiDiscrete)
    return [int(n) for n in action_space.nvec]


def is_enumerable(action_space: spaces.Space) -> bool:
    """Whether every (joint) action gets a value of its own.

    :param action_space: Discrete (always) or MultiDiscrete (if it is small)
    """
    is_small = math.prod(discrete_sizes(action_space)) <= JOINT_ACTIONS_LIMIT
    return isinstance(action_space, spaces.Discrete) or is_small


def joint_actions(nvec: list[int]) -> th.Tensor:
    """Every joint action, the last factor fastest.

    :param nvec: actions of each factor
    :return: (prod(nvec), F)
    """
    return th.cartesian_prod(*[th.arange(n) for n in nvec]).view(-1, len(nvec))


def joint_strides(nvec: list[int]) -> th.Tensor:
    """Weights that turn ids of factors into the row of :func:`joint_actions`: ``row = sum_f id_f stride_f``.

    :param nvec: actions of each factor
    :return: (F,)
    """
    return th.tensor([math.prod(nvec[f + 1 :]) for f in range(len(nvec))])


def max_entropy(action_space: spaces.Space) -> float:
    """The entropy of the uniform policy, which no policy exceeds, in nats.

    :param action_space: Discrete, MultiDiscrete, or a Box, whose actions are scaled to [-1, 1]
    """
    if isinstance(action_space, spaces.Box):
        return math.log(2.0) * math.prod(action_space.shape or (1,))
    return sum(math.log(n) for n in discrete_sizes(action_space))


# Masks of discrete actions


def has_action_masks(observation_space: spaces.Space, action_space: spaces.Space) -> bool:
    """Whether the observation says which actions are allowed: a Dict with the key ``"action_mask"``, not with Box.

    :param observation_space: of the environment
    :param action_space: of the environment
    """
    is_masked = isinstance(observation_space, spaces.Dict) and ACTION_MASK in observation_space.spaces
    return is_masked and not isinstance(action_space, spaces.Box)


def check_mask_space(observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """Refuse masks of another size than the actions.

    :param observation_space: of the environment
    :param action_space: of the environment
    :raises ValueError: the mask does not have one entry for each action
    """
    if not has_action_masks(observation_space, action_space):
        return
    n_actions = sum(discrete_sizes(action_space))
    mask_space = observation_space[ACTION_MASK]  # type: ignore[index]  # a Dict
    if mask_space.shape != (n_actions,):
        raise ValueError(
            f"The observation's {ACTION_MASK!r} must have one entry for each of the {n_actions} actions of "
            f"{action_space}, but it is {mask_space}; mend it, or rename the key if it is no mask"
        )


def masks_in(observation: Any, action_space: spaces.Space) -> np.ndarray | None:
    """The action masks in a batch of observations, True where an action is allowed: (n_envs, A), or None.

    :param observation: of a vectorised environment
    :param action_space: of one environment; masks are of discrete actions
    :raises ValueError: a mask that allows nothing
    """
    if isinstance(action_space, spaces.Box) or not isinstance(observation, dict) or ACTION_MASK not in observation:
        return None
    masks = np.asarray(observation[ACTION_MASK]) != 0
    masks = masks.reshape(-1, sum(discrete_sizes(action_space)))
    for part in np.split(masks, _ends(action_space), axis=1):
        forbidden = np.flatnonzero(~part.any(axis=1))
        if len(forbidden) > 0:
            raise ValueError(
                f"The {ACTION_MASK!r} of environment {forbidden[0]} allows no action: {masks[forbidden[0]].tolist()}. "
                "Allow at least one in every state that is not terminal"
            )
    return masks


def _ends(action_space: spaces.Space) -> np.ndarray:
    """Where each factor but the last ends, in a row of all of them."""
    return np.cumsum(discrete_sizes(action_space))[:-1]


def sample_allowed(action_space: spaces.Discrete | spaces.MultiDiscrete, masks: np.ndarray) -> np.ndarray:
    """A random action for each mask, among those that it allows.

    :param action_space: its generator is used
    :param masks: (n_envs, A), the factors of MultiDiscrete one after another
    :return: (n_envs,), or (n_envs, F) for MultiDiscrete
    """
    factors = [np.split(mask.astype(np.int8), _ends(action_space)) for mask in masks]
    if isinstance(action_space, spaces.Discrete):
        return np.array([action_space.sample(mask=factor[0]) for factor in factors])
    return np.array([action_space.sample(mask=tuple(parts)) for parts in factors])
