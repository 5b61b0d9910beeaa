"""Spaces: the checks of SoftAC, the factors of discrete actions, and the masks of allowed actions.

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
    """Refuse action spaces that SoftAC cannot act in, and warn of bounds so wide that it rarely learns.

    :param action_space: action space of the environment
    :raises ValueError: a space that is not Box, Discrete or MultiDiscrete; a Box of integers; infinite or empty bounds;
        discrete actions that do not start at 0, or that are not in one row
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


class Unscaling:
    """Brings actions from [-1, 1] into the bounds of a Box: ``low + (a + 1) (high - low) / 2``.

    The result is that of Stable-Baselines3's ``unscale_action()``, to the bit. For a few numbers, most of its time goes
    into what NumPy does for a Python number, and for arrays of different shapes. Here all arrays have the shape of the
    actions.

    :param space: the Box
    """

    def __init__(self, space: spaces.Box) -> None:
        self.space = space
        self._made: tuple[Any, ...] = (None,)

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        """Actions in the bounds.

        :param actions: (..., shape of the Box), in [-1, 1]
        :return: in the same shape
        """
        kind = (actions.shape, actions.dtype)
        made = self._made  # all at once, since another thread may make others
        if made[0] != kind:
            made = self._made = (kind, *self._arrays(actions))
        _, low, half_width, one = made
        return low + (actions + one) * half_width

    def _arrays(self, actions: np.ndarray) -> list[np.ndarray]:
        """Lower bound, half of the width, and one, in the shape of the actions."""
        low, high = self.space.low, self.space.high
        half_width = 0.5 * (high - low)  # is exact, and so rounds as Stable-Baselines3's order does
        one = np.ones(1, (actions + 1.0).dtype)
        return [np.array(np.broadcast_to(each, actions.shape)) for each in (low, half_width, one)]


# Observations

#: spaces whose observations are numbers of a fixed count
READABLE = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
#: keys of the observations of an environment with goals
GOAL_KEYS = {"observation", "achieved_goal", "desired_goal"}


def check_observation_space(space: spaces.Space | None) -> None:
    """Refuse observations that no policy of SoftAC reads: texts, graphs, or spaces inside of others.

    :param space: space of the observations; None of what is no environment, which Stable-Baselines3 refuses
    :raises ValueError: naming the part of the space, and the wrapper that leaves it out
    """
    if space is None:
        return
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    unread = [key for key, part in parts.items() if not isinstance(part, READABLE)]
    if not unread:
        return
    given = ", ".join(f"{key!r} is {parts[key]}" if key else str(parts[key]) for key in unread)
    left = [key for key in parts if key not in unread]
    remedy = "wrap the environment so that it gives a Box or a Dict of Boxes"
    if all(map(_is_of_numbers, parts.values())):
        remedy = "wrap the environment in gymnasium.wrappers.FlattenObservation"
    elif left:
        remedy = f"leave it out: gymnasium.wrappers.FilterObservation(env, {left})"
    raise ValueError(
        "SoftAC reads observations of type Box, Discrete, MultiDiscrete or MultiBinary, or a Dict of them, but of this "
        f"environment {given}; {remedy}"
    )


def _is_of_numbers(space: spaces.Space) -> bool:
    """Whether a space, and all spaces inside of it, can be written as one row of numbers."""
    if isinstance(space, spaces.Dict):
        return all(map(_is_of_numbers, space.spaces.values()))
    return all(map(_is_of_numbers, space)) if isinstance(space, spaces.Tuple) else isinstance(space, READABLE)


def has_goals(space: spaces.Space) -> bool:
    """Whether observations have a goal that is to be reached and one that was: those of hindsight."""
    return isinstance(space, spaces.Dict) and set(space.spaces) >= GOAL_KEYS


# Discrete actions


def discrete_sizes(action_space: spaces.Space) -> list[int]:
    """Number of actions of each factor.

    :param action_space: Discrete (one factor) or MultiDiscrete
    :return: F numbers
    """
    if isinstance(action_space, spaces.Discrete):
        return [int(action_space.n)]
    assert isinstance(action_space, spaces.MultiDiscrete)
    return [int(n) for n in action_space.nvec]


def is_enumerable(action_space: spaces.Space) -> bool:
    """Whether the critics have one output for every (joint) action.

    :param action_space: Discrete (always) or MultiDiscrete (if it is small)
    """
    is_small = math.prod(discrete_sizes(action_space)) <= JOINT_ACTIONS_LIMIT
    return isinstance(action_space, spaces.Discrete) or is_small


def joint_actions(nvec: list[int]) -> th.Tensor:
    """List every joint action; the id of the last factor changes fastest.

    :param nvec: number of actions of each factor
    :return: (prod(nvec), F) ids
    """
    return th.cartesian_prod(*[th.arange(n) for n in nvec]).view(-1, len(nvec))


def joint_strides(nvec: list[int]) -> th.Tensor:
    """Weights that turn the ids of the factors into a row of :func:`joint_actions`: ``row = sum_f id_f stride_f``.

    :param nvec: number of actions of each factor
    :return: (F,)
    """
    return th.tensor([math.prod(nvec[f + 1 :]) for f in range(len(nvec))])


def max_entropy(action_space: spaces.Space) -> float:
    """Entropy of the uniform policy, in nats: no policy has a larger one.

    :param action_space: Discrete, MultiDiscrete, or Box; the actions of a Box are scaled to [-1, 1]
    """
    if isinstance(action_space, spaces.Box):
        return math.log(2.0) * math.prod(action_space.shape or (1,))
    return sum(math.log(n) for n in discrete_sizes(action_space))


# Masks of discrete actions


def has_action_masks(observation_space: spaces.Space, action_space: spaces.Space) -> bool:
    """Whether observations hold action masks: a Dict with the key ``"action_mask"``, and discrete actions.

    :param observation_space: observation space of the environment
    :param action_space: action space of the environment
    """
    is_masked = isinstance(observation_space, spaces.Dict) and ACTION_MASK in observation_space.spaces
    return is_masked and not isinstance(action_space, spaces.Box)


def check_mask_space(observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """Refuse an action mask whose size differs from the number of actions.

    :param observation_space: observation space of the environment
    :param action_space: action space of the environment
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
    """Action masks in the observations of a vectorised environment.

    :param observation: (n_envs, ...), or a dict of such
    :param action_space: action space of one environment; only discrete actions have masks
    :return: (n_envs, A), True where an action is allowed; None without masks
    :raises ValueError: a mask that allows no action
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
    """End of each factor but the last in a row of all factors: (F - 1,) positions."""
    return np.cumsum(discrete_sizes(action_space))[:-1]


def sample_allowed(action_space: spaces.Discrete | spaces.MultiDiscrete, masks: np.ndarray) -> np.ndarray:
    """Draw a random allowed action for each mask.

    :param action_space: provides the random generator
    :param masks: (n_envs, A), the factors of MultiDiscrete one after another
    :return: (n_envs,), or (n_envs, F) for MultiDiscrete
    """
    factors = [np.split(mask.astype(np.int8), _ends(action_space)) for mask in masks]
    if isinstance(action_space, spaces.Discrete):
        return np.array([action_space.sample(mask=factor[0]) for factor in factors])
    return np.array([action_space.sample(mask=tuple(parts)) for parts in factors])
