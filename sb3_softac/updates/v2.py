"""SAC v2: twin target critics, learned temperature.   arXiv:1812.05905v2, algorithm 1; arXiv:1910.07207 for Discrete"""

import torch as th

from sb3_softac.networks.critics import Critic
from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.updates import losses
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.learner import Learner


class UpdateV2:
    """One gradient step of SAC v2, in the order of Stable-Baselines3's SAC.

    :param learner: networks and steps
    :param critic_target: the target of the critics; None: they are their own, as in CrossQ.   arXiv:1902.05605
    :param critic_ent_coef: alpha in the TD target where it is not the actor's.   arXiv:2509.09838
    :param q_target_clip: how far a critic may leave its target network before the loss counts it.   arXiv:2209.10081
    """

    def __init__(
        self,
        learner: Learner,
        critic_target: Critic | None,
        critic_ent_coef: float | None = None,
        q_target_clip: float | None = None,
    ) -> None:
        self._learner = learner
        self._critic_target = critic_target
        self._critic_ent_coef = critic_ent_coef
        self._q_target_clip = q_target_clip

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
        # The value before this step's update, for every loss below.
        alpha = learner.temperature.alpha()
        metrics = {"ent_coef": alpha.squeeze()}
        actor_is_due = learner.actor_is_due(n_updates)
        if actor_is_due:
            support, next_support = learner.supports(batch.obs, batch.next_obs)
            policy_entropy = losses.entropy(support.log_pi, support.weight)
            metrics |= learner.temperature.step(policy_entropy)
        else:
            next_support = learner.next_support(batch.next_obs)

        q_NB, next_q_NBK = self._q_of_both(batch, next_support)
        target = self._td_target(batch, next_q_NBK, next_support, alpha)
        critic_loss = self._critic_loss(q_NB, target, batch)
        learner.critic_step(critic_loss)

        if actor_is_due:
            # By the critics as they are now, which the actor's step leaves frozen.
            q = learner.reduce_q(learner.q_of(batch.obs, support))
            metrics["actor_loss"] = learner.improve_actor(batch.obs, q, support, alpha)
            metrics["entropy"] = policy_entropy.detach().mean()

        learner.targets.step(n_updates)
        return metrics | {"critic_loss": critic_loss.detach(), "q_value": q_NB.detach().mean()}

    def _q_of_both(self, batch: Batch, next_support: PolicySupport) -> tuple[th.Tensor, th.Tensor]:
        """Values of the actions that were taken (N, B), and those of s' by the target critics (N, B, K)."""
        critic = self._learner.critic
        if self._critic_target is None:
            with self._learner.critic_statistics:
                return critic.q_joint(batch.obs, batch.action, batch.next_obs, next_support.actions)
        with th.no_grad():
            next_q_NBK = self._critic_target.q_values(batch.next_obs, next_support.actions)
        with self._learner.critic_statistics:
            return critic.q_taken(batch.obs, batch.action), next_q_NBK

    @th.no_grad()
    def _td_target(self, batch: Batch, q_NBK: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        """``y = r + gamma (1 - d) V(s')`` with the soft value of s', without gradient, (B,)."""
        q = self._learner.reduce_target_q(q_NBK)
        critic_alpha = alpha if self._critic_ent_coef is None else self._critic_ent_coef
        next_value = losses.soft_value(q, support.log_pi, support.weight, critic_alpha)
        return losses.td_target(batch.reward, batch.done, batch.discount, next_value)

    def _critic_loss(self, q_NB: th.Tensor, target: th.Tensor, batch: Batch) -> th.Tensor:
        if self._q_target_clip is None or self._critic_target is None:
            return losses.critic_loss(q_NB, target)
        with th.no_grad():
            q_target_NB = self._critic_target.q_taken(batch.obs, batch.action)
        return losses.clipped_critic_loss(q_NB, q_target_NB, target, self._q_target_clip)
