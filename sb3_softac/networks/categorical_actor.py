"""Actor for Discrete and MultiDiscrete actions.

Shapes: B batch, K support size, F factors, A actions.
"""

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_softac.networks.discrete_actor import DiscreteActor, sum_over_factors
from sb3_softac.networks.distributions import PolicySupport, equally_weighted, masked_log_softmax


class CategoricalActor(DiscreteActor):
    """Actor with a categorical distribution: one for Discrete actions, one for each factor of MultiDiscrete actions.

    Its support is every action with its probability. For MultiDiscrete these are the joint actions, if there are at
    most ``JOINT_ACTIONS_LIMIT``. Otherwise the support is ``n_samples`` sampled actions, which need the gradient of the
    score function. If the observation is a Dict with the key ``"action_mask"``, actions with a mask of 0 have
    probability zero.   arXiv:1910.07207

    :param args: the arguments of :class:`DiscreteActor`
    :param kwargs: the arguments of :class:`DiscreteActor`
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logits = nn.Linear(self.latent_dim, sum(self.nvec))

    def factor_log_probs(self, obs: PyTorchObs) -> tuple[th.Tensor, ...]:
        """Log-probabilities of each factor.

        :param obs: observations, first dimension B
        :return: for each of the F factors (B, n_f)
        """
        mask = self.mask(obs)
        logits = self.heads(obs, self.logits)[0]
        if len(self.nvec) == 1:
            return (masked_log_softmax(logits, mask),)
        masks = [None] * len(self.nvec) if mask is None else mask.split(self.nvec, dim=-1)
        return tuple(map(masked_log_softmax, logits.split(self.nvec, dim=-1), masks))

    def log_probs(self, obs: PyTorchObs) -> th.Tensor:
        """Log-probability of every (joint) action.

        :param obs: observations, first dimension B
        :return: (B, A), in the order of ``joint_actions``
        """
        log_probs = self.factor_log_probs(obs)
        if len(log_probs) == 1:
            return log_probs[0]
        return sum_over_factors(log_prob[:, self.joint_actions[:, f]] for f, log_prob in enumerate(log_probs))

    def support(self, obs: PyTorchObs, n_samples: int = 1) -> PolicySupport:
        """Policy support: every action with its probability, or samples if there are too many joint actions.

        With every action, expectations are exact.

        :param obs: observations, first dimension B
        :param n_samples: K, if the actions are samples
        :return: actions None, which stands for all, log_pi and weight (B, A); samples as in :meth:`score_support`
        """
        if not self.has_exact_support:
            return self.score_support(obs, n_samples)
        log_pi = self.log_probs(obs)
        return PolicySupport(None, log_pi, log_pi.exp())

    def score_support(self, obs: PyTorchObs, n_samples: int = 1) -> PolicySupport:
        """Policy support of K sampled actions.

        :param obs: observations, first dimension B
        :param n_samples: K
        :return: ids of the actions (B, K, F), log_pi and weight (B, K)
        """
        return equally_weighted(*self._sample(obs, n_samples))

    def _sample(self, obs: PyTorchObs, n_samples: int) -> tuple[th.Tensor, th.Tensor]:
        """Ids of sampled actions (B, K, F) and their log-probabilities (B, K)."""
        log_probs = self.factor_log_probs(obs)
        ids = [_draw(log_prob, n_samples) for log_prob in log_probs]
        log_pi = sum_over_factors(log_prob.gather(1, i) for log_prob, i in zip(log_probs, ids, strict=True))
        return th.stack(ids, dim=-1), log_pi

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Action to take.

        :param obs: observations, first dimension B
        :param deterministic: True: the most probable action; False: a sample
        :return: ids (B, F); F is 1 for Discrete
        """
        return th.cat([_choose(log_prob, deterministic) for log_prob in self.factor_log_probs(obs)], dim=-1)

    def acting_heads(self, deterministic: bool) -> tuple[nn.Module, ...]:
        """Layers on top of the last hidden one whose outputs :meth:`action_of` takes; none for several factors.

        :param deterministic: True: for the mode; False: for a sample
        """
        return (self.logits,) if len(self.nvec) == 1 else ()

    def action_of(self, deterministic: bool, logits: th.Tensor) -> th.Tensor:
        """Action to take, as :meth:`forward` gives it for one factor without a mask.

        :param deterministic: True: the most probable action; False: a sample
        :param logits: (B, A), output of ``logits``
        :return: ids (B, 1)
        """
        return _choose(masked_log_softmax(logits, None), deterministic)


def _choose(log_prob: th.Tensor, deterministic: bool) -> th.Tensor:
    """Ids (B, 1) of the most probable actions, or of a sample in each state, from (B, A)."""
    return log_prob.argmax(dim=-1, keepdim=True) if deterministic else _draw(log_prob, 1)


def _draw(log_prob: th.Tensor, n_samples: int) -> th.Tensor:
    """Ids (B, K) of K samples in each state, from (B, A)."""
    return th.multinomial(log_prob.detach().exp(), n_samples, replacement=True)
