"""SAC v1: state value network with a target, fixed temperature, reward scale.   arXiv:1801.01290, algorithm 1"""

from collections.abc import Callable
from dataclasses import dataclass

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.networks.batch_renorm import BatchStatistics
from sb3_softac.networks.critics import ValueNetwork
from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.updates import losses, measures
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.gradient import GradientStep
from sb3_softac.updates.parts import ActorPart, CriticPart
from sb3_softac.updates.targets import NoTarget, TargetNetwork
from sb3_softac.updates.td import QReduction


@dataclass(frozen=True)
class ValuePart:
    """State value network, with its target network if it has one.

    :param value_net: V
    :param step: gradient step over the parameters of V
    :param statistics: enables batch statistics during the pass of V's own loss
    :param target_statistics: enables those of the target network, in a joint pass
    :param is_joint: whether a state and its successor are one batch; always so without a target network
    :param reduce_q: reduces the critics' values, (N, B, K) to (B, K), in the target of V. In v1 the critics' target
        comes through V, so that REDQ's random subset (arXiv:2101.05982) is drawn for V's target. None: as in the
        actor's loss
    :param target: target network; None: V is its own target
    :param follower: moves the target network towards V
    """

    value_net: ValueNetwork
    step: GradientStep
    statistics: BatchStatistics
    target_statistics: BatchStatistics
    is_joint: bool
    reduce_q: QReduction | None
    target: ValueNetwork | None
    follower: TargetNetwork | NoTarget

    def values(self, obs: PyTorchObs, next_obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        """State values at s, with gradient, and at s' for the TD target, without.

        :param obs: observations, first dimension B
        :param next_obs: next observations, first dimension B
        :return: V(s) and V(s'), both (B,)
        """
        if self.is_joint:
            with self.statistics:
                value, next_value = self.value_net.joint(obs, next_obs)
            if self.target is not None:
                with th.no_grad(), self.target_statistics:
                    _, next_value = self.target.joint(obs, next_obs)
            return value, next_value.detach()
        assert self.target is not None, "without a target the pass is joint"
        with th.no_grad():
            next_value = self.target(next_obs)
        with self.statistics:
            return self.value_net(obs), next_value

    def learn(
        self, value: th.Tensor, q: th.Tensor, q_NBK: th.Tensor, support: PolicySupport, alpha: th.Tensor
    ) -> dict[str, th.Tensor]:
        """Step of V towards the soft value of the policy's actions.

        :param value: (B,), V(s) from :meth:`values`
        :param q: (B, K), values of the policy's actions, reduced as in the actor's loss
        :param q_NBK: (N, B, K), values of the policy's actions by each critic
        :param support: support of the policy at s
        :param alpha: (1,), the temperature
        :return: metrics to log, each ()
        """
        q = q if self.reduce_q is None else self.reduce_q(q_NBK.detach())
        soft_value = losses.soft_value(q, support.log_pi, support.weight, alpha)
        loss = losses.value_loss(value, soft_value)
        self.step(loss)
        return {"value_loss": loss.detach()}


@dataclass(frozen=True)
class UpdateV1:
    """Gradient step of SAC v1, with its parts in the order of v2.

    :param actor: actor and temperature
    :param critics: critics, without a target network of their own
    :param values: state value network and its target
    :param is_measured: whether a gradient step is measured, by its number; see :class:`Update`
    """

    actor: ActorPart
    critics: CriticPart
    values: ValuePart
    is_measured: Callable[[int], bool]

    def phase(self, n_updates: int) -> tuple[bool, ...]:
        """Whether the target network moves, the actor steps, and the step is measured; see :class:`Update`."""
        return self.values.follower.is_due(n_updates), self.actor.is_due(n_updates), self.is_measured(n_updates)

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        """Update every network once.

        :param batch: B transitions
        :param n_updates: gradient steps done in the whole run, this one included
        :return: metrics to log, each () and on the device
        """
        actor, critics, values = self.actor, self.critics, self.values
        alpha = actor.temperature.alpha()
        metrics = {"ent_coef": alpha.squeeze()}
        is_due, is_measured = actor.is_due(n_updates), self.is_measured(n_updates)
        if is_measured:
            metrics |= measures.of_batch(batch)
        support = actor.support_at(batch.obs, is_due)  # V needs actions even if the actor is not due
        if is_due:
            metrics |= actor.learn_temperature(batch.obs, support, is_measured)

        # The TD target needs no action and no entropy at s': V(s') contains both.
        value, next_value = values.values(batch.obs, batch.next_obs)
        metrics |= critics.learn_from_value(batch, next_value, is_measured)
        # V and the policy learn from the same fresh actions and from the critics just updated.
        q_NBK = critics.q_of(batch.obs, support, is_due)
        q = critics.reduce_q(q_NBK)
        metrics |= values.learn(value, q, q_NBK, support, alpha)
        if is_due:
            metrics |= actor.improve(batch.obs, q, support, alpha, is_measured)
        values.follower.step(n_updates)
        return metrics
