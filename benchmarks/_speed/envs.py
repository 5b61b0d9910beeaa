"""Environments that cost next to nothing: what is timed is the agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

CONTINUOUS = spaces.Box(-1.0, 1.0, (6,), np.float32)
VECTOR = spaces.Box(-np.inf, np.inf, (17,), np.float32)
IMAGE = spaces.Box(0, 255, (4, 84, 84), np.uint8)

#: name of the environment -> its observations and actions; the first has HalfCheetah's shapes
SPACES: dict[str, tuple[spaces.Space, spaces.Space]] = {
    "synthetic": (VECTOR, CONTINUOUS),
    "synthetic-discrete": (VECTOR, spaces.Discrete(6)),
    "synthetic-image": (IMAGE, CONTINUOUS),
    "synthetic-dict": (spaces.Dict({"joints": VECTOR, "goal": spaces.Box(-1.0, 1.0, (3,), np.float32)}), CONTINUOUS),
}


class SyntheticEnv(gym.Env[Any, Any]):
    """Episodes of 1000 steps that read observations from a table; the action changes nothing.

    :param name: of ``SPACES``
    """

    episode_length = 1000
    rows = 64  # an image is large

    def __init__(self, name: str = "synthetic") -> None:
        self.observation_space, self.action_space = SPACES[name]
        generator = np.random.default_rng(0)
        self._table = [_draw(self.observation_space, generator) for _ in range(self.rows)]
        self._rewards = generator.standard_normal(self.episode_length + 1).tolist()
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Go back to the head of the table."""
        super().reset(seed=seed)
        self._step = 0
        return self._table[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """The next row."""
        self._step += 1
        return (
            self._table[self._step % self.rows],
            self._rewards[self._step],
            False,
            self._step >= self.episode_length,
            {},
        )


def _draw(space: spaces.Space, generator: np.random.Generator) -> Any:
    if isinstance(space, spaces.Dict):
        return {name: _draw(part, generator) for name, part in space.items()}
    if space.dtype == np.uint8:
        return generator.integers(0, 256, space.shape, np.uint8)
    return generator.standard_normal(space.shape).astype(np.float32)


def maker(name: str) -> Callable[[], gym.Env]:
    """A function that makes the environment of a name.

    :param name: of ``SPACES``, or a Gymnasium id
    """
    return (lambda: SyntheticEnv(name)) if name in SPACES else (lambda: gym.make(name))
