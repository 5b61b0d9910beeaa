"""Rollouts of another agent as data."""

from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_softac.offline.steps import Data, Leaves, Steps, make_steps
from sb3_softac.settings.parsing import whole_number


def collect(
    model: Any,
    env: GymEnv | str,
    n_steps: int,
    *,
    deterministic: bool = False,
    seed: int | None = None,
) -> Data:
    """Let an agent act, and keep its steps.

    Observations and rewards are those before a ``VecNormalize``, whose statistics are the user's to freeze. The episode
    that is under way at the end is broken off.

    :param model: any agent of Stable-Baselines3, a policy, or another object with their ``predict()``
    :param env: the environment that it acts in, or its registered id
    :param n_steps: steps of all environments together; rounded up to the same number in each
    :param deterministic: True: the agent's best actions; False: samples, which show more of the environment
    :param seed: of the environments; None: they are as they are
    :return: to fill a buffer with, or to write to a file
    :raises ValueError: ``n_steps`` is not a whole number above 0
    """
    n_steps = whole_number("n_steps", n_steps)
    is_own, env = isinstance(env, str), _vectorized(env)
    if seed is not None:
        env.seed(seed)
    rows = _Rows(env)
    observations, state, starts = env.reset(), None, np.ones(env.num_envs, bool)
    rows.begin(observations)
    for _ in range(-(-n_steps // env.num_envs)):
        actions, state = model.predict(observations, state, starts, deterministic)
        observations, rewards, starts, infos = env.step(actions)
        rows.add(observations, actions, rewards, starts, infos)
    if is_own:
        env.close()
    blocks = [rows.block(index) for index in range(env.num_envs)]
    return Data(f"{type(model).__name__}'s rollouts", lambda: blocks, env.observation_space, env.action_space)


def _vectorized(env: GymEnv | str) -> VecEnv:
    made = maybe_make_env(env, 0)
    if isinstance(made, VecEnv):
        return made
    single: gym.Env = made
    return DummyVecEnv([lambda: Monitor(single)])


class _Rows:
    """Steps of vectorised environments, as these gave them before any normalisation."""

    def __init__(self, env: VecEnv) -> None:
        self._normalize: VecNormalize | None = unwrap_vec_normalize(env)
        self._n_envs = env.num_envs
        self._observations: list[Any] = []
        self._next: list[Any] = []
        self._rest: list[tuple[np.ndarray, ...]] = []

    def begin(self, observations: Any) -> None:
        """Take the first observations.

        :param observations: (n_envs, ...), or a dict of such
        """
        self._now = self._raw(observations)

    def add(self, observations: Any, actions: Any, rewards: Any, dones: Any, infos: list[dict[str, Any]]) -> None:
        """Take a step of each environment; the arguments are as from ``VecEnv.step()``."""
        self._observations.append(self._now)
        self._now = self._raw(observations)
        following = {key: values.copy() for key, values in self._now.items()}
        truncated = np.zeros(self._n_envs, bool)
        for index in np.flatnonzero(dones).tolist():
            truncated[index] = infos[index].get("TimeLimit.truncated", False)
            last = infos[index].get("terminal_observation")
            if last is not None:
                last = last if self._normalize is None else self._normalize.unnormalize_obs(last)
                for key, values in following.items():
                    values[index] = last if key is None else last[key]
        self._next.append(following)
        if self._normalize is not None:
            rewards = self._normalize.get_original_reward()
        rewards, dones = np.array(rewards, np.float32), np.array(dones, bool)
        self._rest.append((np.array(actions), rewards, dones & ~truncated, truncated))

    def _raw(self, observations: Any) -> Leaves:
        if self._normalize is not None:
            observations = self._normalize.get_original_obs()
        leaves = observations if isinstance(observations, dict) else {None: observations}
        return {key: np.array(values) for key, values in leaves.items()}

    def block(self, index: int) -> Steps:
        """Steps of one environment.

        :param index: of the environment
        """
        leaves = [
            {key: np.stack([each[key][index] for each in rows]) for key in rows[0]}
            for rows in (self._observations, self._next)
        ]
        rest = [np.stack([row[index] for row in column]) for column in zip(*self._rest, strict=True)]
        names = ("observations", "next_observations", "actions", "rewards", "terminations", "truncations")
        return make_steps(dict(zip(names, (*leaves, *rest), strict=True)))
