"""Temporal differences: TD targets and losses of the critics.

Shapes: N critics, B batch, K support size, M outputs of a critic for each action.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch as th

from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.networks.heads import CategoricalHead, Head, HLGaussHead, QuantileHead, ScalarHead
from sb3_softac.updates import distributional, losses
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
        :return: (B,); for critics that learn a distribution (B, M) probabilities, or (2, B, J) values and weights
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


@dataclass(frozen=True)
class HLGaussTD(ScalarTD):
    """Soft Bellman target of the mean, and a Gaussian around it as target distribution.   arXiv:2403.03950

    The parameters are those of :class:`ScalarTD`.
    """

    head: HLGaussHead

    @th.no_grad()
    def target_of_value(self, batch: Batch, next_value: th.Tensor) -> th.Tensor:
        value = super().target_of_value(batch, next_value)
        return distributional.gaussian_histogram(value, self.head.atoms, self.head.deviation)

    def errors(self, outputs: th.Tensor, target: th.Tensor) -> th.Tensor:
        return self.head.values(outputs) - (target * self.head.atoms).sum(dim=-1)

    def loss(self, outputs: th.Tensor, target: th.Tensor, target_outputs: th.Tensor | None) -> th.Tensor:
        return distributional.cross_entropy(outputs, target)


@dataclass(frozen=True)
class CategoricalTD(HLGaussTD):
    """Distributional soft Bellman target, projected on the atoms, and cross-entropy.   arXiv:1707.06887

    Each action of the support has the distribution of the critic that ``reduce_q`` chooses by its mean: with the
    minimum that of the lowest mean, arXiv:2502.15280; with the mean, the mixture of all.

    The parameters are those of :class:`ScalarTD`.
    """

    head: CategoricalHead  # type: ignore[assignment]  # it has no Gaussian

    @th.no_grad()
    def target(self, batch: Batch, next_outputs: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        """Target distribution, (B, M), with the entropy of s'; see :class:`TD`."""
        probs_NBKM = next_outputs.softmax(dim=-1)
        critic_weight = weight_of_each(self.reduce_q, self.head.values(next_outputs))
        probs = (critic_weight.unsqueeze(-1) * probs_NBKM).sum(dim=0) * support.weight.unsqueeze(-1)
        critic_alpha = alpha if self.ent_coef is None else self.ent_coef
        atoms = distributional.soft_atoms(self.head.atoms.expand_as(probs), support.log_pi, critic_alpha)
        values = distributional.td_atoms(batch.reward, batch.done, batch.discount, atoms.flatten(1))
        return distributional.projection(values, probs.flatten(1), self.head.atoms)

    @th.no_grad()
    def target_of_value(self, batch: Batch, next_value: th.Tensor) -> th.Tensor:
        value = losses.td_target(batch.reward, batch.done, batch.discount, next_value).unsqueeze(-1)
        return distributional.projection(value, th.ones_like(value), self.head.atoms)


def weight_of_each(reduce_q: QReduction, q_NBK: th.Tensor) -> th.Tensor:
    """Weights of the critics in a reduction of their values: 1 for the smallest, or 1 / N for each.

    A minimum, a mean, or either over a random subset, is a weighted sum of the values; its gradient is the weights.

    :param reduce_q: (N, B, K) -> (B, K)
    :param q_NBK: (N, B, K)
    :return: (N, B, K), sums to one over N
    """
    with th.enable_grad():
        values = q_NBK.detach().requires_grad_()
        (weight,) = th.autograd.grad(reduce_q(values).sum(), values)
    return weight


@dataclass(frozen=True)
class QuantileTD:
    """Quantiles of all critics without the largest, with the entropy of s', and quantile regression.   arXiv:2005.04269

    A target is (2, B, J): J values of the return, and their weights.

    :param head: head of the critics
    :param reduce_q: has no effect: leaving out the largest quantiles takes its place
    :param ent_coef: temperature in the target; None: the actor's temperature.   arXiv:2509.09838
    :param clip: None
    """

    head: QuantileHead
    reduce_q: QReduction
    ent_coef: float | None = None
    clip: float | None = None
    needs_target_outputs = False

    @th.no_grad()
    def target(self, batch: Batch, next_outputs: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        """Target of J = K N (M - n_dropped) values, (2, B, J); see :class:`TD`."""
        quantiles = distributional.lowest_quantiles(next_outputs, self.head.n_dropped)
        critic_alpha = alpha if self.ent_coef is None else self.ent_coef
        atoms = distributional.soft_atoms(quantiles, support.log_pi, critic_alpha)
        values = distributional.td_atoms(batch.reward, batch.done, batch.discount, atoms.flatten(1))
        weight = (support.weight / quantiles.shape[-1]).unsqueeze(-1).expand_as(quantiles).flatten(1)
        return th.stack([values, weight])

    @th.no_grad()
    def target_of_value(self, batch: Batch, next_value: th.Tensor) -> th.Tensor:
        value = losses.td_target(batch.reward, batch.done, batch.discount, next_value).unsqueeze(-1)
        return th.stack([value, th.ones_like(value)])

    def errors(self, outputs: th.Tensor, target: th.Tensor) -> th.Tensor:
        values, weight = target
        return self.head.values(outputs) - (weight * values).sum(dim=-1)

    def loss(self, outputs: th.Tensor, target: th.Tensor, target_outputs: th.Tensor | None) -> th.Tensor:
        return distributional.quantile_huber_loss(outputs, *target)


#: by the kind of the critics' head: a row for each row of :data:`~sb3_softac.networks.heads.HEADS`
TDS: dict[type[Head], Callable[[Any, QReduction, float | None, float | None], TD]] = {
    ScalarHead: ScalarTD,
    CategoricalHead: CategoricalTD,
    HLGaussHead: HLGaussTD,
    QuantileHead: QuantileTD,
}
