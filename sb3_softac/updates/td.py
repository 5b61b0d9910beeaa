"""Temporal differences: what critics of each kind learn from, and how far they are from it.

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

#: (N, B, K) -> (B, K)
QReduction = Callable[[th.Tensor], th.Tensor]


class TD(Protocol):
    """Target and loss of the critics, from their outputs."""

    def target(self, batch: Batch, next_outputs: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        """The TD target, without gradient.

        :param batch: B transitions
        :param next_outputs: (N, B, K, M), at s', for the actions of the support
        :param support: of the policy at s'
        :param alpha: (1,)
        :return: (B,), or (B, M) where critics learn a distribution
        """

    def target_of_value(self, batch: Batch, next_value: th.Tensor) -> th.Tensor:
        """The TD target of a state value, without gradient.

        :param batch: B transitions
        :param next_value: (B,), V(s')
        :return: as :meth:`target`
        """

    def loss(self, outputs: th.Tensor, target: th.Tensor, target_outputs: th.Tensor | None) -> th.Tensor:
        """How far the critics are from the target.

        :param outputs: (N, B, M), for the actions taken; gradients reach the critics
        :param target: of :meth:`target`
        :param target_outputs: (N, B, M), the same by the target critics, if :attr:`needs_target_outputs`
        :return: ()
        """

    @property
    def needs_target_outputs(self) -> bool:
        """Whether the loss reads the target critics' outputs for the actions taken."""


@dataclass(frozen=True)
class ScalarTD:
    """Critics of one value: the soft Bellman target, and the squared distance from it.   arXiv:1812.05905v2, Eq. (5)

    :param head: of the critics
    :param reduce_q: the critics' values to one
    :param ent_coef: alpha in the target where it is not the actor's; None: the actor's.   arXiv:2509.09838
    :param clip: how far a critic may leave its target network before the loss counts it.   arXiv:2209.10081
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
        """``y = r + gamma (1 - d) V(s')`` with the soft value of s', (B,); see :class:`TD`."""
        q = self.reduce_q(self.head.values(next_outputs))
        critic_alpha = alpha if self.ent_coef is None else self.ent_coef
        return self.target_of_value(batch, losses.soft_value(q, support.log_pi, support.weight, critic_alpha))

    @th.no_grad()
    def target_of_value(self, batch: Batch, next_value: th.Tensor) -> th.Tensor:
        return losses.td_target(batch.reward, batch.done, batch.discount, next_value)

    def loss(self, outputs: th.Tensor, target: th.Tensor, target_outputs: th.Tensor | None) -> th.Tensor:
        q_NB = self.head.values(outputs)
        if self.clip is None or target_outputs is None:
            return losses.critic_loss(q_NB, target)
        return losses.clipped_critic_loss(q_NB, self.head.values(target_outputs), target, self.clip)


#: by the kind of the critics' head: a row for each row of :data:`~sb3_softac.networks.heads.HEADS`
TDS: dict[type[Head], Callable[[Any, QReduction, float | None, float | None], TD]] = {ScalarHead: ScalarTD}
