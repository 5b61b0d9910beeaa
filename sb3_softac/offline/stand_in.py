"""A stand-in for an environment that is not there: it has spaces, and makes no steps."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_softac.offline.sources import read
from sb3_softac.offline.steps import Data, Leaves


class SpacesEnv(gym.Env):
    """Environment of two spaces, in which nothing can be done.

    :param observation_space: of the environment that it stands for
    :param action_space: of the environment that it stands for
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        raise NotImplementedError(
            "This environment only stands for the spaces of a data set: `learn_offline()` learns without steps. To act "
            "or to call `learn()`, give the model the true environment, by `model.set_env(env)`"
        )


def spaces_env(
    source: Any = None,
    *,
    observation_space: spaces.Space | None = None,
    action_space: spaces.Space | None = None,
    allow_pickle: bool | None = None,
) -> SpacesEnv:
    """An environment for ``SoftAC("MlpPolicy", env)`` where there is none: it has the spaces of a data set.

    Where the data does not say its spaces, they are guessed: observations have no bounds, images are of 0 to 255, and
    actions are within [-1, 1], or whole numbers from 0 on.

    :param source: see :func:`sb3_softac.offline.read`; not needed if both spaces are given
    :param observation_space: in place of the data's
    :param action_space: in place of the data's
    :param allow_pickle: as for :func:`sb3_softac.offline.read`
    :raises ValueError: spaces that the data does not say and that cannot be guessed
    """
    if observation_space is not None and action_space is not None:
        return SpacesEnv(observation_space, action_space)
    if source is None:
        raise ValueError("`spaces_env()` needs a source of data, or both `observation_space` and `action_space`")
    data = read(source, allow_pickle)
    observation_space = observation_space or data.observation_space or _guessed_observations(data)
    return SpacesEnv(observation_space, action_space or data.action_space or _guessed_actions(data))


def _guessed_observations(data: Data) -> spaces.Space:
    leaves: Leaves = next(block.observations for block in data)
    guessed = {key: _guessed_leaf(values) for key, values in leaves.items()}
    if None in guessed:
        return guessed[None]
    return spaces.Dict({str(key): space for key, space in guessed.items()})


def _guessed_leaf(values: np.ndarray) -> spaces.Space:
    if values.dtype == np.uint8:
        return spaces.Box(0, 255, values.shape[1:], np.uint8)
    return spaces.Box(-np.inf, np.inf, values.shape[1:], np.float32)


def _guessed_actions(data: Data) -> spaces.Space:
    actions = np.concatenate([block.actions for block in data])
    if actions.dtype.kind in "iu" and actions.ndim == 1 and actions.min(initial=0) >= 0:
        return spaces.Discrete(int(actions.max(initial=0)) + 1)
    if actions.dtype.kind == "f" and actions.ndim > 1 and np.abs(actions).max(initial=0.0) <= 1.0:
        return spaces.Box(-1.0, 1.0, actions.shape[1:], np.float32)
    raise ValueError(
        f"The data of {data.name} does not say its action space, and actions of {actions.dtype} and shape "
        f"{actions.shape[1:]}, from {actions.min(initial=0):.4g} to {actions.max(initial=0):.4g}, leave it open; pass "
        "`action_space=...`"
    )
