"""Base class of the actors for Discrete and MultiDiscrete actions.

Shapes: B batch, F factors, A (joint) actions.
"""

import functools
from collections.abc import Iterable
from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.networks.actors import SoftActor
from sb3_softac.spaces import ACTION_MASK, discrete_sizes, is_enumerable, joint_actions


class DiscreteActor(SoftActor):
    """Base class of actors for Discrete and MultiDiscrete actions, of which a mask may allow some alone.

    :param args: the arguments of :class:`SoftActor`
    :param kwargs: the arguments of :class:`SoftActor`
    """

    differentiable_actions = False
    joint_actions: th.Tensor  #: (A, F), ids of the factors, if all joint actions can be listed

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.nvec = discrete_sizes(self.action_space)
        self.has_exact_support = is_enumerable(self.action_space)
        if self.has_exact_support:
            self.register_buffer("joint_actions", joint_actions(self.nvec), persistent=False)

    @staticmethod
    def mask(obs: PyTorchObs) -> th.Tensor | None:
        """Action masks (B, sum of the factors' sizes), nonzero where an action is allowed; None: all actions are.

        :param obs: observations, first dimension B
        """
        return obs.get(ACTION_MASK) if isinstance(obs, dict) else None

    def max_entropy(self, obs: PyTorchObs) -> th.Tensor | None:
        """Entropy of the uniform policy over the allowed actions: the sum over factors of log(number allowed).

        :param obs: observations, first dimension B
        :return: (B,), in nats; None without masks. A state that allows no action, as a terminal one may, has 0
        """
        mask = self.mask(obs)
        if mask is None:
            return None
        dtype = next(self.parameters()).dtype
        factors = (mask != 0).split(self.nvec, dim=-1)
        return sum_over_factors(allowed.sum(dim=-1).clamp(min=1).to(dtype).log() for allowed in factors)


def sum_over_factors(log_probs: Iterable[th.Tensor]) -> th.Tensor:
    """Log-probability of independent factors together: the sum of theirs.

    :param log_probs: F tensors of one shape
    :return: that shape
    """
    return functools.reduce(th.add, log_probs)
