"""Environments of JAX whose arrays become tensors without a copy: Brax, MuJoCo Playground, and others of their form.

Shapes: n_envs environments.
"""

import importlib
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.collecting.tensor_steps import TensorStep
from sb3_softac.distributed.tensor_vec_env import TensorVecEnv, unbounded_space
from sb3_softac.settings.parsing import whole_number


class JaxVecEnv(TensorVecEnv):
    """Environments of a pure function of JAX, on the default device of JAX.

    ``env.reset(key)`` and ``env.step(state, action)`` are of *one* environment. They return a state with ``obs`` (an
    array, or a dict of such), ``reward`` and ``done``, as Brax and MuJoCo Playground have it. This class computes many
    at once, limits their time, and resets those that have ended. Whenever some have, new states are made for all, and
    given to those: a simulator whose reset takes as long as a step then takes twice as long.

    Needs the extra ``jax``, and the torch and the JAX of one device.

    :param env: of JAX, without wrappers that make it a batch or reset it
    :param num_envs: number of environments
    :param max_episode_steps: after which an episode is truncated; None for no limit
    :param action_low: smallest action; Brax and MuJoCo Playground take -1 to 1
    :param action_high: largest action
    :param seed: of the random numbers, until ``seed()`` is called
    :raises ImportError: the extra is not installed
    :raises ValueError: an argument out of its range
    """

    def __init__(
        self,
        env: Any,
        num_envs: int,
        max_episode_steps: int | None = 1000,
        action_low: float = -1.0,
        action_high: float = 1.0,
        seed: int = 0,
    ) -> None:
        self._jax = _jax()
        self.simulator = env
        self.max_episode_steps = (
            None if max_episode_steps is None else whole_number("max_episode_steps", max_episode_steps)
        )
        n_envs = whole_number("num_envs", num_envs)
        self._begin = self._jax.jit(lambda key: self._reset_all(key, n_envs))
        self._step = self._jax.jit(self._step_all)
        self._key = self._jax.random.PRNGKey(seed)
        obs = self.reset_tensors()
        first = next(iter(obs.values())) if isinstance(obs, dict) else obs
        action_space = spaces.Box(action_low, action_high, (int(env.action_size),), np.float32)
        super().__init__(n_envs, unbounded_space(obs), action_space, first.device)

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed the random numbers of all environments.

        :param seed: None for one that is drawn
        """
        seeds = list(super().seed(seed))
        self._key = self._jax.random.PRNGKey(int(seeds[0] or 0))
        return seeds

    def reset_tensors(self) -> PyTorchObs:
        self._key, key = self._jax.random.split(self._key)
        self._states, self._steps = self._begin(key)
        return _tensors(self._states.obs)

    def step_tensors(self, actions: th.Tensor) -> TensorStep:
        actions = self._jax.dlpack.from_dlpack(actions.detach().contiguous())
        self._states, self._steps, self._key, done = self._step(self._states, self._steps, self._key, actions)
        obs, rewards, terminated, truncated, final_obs = map(_tensors, (self._states.obs, *done))
        return TensorStep(obs, rewards, terminated, None if self.max_episode_steps is None else truncated, final_obs)

    def _reset_all(self, key: Any, n_envs: int) -> tuple[Any, Any]:
        """States (n_envs, ...) and numbers of steps (n_envs,)."""
        states = self._jax.vmap(self.simulator.reset)(self._jax.random.split(key, n_envs))
        return states, self._jax.numpy.zeros(n_envs, "int32")

    def _step_all(self, states: Any, steps: Any, key: Any, actions: Any) -> tuple[Any, ...]:
        """New states and numbers of steps, the next key, and (rewards, terminated, truncated, last observations)."""
        jnp, n_envs = self._jax.numpy, len(steps)
        after = self._jax.vmap(self.simulator.step)(states, actions)
        steps = steps + 1
        limit = jnp.iinfo("int32").max if self.max_episode_steps is None else self.max_episode_steps
        terminated, truncated = after.done > 0, steps >= limit
        ended = terminated | truncated
        key, for_reset = self._jax.random.split(key)
        fresh = self._jax.lax.cond(ended.any(), lambda: self._reset_all(for_reset, n_envs)[0], lambda: after)
        begun = self._jax.tree_util.tree_map(
            lambda new, old: jnp.where(ended.reshape(-1, *[1] * (new.ndim - 1)), new, old), fresh, after
        )
        return begun, jnp.where(ended, 0, steps), key, (after.reward, terminated, truncated, after.obs)


def _jax() -> Any:
    try:
        importlib.import_module("jax.dlpack")
        return importlib.import_module("jax")
    except ImportError as error:
        raise ImportError("jax is not installed, run: pip install 'sb3_softac[jax]'") from error


def _tensors(arrays: Any) -> Any:
    """Tensors that share the memory of arrays of JAX, or a dict of such."""
    return {key: _tensors(each) for key, each in arrays.items()} if isinstance(arrays, dict) else th.from_dlpack(arrays)
