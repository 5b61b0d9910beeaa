"""Exploring actions: at random to begin with, then by the policy.

Shapes: n_envs environments, D action dimension, F discrete factors.
"""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import TrainFreq
from stable_baselines3.common.utils import obs_as_tensor

from sb3_softac.collecting.actor_copy import ActorCopy, pays_to_copy
from sb3_softac.policies import SoftACPolicy, check_actions
from sb3_softac.spaces import masks_in, sample_allowed

CPU = th.device("cpu")


class Explorer:
    """Samples the policy for the environments, without what ``predict()`` does for observations from elsewhere.

    :param policy: to act by
    :param train_freq: how often its weights change
    :param n_envs: number of environments
    """

    def __init__(self, policy: SoftACPolicy, train_freq: TrainFreq, n_envs: int) -> None:
        self._policy = policy
        copies = not policy.settings.use_sde and pays_to_copy(policy.actor, train_freq, n_envs)
        #: acts in place of the actor; None: the actor itself
        self.actor_copy = ActorCopy(policy.actor) if copies else None

    def action(
        self, observation: Any, n_updates: int, action_noise: ActionNoise | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """A sampled action for each environment.

        :param observation: (n_envs, ...), or a dict of such
        :param n_updates: gradient steps done in the whole run
        :param action_noise: added to Box actions
        :return: (n_envs, ...) action for the environments, and the one to store, which is in [-1, 1] for Box
        :raises ValueError: an action that is not a number, or a mask that allows none
        """
        policy, action_space = self._policy, self._policy.action_space
        masks_in(observation, action_space)
        policy.set_training_mode(False)  # as predict() does: a callback may have trained in the meantime
        with th.no_grad():
            if self.actor_copy is None:
                action = policy(obs_as_tensor(observation, policy.device))
            else:
                action = self.actor_copy.up_to_date(n_updates, policy.structure_version)(
                    obs_as_tensor(observation, CPU)
                )
        scaled = action.cpu().numpy().reshape(-1, *action_space.shape)  # type: ignore[misc]
        if not isinstance(action_space, spaces.Box):
            return scaled, scaled
        check_actions(scaled)
        if action_noise is not None:
            scaled = np.clip(scaled + action_noise(), -1.0, 1.0)
        return policy.unscale_action(scaled), scaled


def random_allowed_action(observation: Any, action_space: spaces.Space) -> np.ndarray | None:
    """A random action for each environment among those that its mask allows; None without masks.

    :param observation: (n_envs, ...), or a dict of such
    :param action_space: its generator is used
    :return: (n_envs,), or (n_envs, F) for MultiDiscrete
    """
    masks = masks_in(observation, action_space)
    if masks is None:
        return None
    return sample_allowed(action_space, masks)  # type: ignore[arg-type]  # masks are of discrete actions
