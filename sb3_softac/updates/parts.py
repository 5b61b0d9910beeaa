"""Parts of every variant's update: the actor with its temperature, and the critics.

Shapes: N critics, B batch, K support size, M outputs of a critic for each action.
"""

from dataclasses import dataclass

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.batch_renorm import BatchStatistics
from sb3_softac.networks.critics import Critic
from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.updates import losses, measures
from sb3_softac.updates.actor_gradient import ActorGradient
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.gradient import GradientStep, frozen
from sb3_softac.updates.targets import NoTarget, TargetNetwork, WeightAverage
from sb3_softac.updates.td import TD, QReduction
from sb3_softac.updates.temperature import Temperature


@dataclass(frozen=True, kw_only=True)
class PolicyPart:
    """Actor and temperature, which step together.

    :param actor: the actor
    :param step: gradient step over the actor's parameters
    :param temperature: fixed or learned
    :param statistics: enables batch statistics during the pass of the actor's own loss
    :param average: moving average of the actor's weights, which follows each step of the actor; None for none
    :param delay: actor and temperature step at every ``delay``-th gradient step
    """

    actor: SoftActor
    step: GradientStep
    temperature: Temperature
    statistics: BatchStatistics
    average: WeightAverage | None = None
    delay: int = 1

    def is_due(self, n_updates: int) -> bool:
        """Whether actor and temperature step at this gradient step.

        :param n_updates: gradient steps done in the whole run, this one included
        """
        return n_updates % self.delay == 0

    def learn_temperature(
        self, obs: PyTorchObs, support: PolicySupport, is_measured: bool = False
    ) -> dict[str, th.Tensor]:
        """Step of the temperature, which learns from the entropy of the policy.

        :param obs: observations, first dimension B
        :param support: support of the policy at ``obs``
        :param is_measured: whether to measure the step, too
        :return: metrics to log, each ()
        """
        policy_entropy = losses.entropy(support.log_pi, support.weight)
        metrics = {"entropy": policy_entropy.detach().mean()}  # first, as the loss is computed from it
        max_entropy = self.actor.max_entropy(obs)
        if is_measured:
            metrics |= self.temperature.measures(max_entropy)
        return metrics | self.temperature.step(policy_entropy, max_entropy)

    def descend(self, loss: th.Tensor, support: PolicySupport, is_measured: bool) -> dict[str, th.Tensor]:
        """Step of the actor along the gradient of its loss, and of the average of its weights.

        :param loss: ()
        :param support: the actions of the loss
        :param is_measured: whether to measure the step, too
        :return: metrics to log, each ()
        """
        metrics = {"actor_loss": loss.detach()}
        gradients = self.step.gradients(loss)
        if is_measured:
            metrics |= measures.of_actor(support, self.actor.differentiable_actions, gradients)
        self.step.step_along(gradients)
        if self.average is not None:
            self.average.step()
        return metrics


@dataclass(frozen=True, kw_only=True)
class ActorPart(PolicyPart):
    """Actor that learns by a loss of its own, and the temperature.

    :param gradient: loss of the actor
    :param n_samples: K, if the actions are samples
    """

    gradient: ActorGradient
    n_samples: int = 1

    def support_at(self, obs: PyTorchObs, is_due: bool) -> PolicySupport:
        """Policy support at the observations, for the losses of this step; with gradient only if the actor is due.

        :param obs: observations, first dimension B
        :param is_due: result of :meth:`is_due`
        """
        self.actor.resample_noise()
        if not is_due:
            with th.no_grad():
                return self._support(obs)
        with self.statistics:
            return self._support(obs)

    def policy_at(self, batch: Batch, is_due: bool) -> tuple[PolicySupport | None, PolicySupport]:
        """Policy supports at s, for the actor's loss, and at s', for the TD target.

        One forward pass computes both where possible. This method also draws the noise of gSDE, and enables batch
        statistics.

        :param batch: B transitions
        :param is_due: result of :meth:`is_due`
        :return: support at s with gradient, or None if the actor is not due; support at s' without gradient
        """
        if is_due and not self.gradient.of_samples and not self.statistics.layers:
            self.actor.resample_noise()
            return self.actor.supports(batch.obs, batch.next_obs, self.n_samples)
        if is_due:
            support = self.support_at(batch.obs, is_due)
        else:
            self.actor.resample_noise()
            support = None
        with th.no_grad():
            return support, self.actor.support(batch.next_obs, self.n_samples)

    def _support(self, obs: PyTorchObs) -> PolicySupport:
        draw = self.actor.score_support if self.gradient.of_samples else self.actor.support
        return draw(obs, self.n_samples)

    def improve(
        self, obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor, is_measured: bool = False
    ) -> dict[str, th.Tensor]:
        """Step of the actor, and of the average of its weights.

        :param obs: observations, first dimension B
        :param q: (B, K), values of the support's actions, reduced over the critics
        :param support: support of the policy at ``obs``
        :param alpha: (1,), the temperature
        :param is_measured: whether to measure the step, too
        :return: metrics to log, each ()
        """
        return self.descend(self.gradient.loss(obs, q, support, alpha), support, is_measured)


