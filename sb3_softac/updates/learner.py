"""The networks and steps that every variant has."""

from dataclasses import dataclass

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.batch_renorm import BatchStatistics
from sb3_softac.networks.critics import Critic
from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.updates.actor_gradient import ActorGradient, QReduction
from sb3_softac.updates.gradient import GradientStep, frozen
from sb3_softac.updates.targets import NoTarget, TargetNetwork, WeightAverage
from sb3_softac.updates.temperature import Temperature


@dataclass(frozen=True)
class Learner:
    """The networks and steps that every variant has.

    :param actor: the policy
    :param actor_gradient: on which actions, and by which loss, the policy is improved
    :param actor_step: optimizer step over the actor's parameters
    :param critic: the trained ensemble
    :param critic_parameters: its parameters
    :param critic_step: optimizer step over the critic's parameters
    :param reduce_q: the ensemble's values to one, in the actor's loss
    :param reduce_target_q: the same, in the value that the critics learn from
    :param temperature: fixed or learned
    :param targets: moves the target network after the trained one, if there is one
    :param actor_statistics: for the passes from which the actor's batch normalisation learns
    :param critic_statistics: the same, of the critics
    :param actor_average: follows the actor after each of its steps; None for none
    :param policy_delay: actor and temperature step at gradient steps that are a multiple of it
    """

    actor: SoftActor
    actor_gradient: ActorGradient
    actor_step: GradientStep
    critic: Critic
    critic_parameters: list[th.nn.Parameter]
    critic_step: GradientStep
    reduce_q: QReduction
    reduce_target_q: QReduction
    temperature: Temperature
    targets: TargetNetwork | NoTarget
    actor_statistics: BatchStatistics
    critic_statistics: BatchStatistics
    actor_average: WeightAverage | None = None
    policy_delay: int = 1

    def actor_is_due(self, n_updates: int) -> bool:
        """Whether actor and temperature step.

        :param n_updates: gradient steps done in the whole run, this one included
        """
        return n_updates % self.policy_delay == 0

    def phase(self, n_updates: int) -> tuple[bool, bool]:
        """Whether the targets move in this step, and whether the actor does.

        :param n_updates: gradient steps done in the whole run, this one included
        """
        return self.targets.is_due(n_updates), self.actor_is_due(n_updates)

    def support(self, obs: PyTorchObs) -> PolicySupport:
        """Actions of the current policy for the losses of this step; without a gradient where the actor is not due.

        :param obs: observations, first dimension B
        """
        self.actor.resample_noise()
        if not th.is_grad_enabled():
            return self.actor_gradient.support(obs)
        with self.actor_statistics:
            return self.actor_gradient.support(obs)

    def supports(self, obs: PyTorchObs, next_obs: PyTorchObs) -> tuple[PolicySupport, PolicySupport]:
        """Those, and actions of the current policy for the TD target.

        :param obs: observations, first dimension B
        :param next_obs: the same
        """
        if self.actor_statistics.layers:  # which the actor's own loss moves, and the TD target does not
            support = self.support(obs)
            with th.no_grad():
                return support, self.actor.support(next_obs)
        self.actor.resample_noise()
        return self.actor_gradient.supports(obs, next_obs)

    @th.no_grad()
    def next_support(self, next_obs: PyTorchObs) -> PolicySupport:
        """Actions of the current policy for the TD target, where the actor is not due.

        :param next_obs: observations, first dimension B
        """
        self.actor.resample_noise()
        return self.actor.support(next_obs)

    def q_of(self, obs: PyTorchObs, support: PolicySupport) -> th.Tensor:
        """Values of a support's actions by the critics as they are now.

        :param obs: observations, first dimension B
        :param support: of the policy at ``obs``
        :return: (N, B, K); with a gradient only if the actor's loss needs one through the actions
        """
        through_actions = self.actor_gradient.through_actions and th.is_grad_enabled()
        with th.set_grad_enabled(through_actions), frozen(self.critic_parameters):
            return self.critic.q_values(obs, support.actions)

    def improve_actor(self, obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        """The step of the actor, and of its average.

        :param obs: observations, first dimension B
        :param q: (B, K), of the support's actions
        :param support: of :meth:`support`
        :param alpha: (1,)
        :return: (), its loss, without gradient
        """
        loss = self.actor_gradient.loss(obs, q, support, alpha)
        self.actor_step(loss)
        if self.actor_average is not None:
            self.actor_average.step()
        return loss.detach()
