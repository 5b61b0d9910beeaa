"""Exploring actions that are drawn on the device of the policy.

Shapes: n_envs environments, D action dimension, F discrete factors.
"""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.collecting.noise_repeat import NoiseRepeat
from sb3_softac.policies import SoftACPolicy
from sb3_softac.spaces import ACTION_MASK, discrete_sizes


class Actions(NamedTuple):
    """Actions of all environments, for the simulator and for the replay buffer."""

    for_env: th.Tensor  #: (n_envs, ...), in the bounds of a Box; ids (n_envs,), or (n_envs, F) for MultiDiscrete
    stored: th.Tensor  #: (n_envs, D) in [-1, 1] for Box; ids (n_envs, F)


class TensorExplorer:
    """Samples actions of a policy, or random ones, without a transfer to the host.

    :param policy: the policy
    """

    def __init__(self, policy: SoftACPolicy) -> None:
        self._policy = policy
        space = policy.action_space
        if isinstance(space, spaces.Box):
            low, high = (th.as_tensor(bound, device=policy.device) for bound in (space.low, space.high))
            self._middle, self._half_width = (low + high) / 2.0, (high - low) / 2.0

    @th.no_grad()
    def action(self, obs: PyTorchObs, repeat: NoiseRepeat | None = None) -> Actions:
        """Sample an action of the policy for each environment.

        :param obs: (n_envs, ...), or a dict of such, on the policy's device
        :param repeat: holds the noise for several steps; None: each step has its own
        """
        policy = self._policy
        policy.set_training_mode(False)  # a callback may have called train()
        with nullcontext() if repeat is None else repeat.draws():
            return self._in_bounds(policy(obs))

    def random(self, obs: PyTorchObs, n_envs: int) -> Actions:
        """Draw a uniformly random action for each environment; of discrete ones, among those that a mask allows.

        :param obs: (n_envs, ...), or a dict of such, which may have masks
        :param n_envs: number of environments
        """
        space, device = self._policy.action_space, self._policy.device
        if isinstance(space, spaces.Box):
            n_numbers = int(np.prod(space.shape))
            return self._in_bounds(th.rand(n_envs, n_numbers, device=device) * 2.0 - 1.0)
        masks = obs.get(ACTION_MASK) if isinstance(obs, dict) else None
        sizes = discrete_sizes(space)
        allowed = th.ones(n_envs, sum(sizes), device=device) if masks is None else (masks != 0).float()
        factors = [th.multinomial(part, 1) for part in allowed.view(n_envs, -1).split(sizes, dim=1)]
        return self._in_bounds(th.cat(factors, dim=1))

    def _in_bounds(self, stored: th.Tensor) -> Actions:
        space = self._policy.action_space
        if isinstance(space, spaces.Box):
            return Actions(stored.view(-1, *space.shape) * self._half_width + self._middle, stored)
        return Actions(stored[:, 0] if isinstance(space, spaces.Discrete) else stored, stored)
