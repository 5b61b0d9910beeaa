"""SAC v2: twin target critics, learned temperature.   arXiv:1812.05905v2, algorithm 1"""

import torch as th

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.critics import ContinuousCritic
from sb3_softac.updates import losses
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.gradient import GradientStep
from sb3_softac.updates.targets import TargetNetwork
from sb3_softac.updates.temperature import Temperature


class UpdateV2:
    """One gradient step of SAC v2, in the order of Stable-Baselines3's SAC.

    :param actor: the policy
    :param critic: the trained ensemble
    :param critic_target: its target
    :param actor_step: optimizer step over the actor's parameters
    :param critic_step: optimizer step over the critic's parameters
    :param temperature: fixed or learned
    :param targets: moves ``critic_target`` after ``critic``
    """

    def __init__(
        self,
        actor: SoftActor,
        critic: ContinuousCritic,
        critic_target: ContinuousCritic,
        actor_step: GradientStep,
        critic_step: GradientStep,
        temperature: Temperature,
        targets: TargetNetwork,
    ) -> None:
        self._actor = actor
        self._critic = critic
        self._critic_target = critic_target
        self._actor_step = actor_step
        self._critic_step = critic_step
        self._temperature = temperature
        self._targets = targets

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        """Update every network once.

        :param batch: B transitions
        :param n_updates: gradient steps done in the whole run, this one included
        :return: what to log, each () and on the device
        """
        # The value before this step's update, for every loss below.
        alpha = self._temperature.alpha()
        self._actor.resample_noise()
        support = self._actor.support(batch.obs)
        policy_entropy = losses.entropy(support.log_pi, support.weight)
        temperature_metrics = self._temperature.step(policy_entropy)

        target = self._td_target(batch, alpha)
        q_NB = self._critic.q_taken(batch.obs, batch.action)
        critic_loss = losses.critic_loss(q_NB, target)
        self._critic_step(critic_loss)

        # By the critics as they are now, which the actor's step leaves frozen.
        q_NBK = self._critic.q_values(batch.obs, support.actions)
        value = losses.soft_value(q_NBK, support.log_pi, support.weight, alpha)
        actor_loss = losses.reparameterized_actor_loss(value)
        self._actor_step(actor_loss)

        self._targets.step(n_updates)
        return temperature_metrics | {
            "ent_coef": alpha.squeeze(),
            "actor_loss": actor_loss.detach(),
            "critic_loss": critic_loss.detach(),
            "entropy": policy_entropy.detach().mean(),
            "q_value": q_NB.detach().mean(),
        }

    @th.no_grad()
    def _td_target(self, batch: Batch, alpha: th.Tensor) -> th.Tensor:
        """``y = r + gamma (1 - d) V(s')`` with the soft value of s' under the target critics, (B,)."""
        support = self._actor.support(batch.next_obs)
        q_NBK = self._critic_target.q_values(batch.next_obs, support.actions)
        next_value = losses.soft_value(q_NBK, support.log_pi, support.weight, alpha)
        return losses.td_target(batch.reward, batch.done, batch.discount, next_value)
