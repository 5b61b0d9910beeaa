"""Agents and environments of the studies, and a hash of all that learning changes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.vec_env import VecNormalize

from sb3_softac import Resumable, SoftAC

ROOT = Path(__file__).resolve().parents[2]
SMALL: dict[str, Any] = {"learning_starts": 50, "batch_size": 16, "buffer_size": 1000, "device": "cpu", "seed": 0}
SMALL |= {"policy_kwargs": {"net_arch": [16, 16]}}


class Noise(gym.Env):
    """Random observations of any space; episodes of 50 steps.

    :param observation_space: of the observations
    """

    action_space = spaces.Box(-1.0, 1.0, (2,))

    def __init__(self, observation_space: spaces.Space) -> None:
        self.observation_space = observation_space
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self._step = 0
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return self.observation_space.sample(), -float(np.square(action).sum()), False, self._step == 50, {}


def vectors(size: int) -> Noise:
    """Observations of numbers."""
    return Noise(spaces.Box(-1.0, 1.0, (size,), np.float32))


def images() -> Noise:
    """Observations that are images."""
    return Noise(spaces.Box(0, 255, (1, 36, 36), np.uint8))


def dicts() -> Noise:
    """Observations that are a vector and an image."""
    parts = {"image": images().observation_space, "vector": vectors(3).observation_space}
    return Noise(spaces.Dict(parts))


def goals() -> BitFlippingEnv:
    """Observations with goals, for hindsight."""
    return BitFlippingEnv(4, continuous=True)


def several(env_id: str, n_envs: int, wrapper: Callable[[Any], Any] = lambda env: env) -> Callable[[], Any]:
    """A maker of several environments side by side, in a wrapper."""
    return lambda: wrapper(make_vec_env(env_id, n_envs, seed=1, wrapper_class=Resumable))


def made(env_id: str) -> Callable[[], Any]:
    """A maker of a Gymnasium environment that tells its state, as the zoo's runs make it."""
    return lambda: Resumable(gym.make(env_id))


#: name: maker of the environment, policy, arguments
CASES: dict[str, tuple[Callable[[], Any], str, dict[str, Any]]] = {
    "Pendulum-v1": (made("Pendulum-v1"), "MlpPolicy", {}),
    "CartPole-v1, discrete": (made("CartPole-v1"), "MlpPolicy", {}),
    "LunarLander-v3, discrete": (made("LunarLander-v3"), "MlpPolicy", {}),
    "LunarLanderContinuous-v3": (made("LunarLanderContinuous-v3"), "MlpPolicy", {}),
    "BipedalWalker-v3": (made("BipedalWalker-v3"), "MlpPolicy", {}),
    "HalfCheetah-v5": (made("HalfCheetah-v5"), "MlpPolicy", {}),
    "Dict": (dicts, "MultiInputPolicy", {}),
    "image": (images, "CnnPolicy", {"buffer_size": 300}),
    "Pendulum-v1, v1": (made("Pendulum-v1"), "MlpPolicy", {"variant": "v1", "reward_scale": "lin_2_1"}),
    "Pendulum-v1, eager": (made("Pendulum-v1"), "MlpPolicy", {"engine": "eager"}),
    "Pendulum-v1, gSDE": (made("Pendulum-v1"), "MlpPolicy", {"use_sde": True, "sde_sample_freq": 4}),
    "HalfCheetah-v5, gSDE": (made("HalfCheetah-v5"), "MlpPolicy", {"use_sde": True}),
    "goals, HER": (goals, "MultiInputPolicy", {"replay_buffer_class": HerReplayBuffer}),
    "Pendulum-v1, 3 steps": (made("Pendulum-v1"), "MlpPolicy", {"n_steps": 3}),
    "Pendulum-v1, VecNormalize": (several("Pendulum-v1", 1, VecNormalize), "MlpPolicy", {}),
    "HalfCheetah-v5, 4, VecNormalize": (several("HalfCheetah-v5", 4, VecNormalize), "MlpPolicy", {}),
    "Pendulum-v1, 4 environments": (several("Pendulum-v1", 4), "MlpPolicy", {}),
    "LunarLander-v3, 4 environments": (several("LunarLander-v3", 4), "MlpPolicy", {}),
}


def make(case: str) -> SoftAC:
    """The agent of a case, before its first step."""
    env, policy, arguments = CASES[case]
    return SoftAC(policy, env(), **SMALL | arguments)


def digest_of(model: SoftAC) -> str:
    """A hash of networks, optimizers, rewards in the buffer, and counters."""
    digest = hashlib.sha256(repr((model.num_timesteps, model._n_updates, model._episode_num)).encode())
    digest.update(model.replay_buffer.rewards.tobytes())
    _add(digest, model.get_parameters())
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, th.Tensor):
        digest.update(value.detach().cpu().numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            _add(digest, value[key])
    elif isinstance(value, (list, tuple)):
        for each in value:
            _add(digest, each)
    else:
        digest.update(repr(value).encode())


def in_process(module: str, *arguments: Any, timeout: float = 600.0, prefix: tuple[str, ...] = ()) -> tuple[int, Any]:
    """Run ``main(*arguments)`` of a part in a process of its own.

    :param module: of this package
    :param arguments: JSON
    :param timeout: seconds
    :param prefix: command before the interpreter
    :return: exit code, and what it returned as JSON; None if it did not
    """
    program = (
        "import sys, json, torch; torch.set_num_threads(1); "
        f"from benchmarks._reliability import {module} as part; "
        "print('\\n' + json.dumps(part.main(*json.loads(sys.argv[1]))))"
    )
    command = [*prefix, sys.executable, "-W", "ignore", "-c", program, json.dumps(arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=environment, check=False
    )
    lines = told.stdout.strip().splitlines()
    try:
        return told.returncode, json.loads(lines[-1]) if told.returncode == 0 else told.stderr[-2000:]
    except (IndexError, ValueError):
        return told.returncode, told.stderr[-2000:]