@dataclass(frozen=True)
class CriticPart:
    """Ensemble of critics, with its target network if it has one.

    :param critic: the trained ensemble
    :param step: gradient step over the critics' parameters
    :param statistics: enables batch statistics during the critics' own pass
    :param target_statistics: enables those of the target network, in a joint pass
    :param is_joint: whether a state and its successor are one batch; always so without a target network
    :param td: TD target and loss
    :param reduce_q: reduces the critics' values, (N, B, K) to (B, K), in the actor's loss
    :param through_actions: whether the actor's loss needs the gradient of Q with respect to the actions
    :param target: target network; None: the critics are their own target.   arXiv:1902.05605
    :param follower: moves the target network towards the trained one
    """

    critic: Critic
    step: GradientStep
    statistics: BatchStatistics
    target_statistics: BatchStatistics
    is_joint: bool
    td: TD
    reduce_q: QReduction
    through_actions: bool
    target: Critic | None = None
    follower: TargetNetwork | NoTarget = NoTarget()  # noqa: RUF009  # it has no state

    def learn(
        self, batch: Batch, next_support: PolicySupport, alpha: th.Tensor, is_measured: bool = False
    ) -> dict[str, th.Tensor]:
        """Step of the critics towards the soft value of the policy at s'.

        :param batch: B transitions
        :param next_support: support of the policy at s'
        :param alpha: (1,), the temperature
        :param is_measured: whether to measure the step, too
        :return: metrics to log, each ()
        """
        outputs, next_outputs = self.outputs_of_both(batch, next_support.actions)
        return self.fit(batch, outputs, self.td.target(batch, next_outputs, next_support, alpha), is_measured)

    def learn_from_value(self, batch: Batch, next_value: th.Tensor, is_measured: bool = False) -> dict[str, th.Tensor]:
        """Step of the critics towards a given state value at s'.

        :param batch: B transitions
        :param next_value: (B,), V(s')
        :param is_measured: whether to measure the step, too
        :return: metrics to log, each ()
        """
        target = self.td.target_of_value(batch, next_value)
        with self.statistics:
            outputs = self.critic.outputs_taken(batch.obs, batch.action)
        return self.fit(batch, outputs, target, is_measured)

    def outputs_of_both(self, batch: Batch, next_actions: th.Tensor | None) -> tuple[th.Tensor, th.Tensor]:
        """Outputs of the critics at (s, a), (N, B, M), and of the target critics at s', (N, B, K, M).

        :param batch: B transitions
        :param next_actions: (B, K, D), or ids (B, K, F), at s'; None for all actions
        """
        if self.is_joint:
            both = (batch.obs, batch.action, batch.next_obs, next_actions)
            with self.statistics:
                outputs, next_outputs = self.critic.outputs_joint(*both)
            if self.target is not None:
                with th.no_grad(), self.target_statistics:
                    _, next_outputs = self.target.outputs_joint(*both)
            return outputs, next_outputs
        assert self.target is not None, "without a target the pass is joint"
        with th.no_grad():
            next_outputs = self.target.outputs(batch.next_obs, next_actions)
        with self.statistics:
            return self.critic.outputs_taken(batch.obs, batch.action), next_outputs

    def fit(self, batch: Batch, outputs: th.Tensor, target: th.Tensor, is_measured: bool) -> dict[str, th.Tensor]:
        """Step of the critics towards a target.

        :param batch: B transitions
        :param outputs: (N, B, M), outputs at (s, a), with gradient
        :param target: as the TD makes it
        :param is_measured: whether to measure the step, too
        :return: metrics to log, each ()
        """
        target_outputs = None
        if self.td.needs_target_outputs and self.target is not None:
            with th.no_grad():
                target_outputs = self.target.outputs_taken(batch.obs, batch.action)
        loss = self.td.loss(outputs, target, target_outputs)
        gradients = self.step.gradients(loss)
        q_NB = self.critic.head.values(outputs.detach())
        metrics = {"critic_loss": loss.detach(), "q_value": q_NB.mean()}
        if is_measured:
            metrics |= measures.of_critics(q_NB, self.td.errors(outputs.detach(), target), gradients)
        self.step.step_along(gradients)
        return metrics

    def q_of(self, obs: PyTorchObs, support: PolicySupport, is_due: bool) -> th.Tensor:
        """Q values of the policy's actions by the current critics, whose parameters get no gradient.

        :param obs: observations, first dimension B
        :param support: support of the policy at ``obs``
        :param is_due: whether the actor steps
        :return: (N, B, K); with gradient only if the actor's loss needs it through the actions
        """
        with th.set_grad_enabled(self.through_actions and is_due), frozen(self.critic.parameters()):
            return self.critic.q_values(obs, support.actions)
