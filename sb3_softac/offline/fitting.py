"""Data made to fit a model: each array is checked against the model's spaces, and brought into their layout."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_softac.offline.steps import Data, Leaves, Steps

# Actions that are this part of the range outside of their bounds are there by rounding.
ROUNDING = 1e-4


class Fit:
    """Brings the steps of a data set into the layout of a model.

    Observations keep their values, and images their channels where the model has them. Actions of a Box are scaled to
    [-1, 1], as replay buffers hold them.

    :param data: as error messages name it
    :param observation_space: of the model
    :param action_space: of the model
    :param clip_actions: True: move actions that are out of bounds to the bounds; False: refuse them
    :raises ValueError: the data says that its actions are other ones
    """

    def __init__(
        self, data: Data, observation_space: spaces.Space, action_space: spaces.Space, clip_actions: bool = False
    ) -> None:
        self._name = data.name
        self._leaves: dict[str | None, Any] = {None: observation_space}
        if isinstance(observation_space, spaces.Dict):
            self._leaves = {key: space for key, space in observation_space.spaces.items()}
        self._observation_space, self._action_space = observation_space, action_space
        self._clips = clip_actions
        if data.action_space is not None and not _same_actions(data.action_space, action_space):
            raise self._error(
                f"its actions are of {data.action_space}, but the model's of {action_space}",
                "use an environment with the actions of the data, without wrappers that rescale or renumber them",
            )

    def __call__(self, steps: Steps) -> Steps:
        """Steps in the layout of the model.

        :param steps: as the data has them
        :return: the same, with actions (T, D) scaled to [-1, 1] for Box
        :raises ValueError: naming the array, the step and the value
        """
        for name in ("rewards", "terminations", "truncations", "actions"):
            self._check_length(name, getattr(steps, name), steps.n_steps)
        self._check_numbers("rewards", steps.rewards, (steps.n_steps,))
        return steps._replace(
            observations=self._observations("observations", steps.observations, steps.n_steps),
            next_observations=self._observations("next_observations", steps.next_observations, steps.n_steps),
            actions=self._actions(steps.actions),
            rewards=np.asarray(steps.rewards, np.float32),
        )

    # Observations

    def _observations(self, name: str, given: Leaves, n_steps: int) -> Leaves:
        if given.keys() != self._leaves.keys():
            raise self._error(
                f"its {name} have {_keys(given)}, but the model's observations have {_keys(self._leaves)}",
                f"the model's space is {self._observation_space}",
            )
        return {
            key: self._leaf(name if key is None else f"{name}[{key!r}]", given[key], space, n_steps)
            for key, space in self._leaves.items()
        }

    def _leaf(self, name: str, values: np.ndarray, space: Any, n_steps: int) -> np.ndarray:
        self._check_length(name, values, n_steps)
        shape = values.shape[1:]
        if shape != space.shape and len(shape) == 3 and (shape[2], *shape[:2]) == space.shape:
            values = np.moveaxis(values, 3, 1)  # images whose channels come last, as environments give them
        if not space.shape and shape == (1,):
            values = values[:, 0]
        self._check_numbers(name, values, (n_steps, *space.shape))
        if space.dtype.kind == "f":
            return values.astype(space.dtype, copy=False)
        if values.dtype.kind == "f":
            raise self._error(
                f"its {name} are of {values.dtype}, but the model's space is {space}, of whole numbers",
                "convert them, as images of 0 to 255 to uint8",
            )
        low, high = _whole_bounds(space)
        self._check_bounds(name, values, low, high, space)
        return values.astype(space.dtype, copy=False)

    # Actions

    def _actions(self, actions: np.ndarray) -> np.ndarray:
        space = self._action_space
        shape = space.shape or ()
        if not shape and actions.shape[1:] == (1,):
            actions = actions[:, 0]
        self._check_numbers("actions", actions, (len(actions), *shape))
        if isinstance(space, spaces.Box):
            return self._scaled(actions, space)
        if actions.dtype.kind == "f":
            raise self._error(
                f"its actions are of {actions.dtype}, but the model's are of {space}", "convert them to whole numbers"
            )
        self._check_bounds("actions", actions, *_whole_bounds(space), space)
        return actions.reshape(len(actions), math.prod(shape))

    def _scaled(self, actions: np.ndarray, space: spaces.Box) -> np.ndarray:
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        if not self._clips:
            slack = ROUNDING * (high - low)
            self._check_bounds("actions", actions, low - slack, high + slack, space)
        scaled = 2.0 * (np.clip(actions, low, high) - low) / (high - low) - 1.0
        return scaled.astype(np.float32).reshape(len(actions), math.prod(space.shape))

    # Checks

    def _check_length(self, name: str, values: np.ndarray, n_steps: int) -> None:
        if np.ndim(values) == 0 or len(values) != n_steps:
            length = "no length" if np.ndim(values) == 0 else f"{len(values)} rows"
            raise self._error(f"its {name} have {length}, but its rewards {n_steps}", "give one row for each step")

    def _check_numbers(self, name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
        if values.shape != shape:
            raise self._error(
                f"its {name} have the shape {values.shape}, but the model's spaces ask for {shape}",
                "use an environment with the spaces of the data, and with the same wrappers",
            )
        if values.dtype.kind not in "biuf":
            raise self._error(f"its {name} are of {values.dtype}", "give numbers")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            place = np.argwhere(~np.isfinite(values))[0].tolist()
            raise self._error(f"its {name}, at {place}, have {values[tuple(place)]}", "leave such episodes out")

    def _check_bounds(self, name: str, values: np.ndarray, low: Any, high: Any, space: spaces.Space) -> None:
        outside = (values < low) | (values > high)
        if outside.any():
            place = np.argwhere(outside)[0].tolist()
            remedy = "leave such episodes out"
            if name == "actions" and isinstance(space, spaces.Box):
                remedy = "pass `clip_actions=True` to move them to the bounds, or use the environment of the data"
            raise self._error(
                f"its {name}, at {place}, have {values[tuple(place)]}, which is not in the model's {space}", remedy
            )

    def _error(self, what: str, remedy: str) -> ValueError:
        return ValueError(f"The data of {self._name} does not fit the model: {what}; {remedy}")


def _keys(leaves: Any) -> str:
    return "no keys" if None in leaves else f"the keys {sorted(leaves)}"


def _whole_bounds(space: Any) -> tuple[Any, Any]:
    """Smallest and largest value of a space of whole numbers."""
    if isinstance(space, spaces.Box):
        return space.low, space.high
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    sizes = space.nvec if isinstance(space, spaces.MultiDiscrete) else space.n
    return space.start, space.start + sizes - 1


def _same_actions(given: spaces.Space, own: spaces.Space) -> bool:
    """Whether two spaces are of the same actions; a Box may be of another type of floats."""
    if not (isinstance(given, spaces.Box) and isinstance(own, spaces.Box)):
        return given == own
    return given.shape == own.shape and np.allclose(given.low, own.low) and np.allclose(given.high, own.high)


def unscaled(actions: np.ndarray, space: spaces.Space) -> np.ndarray:
    """Actions of a replay buffer as the environment takes them.

    :param actions: (T, D), in [-1, 1] for Box
    :param space: of the actions
    :return: (T, ...)
    """
    actions = actions.reshape(len(actions), *(space.shape or ()))
    if not isinstance(space, spaces.Box):
        return actions.astype(space.dtype)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return np.clip(low + 0.5 * (actions + 1.0) * (high - low), low, high).astype(space.dtype)
