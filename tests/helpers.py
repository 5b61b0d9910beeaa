"""Small environments and shorthands that several tests share."""

import contextlib
import os
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecEnv

from sb3_softac import SoftAC
from sb3_softac.updates.batch import Batch

SMALL = {"policy_kwargs": {"net_arch": [16, 16]}, "learning_starts": 16, "batch_size": 16, "buffer_size": 500}
SMALL_DICT = SMALL | {"policy_kwargs": {"net_arch": [16, 16], "features_extractor_kwargs": {"cnn_output_dim": 8}}}


class Target(gym.Env):
    """Reward is minus the squared distance of the action to a part of the observation.

    :param observation_space: a Box of one or three dimensions, or a Dict of such
    :param action_space: any Box
    :param horizon: steps before the episode ends
    :param truncate: end by a time limit in place of a terminal state
    """

    def __init__(
        self,
        observation_space: spaces.Space | None = None,
        action_space: spaces.Box | None = None,
        horizon: int = 10,
        truncate: bool = False,
    ) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (3,)) if observation_space is None else observation_space
        self.action_space = spaces.Box(-1.0, 1.0, (2,)) if action_space is None else action_space
        self._horizon = horizon
        self._truncate = truncate
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self._step = 0
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step += 1
        over = self._step >= self._horizon
        reward = -float(np.square(action).mean())
        return self.observation_space.sample(), reward, over and not self._truncate, over and self._truncate, {}


class DiscreteTarget(Target):
    """Discrete actions, of which the first is best."""

    def __init__(self, observation_space: spaces.Space | None = None) -> None:
        super().__init__(observation_space)
        self.action_space = spaces.Discrete(3)


class Simulator(VecEnv):
    """Computes three environments itself, and gives lists and double precision, as simulators do."""

    def __init__(self, as_lists: bool) -> None:
        super().__init__(3, spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Box(-1.0, 1.0, (1,), np.float32))
        self._as_lists = as_lists
        self._step = 0

    def _obs(self) -> np.ndarray:
        return np.full((3, 2), self._step % 7 / 7)

    def reset(self) -> np.ndarray:
        self._step = 0
        return self._obs()

    def step_async(self, actions: np.ndarray) -> None:
        self._step += 1

    def step_wait(self) -> Any:
        done = self._step % 7 == 0
        infos = [{"terminal_observation": self._obs()[0]} if done else {} for _ in range(3)]
        rewards, dones = [0.0, 1.0, 2.0], [done] * 3
        if self._as_lists:
            return self._obs(), rewards, dones, infos
        return self._obs().astype(np.float32), np.array(rewards, np.float32), np.array(dones), infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * 3

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        pass

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return [None] * 3

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * 3


def image_space(channels_first: bool = True) -> spaces.Box:
    """A small uint8 image."""
    shape = (1, 36, 36) if channels_first else (36, 36, 1)
    return spaces.Box(0, 255, shape, dtype=np.uint8)


def dict_space() -> spaces.Dict:
    """An image and a vector."""
    return spaces.Dict({"image": image_space(), "vector": spaces.Box(-1.0, 1.0, (2,))})


def ready(model: Any) -> Any:
    """A model whose `train()` can be called without `learn()`."""
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def fixed_samples(model: Any, samples: list[ReplayBufferSamples]) -> None:
    """Let the replay buffer of a model return the given batches in turn."""
    queue = iter(samples)
    model.replay_buffer.sample = lambda *args, **kwargs: next(queue)
    model.replay_buffer.sample_batches = lambda n_batches, *args, **kwargs: islice(queue, n_batches)


def random_samples(
    n_batches: int, batch_size: int = 32, obs_dim: int = 3, action_dim: int = 2, dtype: th.dtype = th.float32
) -> list[ReplayBufferSamples]:
    """Batches of random transitions."""
    generator = th.Generator().manual_seed(0)

    def normal(*shape: int) -> th.Tensor:
        return th.randn(*shape, generator=generator).to(dtype)

    def uniform(*shape: int) -> th.Tensor:
        return th.rand(*shape, generator=generator).to(dtype)

    return [
        ReplayBufferSamples(
            observations=normal(batch_size, obs_dim),
            actions=uniform(batch_size, action_dim) * 2 - 1,
            next_observations=normal(batch_size, obs_dim),
            dones=(uniform(batch_size, 1) < 0.3).to(dtype),
            rewards=normal(batch_size, 1),
            discounts=None,
        )
        for _ in range(n_batches)
    ]


def update_once(model: SoftAC, batch: Batch | None = None, n_updates: int = 1) -> dict[str, float]:
    """One gradient step by the model's engine, on a random batch if none is given, and what it logs."""
    engine = model._current_engine()
    engine.update(batch or Batch.from_samples(random_samples(1)[0], 0.9, 1.0), n_updates)
    return engine.read_metrics()


def zeroed(model: SoftAC) -> SoftAC:
    """The model, with every weight of its networks zero."""
    for parameter in model.policy.parameters():
        parameter.data.zero_()
    return model


def moved_since(before: dict[str, th.Tensor], model: SoftAC) -> set[str]:
    """The networks of a policy with a parameter that is not as it was."""
    return {name.split(".")[0] for name, value in parameters_of(model).items() if not th.equal(value, before[name])}


def parameters_of(model: SoftAC) -> dict[str, th.Tensor]:
    """A copy of every parameter of the policy."""
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def processes_with(mark: str) -> list[str]:
    """Command lines of other running processes that have a mark in them.

    :param mark: as the path of a temporary folder
    """
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            line = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if mark in line and int(each.parent.name) != os.getpid():
                found.append(line)
    return found
