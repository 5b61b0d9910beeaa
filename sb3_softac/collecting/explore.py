"""Exploring actions: samples of the policy, and random actions that a mask allows.

Shapes: n_envs environments, D action dimension, F discrete factors.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import TrainFreq
from stable_baselines3.common.utils import obs_as_tensor

from sb3_softac.collecting.actor_copy import ActorCopy, is_copy_faster
from sb3_softac.collecting.noise_repeat import NoiseRepeat
from sb3_softac.policies import SoftACPolicy, check_actions
from sb3_softac.spaces import masks_in, sample_allowed

CPU = th.device("cpu")


class Explorer:
    """Samples actions of the policy for the environments, without the conversions and shape checks of ``predict()``.

    :param policy: the policy
    :param train_freq: training frequency, after which the weights of the policy change
    :param n_envs: number of environments
    :param noise_repeat: largest number of steps for which the noise of an action is held
    """

    def __init__(self, policy: SoftACPolicy, train_freq: TrainFreq, n_envs: int, noise_repeat: int = 1) -> None:
        self._policy = policy
        copies = not policy.settings.use_sde and is_copy_faster(policy.actor, train_freq, n_envs)
        #: acts in place of the actor; None: the actor itself acts
        self.actor_copy = ActorCopy(policy.actor, policy.obs_normalizer) if copies else None
        #: holds the noise of an action; None: each step has its own
        self.repeat = NoiseRepeat(noise_repeat, CPU if copies else policy.device) if noise_repeat > 1 else None
        self._sample = self._sampled if self.repeat is None else self._repeated

    def action(
        self, observation: Any, n_updates: int, action_noise: ActionNoise | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sample an action for each environment.

        :param observation: (n_envs, ...), or a dict of such
        :param n_updates: gradient steps done in the whole run
        :param action_noise: noise added to Box actions; None for none
        :return: actions for the environments, and actions to store, in [-1, 1] for Box; both (n_envs, ...)
        :raises ValueError: an action that is not a number, or a mask that allows none
        """
        policy, action_space = self._policy, self._policy.action_space
        masks_in(observation, action_space)
        policy.set_training_mode(False)  # as predict() does, since a callback may have called train()
        with th.no_grad():
            action = self._sample(observation, n_updates)
        scaled = action.cpu().numpy().reshape(-1, *action_space.shape)  # type: ignore[misc]
        if not isinstance(action_space, spaces.Box):
            return scaled, scaled
        check_actions(scaled)
        if action_noise is not None:
            scaled = np.clip(scaled + action_noise(), -1.0, 1.0)
        return policy.unscale_action(scaled), scaled

    def _sampled(self, observation: Any, n_updates: int) -> th.Tensor:
        """Sample of the actor, or of its copy."""
        if self.actor_copy is None:
            action = self._policy.act_directly(observation, deterministic=False)
            return self._policy(obs_as_tensor(observation, self._policy.device)) if action is None else action
        copy = self.actor_copy.up_to_date(n_updates, self._policy.structure_version)
        return copy(obs_as_tensor(observation, CPU))

    def _repeated(self, observation: Any, n_updates: int) -> th.Tensor:
        """Sample with the noise of the last step, as long as that is held."""
        assert self.repeat is not None
        with self.repeat.draws():
            return self._sampled(observation, n_updates)


def ready_to_explore(policy: SoftACPolicy, train: Callable[[], None]) -> None:
    """Train in the middle of a rollout, which then goes on with the modes and the gSDE weights that it began with.

    :param policy: that explores
    :param train: the training
    """
    if policy.settings.use_sde:
        noise: Any = policy.actor.sde_noise  # which other actors do not have
        draws = noise.draws()
        train()
        noise.set_draws(*draws)
    else:
        train()
    policy.set_training_mode(False)


def random_allowed_action(observation: Any, action_space: spaces.Space) -> np.ndarray | None:
    """Draw a random allowed action for each environment.

    :param observation: (n_envs, ...), or a dict of such
    :param action_space: action space of one environment, provides the random generator
    :return: (n_envs,), or (n_envs, F) for MultiDiscrete; None without masks
    :raises ValueError: a mask that allows no action
    """
    masks = masks_in(observation, action_space)
    if masks is None:
        return None
    return sample_allowed(action_space, masks)  # type: ignore[arg-type]  # masks are of discrete actions
