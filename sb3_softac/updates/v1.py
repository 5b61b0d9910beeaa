"""SAC v1: a state value and its target, fixed temperature, reward scale.   arXiv:1801.01290, algorithm 1"""

import torch as th

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
    :param value_target: the target of V
    """

    def __init__(
        self, learner: Learner, value_net: ValueNetwork, value_step: GradientStep, value_target: ValueNetwork
    ) -> None:
        self._learner = learner
        self._value_net = value_net
        self._value_step = value_step
        self._value_target = value_target

    def phase(self, n_updates: int) -> bool:
        """Whether the targets move in this step.

        :param n_updates: gradient steps done in the whole run, this one included
        """
        return self._learner.targets.is_due(n_updates)

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        """Update every network once.

        :param batch: B transitions
        :param n_updates: gradient steps done in the whole run, this one included
        :return: what to log, each () and on the device
        """
        learner = self._learner
        alpha = learner.temperature.alpha()
        support = learner.support(batch.obs)
        policy_entropy = losses.entropy(support.log_pi, support.weight)
        temperature_metrics = learner.temperature.step(policy_entropy)

        # No action and no entropy at s': both are in the target V.
        with th.no_grad():
            next_value = self._value_target(batch.next_obs)
        target = losses.td_target(batch.reward, batch.done, batch.discount, next_value)
        q_NB = learner.critic.q_taken(batch.obs, batch.action)
        critic_loss = losses.critic_loss(q_NB, target)
        learner.critic_step(critic_loss)

        # The same fresh actions, and the trained critics, for V and for the policy.
        q = learner.q_of(batch.obs, support)
        soft_value = losses.soft_value(q, support.log_pi, support.weight, alpha)
        value_loss = losses.value_loss(self._value_net(batch.obs), soft_value)
        self._value_step(value_loss)

        actor_loss = learner.actor_gradient.loss(batch.obs, q, support, alpha)
        learner.actor_step(actor_loss)

        learner.targets.step(n_updates)
        return temperature_metrics | {
            "ent_coef": alpha.squeeze(),
            "actor_loss": actor_loss.detach(),
            "critic_loss": critic_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": policy_entropy.detach().mean(),
            "q_value": q_NB.detach().mean(),
        }
