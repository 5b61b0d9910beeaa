"""What is timed: an environment that costs next to nothing, and agents of equal size on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from benchmarks._algorithms import load_algorithm

SYNTHETIC = "synthetic"


class SyntheticEnv(gym.Env[np.ndarray, np.ndarray]):
    """HalfCheetah's shapes (17 observations, 6 actions, 1000 steps), with observations read from a table."""

    observation_space = spaces.Box(-np.inf, np.inf, (17,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (6,), np.float32)
    episode_length = 1000

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self._table = generator.standard_normal((self.episode_length + 1, 17)).astype(np.float32)
        self._rewards = generator.standard_normal(self.episode_length + 1).tolist()
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Go back to the head of the table."""
        super().reset(seed=seed)
        self._step = 0
        return self._table[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """The next row; the action changes nothing."""
        self._step += 1
        return (
            self._table[self._step],
            self._rewards[self._step],
            False,
            self._step >= self.episode_length,
            {},
        )


@dataclass(frozen=True)
class Case:
    """The sizes that both agents share. Those that equal SB3 SAC's defaults are left to the constructor.

    :param env: ``"synthetic"`` or a Gymnasium id
    :param batch_size: transitions in one gradient step
    :param width: units of each of the two hidden layers
    :param device: torch device
    :param seed: of both agents
    """

    env: str = SYNTHETIC
    batch_size: int = 256
    width: int = 256
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")

    def build(self, algo: str, **arguments: Any) -> Any:
        """An agent on an environment of its own.

        :param algo: a name that ``benchmarks._algorithms`` knows
        :param arguments: of the constructor, beyond the case's own
        """
        env = SyntheticEnv() if self.env == SYNTHETIC else gym.make(self.env)
        if self.batch_size != 256:
            arguments.setdefault("batch_size", self.batch_size)
        if self.width != 256:
            arguments.setdefault("policy_kwargs", {"net_arch": [self.width, self.width]})
        return load_algorithm(algo)("MlpPolicy", env, seed=self.seed, device=self.device, **arguments)

    def build_filled(self, algo: str, transitions: int, **arguments: Any) -> Any:
        """An agent that has stored ``transitions`` random steps by its own code, and has not learned yet."""
        model = self.build(algo, learning_starts=transitions, **arguments)
        model.learn(transitions)
        return model
