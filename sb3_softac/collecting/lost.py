"""Steps of which nobody knows what they did, since the process of the environment died: they are not learned from."""

from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer

from sb3_softac.buffers.single_copy import SingleCopyReplayBuffer

#: key of an info: nobody knows what the step did
LOST_STEP = "lost_step"


class RepeatingBuffer:
    """Takes a step for a replay buffer, in which every environment needs one: in place of a lost one the step before.

    :param buffer: that gets the steps
    :param envs: (k,) indices of the environments whose step was lost
    """

    def __init__(self, buffer: SingleCopyReplayBuffer, envs: list[int]) -> None:
        self._buffer = buffer
        self._envs = envs

    def add(
        self, obs: Any, next_obs: Any, action: np.ndarray, reward: np.ndarray, done: np.ndarray, infos: list[Any]
    ) -> None:
        """Add a step of every environment; see :meth:`SingleCopyReplayBuffer.add` for the parameters."""
        buffer, envs = self._buffer, self._envs
        before = (buffer.pos - 1) % buffer.buffer_size * buffer.n_envs + np.array(envs)
        old_obs, old_next_obs, old_action, old_reward, old_done, old_timeout = buffer.transitions_at(before)
        infos = list(infos)
        for env, timeout in zip(envs, old_timeout, strict=True):
            infos[env] = {"TimeLimit.truncated": bool(timeout)}
        buffer.add(
            self._with_leaves(obs, old_obs),
            self._with_leaves(next_obs, old_next_obs),
            self._with(action.reshape(buffer.n_envs, -1), old_action),
            self._with(reward, old_reward),
            self._with(done, old_done),
            infos,
        )

    def _with_leaves(self, obs: Any, old: dict[str | None, np.ndarray]) -> Any:
        if not isinstance(obs, dict):
            return self._with(obs, old[None])
        return {key: self._with(values, old[key]) for key, values in obs.items()}

    def _with(self, values: np.ndarray, old: np.ndarray) -> np.ndarray:
        changed = np.array(values)  # the model holds the given one
        changed[self._envs] = old.reshape(changed[self._envs].shape)
        return changed


def without_lost_steps(buffer: ReplayBuffer, infos: list[dict[str, Any]]) -> Any:
    """The buffer for a step, in which the places of lost steps have the step before once more: it is true.

    A buffer of another class gets lost steps as they come, as truncated, and so does an empty one.

    :param buffer: replay buffer
    :param infos: one dict for each environment
    """
    lost = [env for env, info in enumerate(infos) if LOST_STEP in info]
    if not lost or type(buffer) is not SingleCopyReplayBuffer or buffer.size() == 0:
        return buffer
    return RepeatingBuffer(buffer, lost)
