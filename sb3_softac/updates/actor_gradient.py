"""Gradients of the actor's objective J_pi: through reparameterised actions, or by the score function.

Shapes: B batch, K support size.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.critics import Critic, ValueNetwork
from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.updates import losses
from sb3_softac.updates.td import QReduction

#: (observations, Q of the samples, samples, alpha) -> baseline of each sample, (B, K) or (B, 1)
Baseline = Callable[[PyTorchObs, th.Tensor, PolicySupport, th.Tensor], th.Tensor]


class ActorGradient(ABC):
    """Loss of the actor, and the kind of policy support that it needs."""

    #: whether the loss needs gradients of Q with respect to the actions
    through_actions: bool
    #: whether the loss needs independent samples without gradient, from the actor's ``score_support()``
    of_samples: bool

    @abstractmethod
    def loss(self, obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        """Loss of the actor.

        :param obs: observations, first dimension B
        :param q: (B, K), values of the support's actions, reduced over the critics
        :param support: support of the policy at ``obs``
        :param alpha: () or (1,), the temperature
        :return: ()
        """


class Reparameterized(ActorGradient):
    """Reparameterised gradient: through the actions, their log-probabilities and their weights; exact for Discrete.

    arXiv:1812.05905v2, Eq. (9)

    :param through_actions: whether the actions themselves have a gradient, as for Box
    """

    of_samples = False

    def __init__(self, through_actions: bool) -> None:
        self.through_actions = through_actions

    def loss(self, obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        return losses.reparameterized_actor_loss(losses.soft_value(q, support.log_pi, support.weight, alpha))


class ScoreFunction(ActorGradient):
    """Score-function gradient: that of log pi at sampled actions, weighted by the cost of each.

    :param baseline: subtracted from the value of each sample to reduce the variance
    """

    through_actions = False
    of_samples = True

    def __init__(self, baseline: Baseline) -> None:
        self._baseline = baseline

    @th.no_grad()
    def _baseline_value(self, obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        return self._baseline(obs, q, support, alpha)

    def loss(self, obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        baseline = self._baseline_value(obs, q, support, alpha)
        return losses.score_function_actor_loss(support.log_pi, support.weight, q, alpha, baseline)


def no_baseline(obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
    """Zero baseline, (B, K); see :data:`Baseline`."""
    return th.zeros_like(q)


def leave_one_out(obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
    """Baseline from the other samples, (B, K): the soft value that they estimate; see :data:`Baseline`."""
    return losses.leave_one_out_baseline(q, support.log_pi, alpha)


def state_value(value_net: ValueNetwork) -> Baseline:
    """Baseline V(s), (B, 1), by the value network of SAC v1.

    :param value_net: V
    """

    def baseline(obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        return value_net(obs).unsqueeze(-1)

    return baseline


def estimated_state_value(actor: SoftActor, critic: Critic, reduce_q: QReduction, n_samples: int) -> Baseline:
    """Baseline V(s), (B, 1), without a value network: exact for Discrete, otherwise estimated from fresh samples.

    Fresh samples are independent of the actions of the loss, so that the gradient stays unbiased.

    :param actor: the policy
    :param critic: the ensemble of critics
    :param reduce_q: function from (N, B, K) to (B, K)
    :param n_samples: number of fresh samples, if the actions are samples
    """

    def baseline(obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        fresh = actor.support(obs, n_samples)
        fresh_q = reduce_q(critic.q_values(obs, fresh.actions))
        return losses.soft_value(fresh_q, fresh.log_pi, fresh.weight, alpha).unsqueeze(-1)

    return baseline
