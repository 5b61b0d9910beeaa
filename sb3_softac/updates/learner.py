"""The networks and steps that every variant has."""

from dataclasses import dataclass

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.critics import Critic
from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.updates.actor_gradient import ActorGradient, QReduction
from sb3_softac.updates.gradient import GradientStep, frozen
from sb3_softac.updates.targets import TargetNetwork
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
    :param reduce_q: the ensemble's values to one
    :param temperature: fixed or learned
    :param targets: moves the target network after the trained one
    """

    actor: SoftActor
    actor_gradient: ActorGradient
    actor_step: GradientStep
    critic: Critic
    critic_parameters: list[th.nn.Parameter]
    critic_step: GradientStep
    reduce_q: QReduction
    temperature: Temperature
    targets: TargetNetwork

    def support(self, obs: PyTorchObs) -> PolicySupport:
        """Actions of the current policy for the losses of this step.

        :param obs: observations, first dimension B
        """
        self.actor.resample_noise()
        return self.actor_gradient.support(obs)

    def supports(self, obs: PyTorchObs, next_obs: PyTorchObs) -> tuple[PolicySupport, PolicySupport]:
        """Those, and actions of the current policy for the TD target.

        :param obs: observations, first dimension B
        :param next_obs: the same
        """
        self.actor.resample_noise()
        return self.actor_gradient.supports(obs, next_obs)

    def q_of(self, obs: PyTorchObs, support: PolicySupport) -> th.Tensor:
        """Values of a support's actions by the critics as they are now.

        :param obs: observations, first dimension B
        :param support: of the policy at ``obs``
        :return: (B, K); with a gradient only if the actor's loss needs one through the actions
        """
        with th.set_grad_enabled(self.actor_gradient.through_actions), frozen(self.critic_parameters):
            return self.reduce_q(self.critic.q_values(obs, support.actions))
