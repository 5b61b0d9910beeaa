"""How transitions come into the replay buffer and out of it."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import obs_as_tensor

from sb3_softac.acting import ActorCopy
from sb3_softac.buffers import SingleCopyReplayBuffer
from sb3_softac.checkpoint import CheckpointedAlgorithm
from sb3_softac.policies import SoftACPolicy, check_actions
from sb3_softac.wrappers import masks_in, sample_allowed

CPU = th.device("cpu")


class CollectingAlgorithm(CheckpointedAlgorithm):
    """The half of SoftAC that acts in the environment, and stores and samples what it sees."""

    #: what explores in place of the policy; None: the policy itself
    _actor_copy: ActorCopy | None = None

    def _setup_model(self) -> None:
        # Stable-Baselines3 would allocate the replay buffer here, also for an agent that is loaded only to act:
        # `replay_buffer` makes it when it is first needed.
        deferred = self.__dict__.get("replay_buffer") is None
        n_steps = self.n_steps
        if self.replay_buffer_class is None and not self.optimize_memory_usage:
            self.replay_buffer_class = SingleCopyReplayBuffer
        if self.replay_buffer_class is not None and issubclass(self.replay_buffer_class, SingleCopyReplayBuffer):
            self.n_steps = 1  # for Stable-Baselines3, which would warn that a class it does not know ignores it
        elif n_steps > 1 and self.replay_buffer_class is NStepReplayBuffer:
            self.replay_buffer_class = None  # chosen by an earlier set-up: choose again, `n_steps` may have changed
        if deferred:
            self.replay_buffer = "deferred"  # type: ignore[assignment]
        super()._setup_model()
        self.n_steps = n_steps
        if deferred:
            del self.replay_buffer

    @cached_property
    def replay_buffer(self) -> ReplayBuffer:  # type: ignore[override]
        """The replay buffer, allocated when first used."""
        return self._make_replay_buffer()

    def _make_replay_buffer(self) -> ReplayBuffer:
        assert self.replay_buffer_class is not None  # chosen in _setup_model()
        kwargs = dict(self.replay_buffer_kwargs)
        if issubclass(self.replay_buffer_class, SingleCopyReplayBuffer):
            kwargs |= self._return_arguments()
        if issubclass(self.replay_buffer_class, HerReplayBuffer):
            if self.env is None:
                raise ValueError("`HerReplayBuffer` needs the environment, but there is none: call `set_env()` first")
            kwargs["env"] = self.env
        return self.replay_buffer_class(
            self.buffer_size,
            self.observation_space,
            self.action_space,
            device=self.device,
            n_envs=self.n_envs,
            optimize_memory_usage=self.optimize_memory_usage,
            **kwargs,
        )

    def _return_arguments(self) -> dict[str, Any]:
        """What the algorithm's arguments say of the replay buffer's returns, and not the buffer's own."""
        ours = {"n_steps": self.n_steps, "gamma": self.gamma}
        if self.n_steps > 1:
            return ours
        return {name: value for name, value in ours.items() if name not in self.replay_buffer_kwargs}

    def _batches(self, n_batches: int, batch_size: int) -> Iterator[ReplayBufferSamples]:
        """Batches from the replay buffer.

        :param n_batches: how many
        :param batch_size: transitions in each
        """
        buffer = self.replay_buffer
        if isinstance(buffer, SingleCopyReplayBuffer):
            for name, value in self._return_arguments().items():  # changed since, or of a buffer from a file
                setattr(buffer, name, value)
            if buffer.samples_uniformly():
                yield from buffer.sample_batches(n_batches, batch_size, env=self._vec_normalize_env)
                return
        for _ in range(n_batches):
            yield buffer.sample(batch_size, env=self._vec_normalize_env)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Explore, without what ``predict()`` does for observations from elsewhere.

        :param learning_starts: environment steps with random actions
        :param action_noise: added to the actions
        :param n_envs: number of environments
        :return: (n_envs, ...) action for the environments, and the one to store, which is in [-1, 1] for Box
        """
        is_warmup = self.num_timesteps < learning_starts and not (self.use_sde and self.use_sde_at_warmup)
        if is_warmup:
            return self._random_action(learning_starts, action_noise, n_envs)
        if self._predicts_by_own_code():
            return super()._sample_action(learning_starts, action_noise, n_envs)
        assert self._last_obs is not None
        self.policy.set_training_mode(False)  # as predict() does: a callback may have trained in the meantime
        with th.no_grad():
            if self._actor_copy is None:
                action = self.policy(obs_as_tensor(self._last_obs, self.device))
            else:
                actor = self._actor_copy.up_to_date(self._n_updates, self.policy.n_structures)
                action = actor(obs_as_tensor(self._last_obs, CPU))
        scaled = action.cpu().numpy().reshape(-1, *self.action_space.shape)  # type: ignore[misc]
        if not isinstance(self.action_space, spaces.Box):
            return scaled, scaled
        check_actions(scaled)
        if action_noise is not None:
            scaled = np.clip(scaled + action_noise(), -1.0, 1.0)
        return self.policy.unscale_action(scaled), scaled

    def _predicts_by_own_code(self) -> bool:
        """Whether model or policy has its own ``predict()``, by a subclass or set on it, which then explores too."""
        has_own = "predict" in vars(self) or "predict" in vars(self.policy)
        policy_predict = getattr(type(self.policy), "predict", None)  # a compiled policy's class has none
        return has_own or type(self).predict is not BaseAlgorithm.predict or policy_predict is not SoftACPolicy.predict

    def _random_action(
        self, learning_starts: int, action_noise: ActionNoise | None, n_envs: int
    ) -> tuple[np.ndarray, np.ndarray]:
        masks = masks_in(self._last_obs)
        if masks is None:
            return super()._sample_action(learning_starts, action_noise, n_envs)
        actions = sample_allowed(self.action_space, masks)  # type: ignore[arg-type]  # a mask comes with such a space
        return actions, actions

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: Any,
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store a step; in the middle of an episode the buffer's copy of it is the only one.

        :param replay_buffer: where to
        :param buffer_action: (n_envs, ...) as stored
        :param new_obs: (n_envs, ...) next observations, or a dict of such
        :param reward: (n_envs,)
        :param dones: (n_envs,)
        :param infos: n_envs dicts
        """
        is_kept = type(replay_buffer).add is SingleCopyReplayBuffer.add  # another may write into what it is given
        if not is_kept or self._vec_normalize_env is not None or dones.any():
            super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
            return
        assert self._last_obs is not None
        replay_buffer.add(self._last_obs, new_obs, buffer_action, reward, dones, infos)  # type: ignore[arg-type]
        self._last_obs = self._last_original_obs = new_obs
