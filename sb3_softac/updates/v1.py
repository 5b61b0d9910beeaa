"""SAC v1: a state value and its target, fixed temperature, reward scale.   arXiv:1801.01290, algorithm 1"""

import torch as th

from sb3_softac.networks.batch_renorm import BatchStatistics
from sb3_softac.networks.critics import ValueNetwork
from sb3_softac.updates import losses
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.gradient import GradientStep
from sb3_softac.updates.learner import Learner


class UpdateV1:
    """One gradient step of SAC v1, its steps in the order of v2.

    :param learner: networks and steps; its targets move ``value_target`` after ``value_net``
    :param value_net: V
    :param value_step: optimizer step over its parameters
    :param value_target: the target of V; None: V is its own
    """

    def __init__(
        self, learner: Learner, value_net: ValueNetwork, value_step: GradientStep, value_target: ValueNetwork | None
    ) -> None:
        self._learner = learner
        self._value_net = value_net
        self._value_step = value_step
        self._value_target = value_target
        self._value_statistics = BatchStatistics(value_net)

    def phase(self, n_updates: int) -> tuple[bool, bool]:
        """See :meth:`Learner.phase`."""
        return self._learner.phase(n_updates)

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        """Update every network once.

        :param batch: B transitions
        :param n_updates: gradient steps done in the whole run, this one included
        :return: what to log, each () and on the device
        """
        learner = self._learner
        alpha = learner.temperature.alpha()
        metrics = {"ent_coef": alpha.squeeze()}
        actor_is_due = learner.actor_is_due(n_updates)
        with th.set_grad_enabled(actor_is_due):  # V needs actions in any case
            support = learner.support(batch.obs)
        if actor_is_due:
            policy_entropy = losses.entropy(support.log_pi, support.weight)
            metrics |= learner.temperature.step(policy_entropy)

        # No action and no entropy at s': both are in the target V.
        value, next_value = self._values(batch)
        target = losses.td_target(batch.reward, batch.done, batch.discount, next_value)
        with learner.critic_statistics:
            q_NB = learner.critic.q_taken(batch.obs, batch.action)
        critic_loss = losses.critic_loss(q_NB, target)
        learner.critic_step(critic_loss)

        # The same fresh actions, and the trained critics, for V and for the policy.
        with th.set_grad_enabled(actor_is_due):
            q_NBK = learner.q_of(batch.obs, support)
            q = learner.reduce_q(q_NBK)
        # The critics reach their own targets through V: what REDQ draws anew (arXiv:2101.05982) is drawn here.
        value_q = q if learner.reduce_target_q is learner.reduce_q else learner.reduce_target_q(q_NBK.detach())
        soft_value = losses.soft_value(value_q, support.log_pi, support.weight, alpha)
        value_loss = losses.value_loss(value, soft_value)
        self._value_step(value_loss)

        if actor_is_due:
            metrics["actor_loss"] = learner.improve_actor(batch.obs, q, support, alpha)
            metrics["entropy"] = policy_entropy.detach().mean()

        learner.targets.step(n_updates)
        return metrics | {
            "critic_loss": critic_loss.detach(),
            "value_loss": value_loss.detach(),
            "q_value": q_NB.detach().mean(),
        }

    def _values(self, batch: Batch) -> tuple[th.Tensor, th.Tensor]:
        """V of s, and that of s' for the TD target, without gradient; both (B,)."""
        if self._value_target is None:
            with self._value_statistics:
                value, next_value = self._value_net.joint(batch.obs, batch.next_obs)
            return value, next_value.detach()
        with th.no_grad():
            next_value = self._value_target(batch.next_obs)
        with self._value_statistics:
            return self._value_net(batch.obs), next_value
