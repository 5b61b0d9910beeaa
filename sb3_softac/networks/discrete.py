"""Discrete and MultiDiscrete spaces as F factors of n_f actions each."""

import math

import torch as th
from gymnasium import spaces

# Up to here a MultiDiscrete space is enumerated: an exact expectation costs one output of the critics for each action.
JOINT_ACTIONS_LIMIT = 256


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
