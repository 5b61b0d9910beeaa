"""Environments whose observations have to be prepared: numbers of very different sizes, and images."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

#: factors on the cosine, the sine and the speed of the pendulum
UNEVEN = (1e-3, 1.0, 1e3)


class Rescaled(gym.ObservationWrapper):
    """Numbers of an observation in other units.

    :param env: with a Box of vectors
    :param factors: one for each number
    """

    def __init__(self, env: gym.Env, factors: tuple[float, ...]) -> None:
        super().__init__(env)
        self._factors = np.asarray(factors, np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, self._factors.shape, np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation * self._factors


class PixelReach(gym.Env):
    """A ball with inertia is pushed to a target, seen in the last two frames alone.

    The state is that of Pendulum's kind: a place, which one frame shows, and a speed, which takes two. The reward of a
    step is minus the distance; an episode has 40 steps, and ends by a time limit.
    """

    SIDE, FRAMES, STEPS = 36, 2, 40
    observation_space = spaces.Box(0, 255, (FRAMES, SIDE, SIDE), np.uint8)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self) -> None:
        self._axis = np.linspace(-1.0, 1.0, self.SIDE)
        self._frames: deque[np.ndarray] = deque(maxlen=self.FRAMES)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._place, self._target = self.np_random.uniform(-0.8, 0.8, (2, 2))
        self._speed, self._step = np.zeros(2), 0
        self._frames.extend([self._frame()] * self.FRAMES)
        return np.stack(self._frames), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self._step += 1
        self._speed = 0.7 * self._speed + 0.08 * np.clip(action, -1.0, 1.0)
        place = np.clip(self._place + self._speed, -1.0, 1.0)
        self._speed[place != self._place + self._speed] = 0.0  # a wall
        self._place = place
        self._frames.append(self._frame())
        reward = -float(np.linalg.norm(self._place - self._target))
        return np.stack(self._frames), reward, False, self._step >= self.STEPS, {}

    def _frame(self) -> np.ndarray:
        """A bright ball, and a dimmer and smaller target."""
        ball, target = self._blob(self._place, 0.15), self._blob(self._target, 0.1)
        return (255 * np.maximum(ball, 0.5 * target)).astype(np.uint8)

    def _blob(self, place: np.ndarray, size: float) -> np.ndarray:
        columns, rows = (np.exp(-(((self._axis - centre) / size) ** 2)) for centre in place)
        return rows[:, None] * columns
