"""Temporal differences: TD targets and losses of the critics.

Shapes: N critics, B batch, K support size, M outputs of a critic for each action.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch as th

from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.networks.heads import Head, ScalarHead
from sb3_softac.updates import losses
from sb3_softac.updates.batch import Batch

#: reduces the values of the critics: (N, B, K) -> (B, K)
QReduction = Callable[[th.Tensor], th.Tensor]


class TD(Protocol):
    """TD target and loss of the critics, computed from their outputs."""

    def target(self, batch: Batch, next_outputs: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        """TD target, without gradient.

        :param batch: B transitions
        :param next_outputs: (N, B, K, M), outputs at s' for the actions of the support
        :param support: support of the policy at s'
        :param alpha: (1,), the temperature
        :return: (B,), or (B, M) for critics that learn a distribution
        """

    def target_of_value(self, batch: Batch, next_value: th.Tensor) -> th.Tensor:
        """TD target from a state value, without gradient.

        :param batch: B transitions
        :param next_value: (B,), V(s')
        :return: a target as :meth:`target` returns it
        """

    def errors(self, outputs: th.Tensor, target: th.Tensor) -> th.Tensor:
        """TD errors: how far the value of each critic is from its target.

        :param outputs: (N, B, M), outputs for the actions taken
        :param target: result of :meth:`target`
        :return: (N, B)
        """

    def loss(self, outputs: th.Tensor, target: th.Tensor, target_outputs: th.Tensor | None) -> th.Tensor:
        """Loss of the critics: their distance from the target.

        :param outputs: (N, B, M), outputs for the actions taken; gradients reach the critics
        :param target: result of :meth:`target`
        :param target_outputs: (N, B, M), outputs of the target critics, if :attr:`needs_target_outputs`; else None
        :return: ()
        """

    @property
    def needs_target_outputs(self) -> bool:
        """Whether the loss reads the target critics' outputs for the actions taken."""


@dataclass(frozen=True)
class ScalarTD:
    """Soft Bellman target and squared distance, for critics with one value.   arXiv:1812.05905v2, Eq. (5)

    :param head: head of the critics
    :param reduce_q: reduces the critics' values, (N, B, K) to (B, K), in the target
    :param ent_coef: temperature in the target; None: the actor's temperature.   arXiv:2509.09838
    :param clip: distance from its target network beyond which a critic gains nothing; None for no bound.
        arXiv:2209.10081
    """

    head: Head
    reduce_q: QReduction
    ent_coef: float | None = None
    clip: float | None = None

    @property
    def needs_target_outputs(self) -> bool:
        return self.clip is not None

    @th.no_grad()
    def target(self, batch: Batch, next_outputs: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        """Soft Bellman target ``y = r + gamma (1 - d) V(s')``, (B,), with the soft value of s'; see :class:`TD`."""
        q = self.reduce_q(self.head.values(next_outputs))
        critic_alpha = alpha if self.ent_coef is None else self.ent_coef
        return self.target_of_value(batch, losses.soft_value(q, support.log_pi, support.weight, critic_alpha))

    @th.no_grad()
    def target_of_value(self, batch: Batch, next_value: th.Tensor) -> th.Tensor:
        return losses.td_target(batch.reward, batch.done, batch.discount, next_value)

    def errors(self, outputs: th.Tensor, target: th.Tensor) -> th.Tensor:
        return self.head.values(outputs) - target

    def loss(self, outputs: th.Tensor, target: th.Tensor, target_outputs: th.Tensor | None) -> th.Tensor:
        q_NB = self.head.values(outputs)
        if self.clip is None or target_outputs is None:
            return losses.critic_loss(q_NB, target)
        return losses.clipped_critic_loss(q_NB, self.head.values(target_outputs), target, self.clip)


#: by the kind of the critics' head: a row for each row of :data:`~sb3_softac.networks.heads.HEADS`
TDS: dict[type[Head], Callable[[Any, QReduction, float | None, float | None], TD]] = {ScalarHead: ScalarTD}
