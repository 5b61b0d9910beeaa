"""How the gradient of J_pi reaches the actor: through reparameterised actions, or by the score function."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.critics import Critic, ValueNetwork
from sb3_softac.networks.distributions import PolicySupport
from sb3_softac.updates import losses
from sb3_softac.updates.td import QReduction

#: (observations, Q of the samples, samples, alpha) -> what is subtracted from each, (B, K) or (B, 1)
Baseline = Callable[[PyTorchObs, th.Tensor, PolicySupport, th.Tensor], th.Tensor]


class ActorGradient(ABC):
    """The loss of the actor, and what its actions have to carry."""

    #: whether gradients of Q with respect to the actions are needed
    through_actions: bool
    #: whether the actions are independent samples that carry no gradient, of the actor's ``score_support()``
    of_samples: bool

    @abstractmethod
    def loss(self, obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        """The actor's loss.

        :param obs: observations, first dimension B
        :param q: (B, K), values of the support's actions, reduced over the critics
        :param support: of the actor
        :param alpha: () or (1,)
        :return: ()
        """


class Reparameterized(ActorGradient):
    """The gradient runs through the actions, their log-probabilities and their weights; exact for Discrete.

    :param through_actions: whether there is a gradient of the actions themselves, as for Box
    """

    of_samples = False

    def __init__(self, through_actions: bool) -> None:
        self.through_actions = through_actions

    def loss(self, obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        return losses.reparameterized_actor_loss(losses.soft_value(q, support.log_pi, support.weight, alpha))


class ScoreFunction(ActorGradient):
    """The gradient of log pi at sampled actions, weighted by what they cost.

    :param baseline: reduces the variance
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
    """Zero."""
    return th.zeros_like(q)


def leave_one_out(obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
    """For each sample, the soft value that the others estimate."""
    return losses.leave_one_out_baseline(q, support.log_pi, alpha)


def state_value(value_net: ValueNetwork) -> Baseline:
    """V(s) by the value network of SAC v1."""

    def baseline(obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        return value_net(obs).unsqueeze(-1)

    return baseline


def estimated_state_value(actor: SoftActor, critic: Critic, reduce_q: QReduction, n_samples: int) -> Baseline:
    """V(s) without a value network: exact for Discrete, else from samples of its own, so that it is unbiased."""

    def baseline(obs: PyTorchObs, q: th.Tensor, support: PolicySupport, alpha: th.Tensor) -> th.Tensor:
        fresh = actor.support(obs, n_samples)
        fresh_q = reduce_q(critic.q_values(obs, fresh.actions))
        return losses.soft_value(fresh_q, fresh.log_pi, fresh.weight, alpha).unsqueeze(-1)

    return baseline
