"""Soft Q-learning: the policy is the Boltzmann distribution of the critics' values.   arXiv:1702.08165, algorithm 1

Shapes: N critics, B batch, K support size, D action dimension.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.networks.boltzmann_actor import BoltzmannActor
from sb3_softac.networks.distributions import PolicySupport, boltzmann_support, equally_weighted, tanh_log_det
from sb3_softac.networks.sampling_actor import SamplingActor
from sb3_softac.updates import measures, stein
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.parts import CriticPart, PolicyPart


class Candidates(Protocol):
    """Actions of which the Boltzmann distribution consists."""

    def draw(self, obs: PyTorchObs) -> th.Tensor | None:
        """Actions in each state.

        :param obs: observations, first dimension B
        :return: (B, K, D), or None for all actions
        """

    def support(self, obs: PyTorchObs, actions: th.Tensor | None, q: th.Tensor, alpha: th.Tensor) -> PolicySupport:
        """Support of the Boltzmann distribution.

        :param obs: observations, first dimension B
        :param actions: result of :meth:`draw`
        :param q: (B, K), values of the actions
        :param alpha: (1,), the temperature
        """


@dataclass(frozen=True)
class AllActions:
    """All actions of a discrete space; see :class:`Candidates`.

    :param actor: knows which actions a mask allows
    """

    actor: BoltzmannActor

    def draw(self, obs: PyTorchObs) -> None:
        """None, which stands for all actions."""

    def support(self, obs: PyTorchObs, actions: th.Tensor | None, q: th.Tensor, alpha: th.Tensor) -> PolicySupport:
        """Exact support; see :class:`Candidates`."""
        return boltzmann_support(actions, q, alpha, allowed=self.actor.allowed(obs))


@dataclass(frozen=True)
class UniformActions:
    """Uniform Box actions, which importance sampling weights; see :class:`Candidates`.

    :param action_dim: D
    :param n_actions: K
    """

    action_dim: int
    n_actions: int

    def draw(self, obs: PyTorchObs) -> th.Tensor:
        """Actions (B, K, D), uniform in [-1, 1]."""
        like = next(iter(obs.values())) if isinstance(obs, dict) else obs
        shape = (len(like), self.n_actions, self.action_dim)
        return th.rand(shape, dtype=th.get_default_dtype(), device=like.device) * 2.0 - 1.0

    def support(self, obs: PyTorchObs, actions: th.Tensor | None, q: th.Tensor, alpha: th.Tensor) -> PolicySupport:
        """Support of the sampled actions, of which each stands for a K-th of the volume 2^D."""
        log_volume = self.action_dim * math.log(2.0) - math.log(self.n_actions)
        return boltzmann_support(actions, q, alpha, log_volume)


@dataclass(frozen=True, kw_only=True)
class SoftQCritics(CriticPart):
    """Critics, and the Boltzmann distribution of their values.

    :param candidates: the actions of which it consists
    """

    candidates: Candidates

    def policy_at(self, obs: PyTorchObs, alpha: th.Tensor) -> PolicySupport:
        """Support of the policy by the current critics, without gradient.

        :param obs: observations, first dimension B
        :param alpha: (1,), the temperature
        """
        actions = self.candidates.draw(obs)
        with th.no_grad():
            q = self.reduce_q(self.critic.q_values(obs, actions))
        return self.candidates.support(obs, actions, q, alpha)

    def learn_from_own_policy(self, batch: Batch, alpha: th.Tensor, is_measured: bool) -> dict[str, th.Tensor]:
        """Step towards the soft value of the target critics' own policy at s'.   arXiv:1702.08165, Eq. (11)

        :param batch: B transitions
        :param alpha: (1,), the temperature
        :param is_measured: whether to measure the step, too
        :return: metrics to log, each ()
        """
        actions = self.candidates.draw(batch.next_obs)
        outputs, next_outputs = self.outputs_of_both(batch, actions)
        q = self.reduce_q(self.critic.head.values(next_outputs.detach()))
        next_support = self.candidates.support(batch.next_obs, actions, q, alpha)
        return self.fit(batch, outputs, self.td.target(batch, next_outputs, next_support, alpha), is_measured)


@dataclass(frozen=True, kw_only=True)
class SoftQPolicy(PolicyPart):
    """Policy that is, or imitates, the Boltzmann distribution, and the temperature."""

    @abstractmethod
    def improve(
        self, obs: PyTorchObs, critics: SoftQCritics, alpha: th.Tensor, is_measured: bool
    ) -> dict[str, th.Tensor]:
        """Bring the actor to the Boltzmann distribution of the current critics.

        :param obs: observations, first dimension B
        :param critics: the current critics
        :param alpha: (1,), the temperature
        :param is_measured: whether to measure the step, too
        :return: metrics to log, each ()
        """


@dataclass(frozen=True, kw_only=True)
class BoltzmannPolicy(SoftQPolicy):
    """Actor that is the Boltzmann distribution, and so learns nothing itself.

    :param takes_mean: by the mean of the critics, and not by their minimum
    """

    takes_mean: bool

    def improve(
        self, obs: PyTorchObs, critics: SoftQCritics, alpha: th.Tensor, is_measured: bool
    ) -> dict[str, th.Tensor]:
        """Note the temperature; see :class:`SoftQPolicy`."""
        self.actor.follow(alpha, self.takes_mean)
        if self.average is not None:
            self.average.step()
        return {}


@dataclass(frozen=True, kw_only=True)
class SamplingPolicy(SoftQPolicy):
    """Sampling network that learns the Boltzmann distribution by Stein variational gradient descent.

    :param actor: the network
    :param n_particles: K
    """

    actor: SamplingActor
    n_particles: int

    def improve(
        self, obs: PyTorchObs, critics: SoftQCritics, alpha: th.Tensor, is_measured: bool
    ) -> dict[str, th.Tensor]:
        """Step of the network; see :class:`SoftQPolicy`.   arXiv:1702.08165, Eq. (13), (14)"""
        with self.statistics:
            particles = self.actor.particles(obs, self.n_particles)
        pre_tanh = particles.detach().requires_grad_()
        actions = equally_weighted(pre_tanh.tanh(), th.zeros_like(pre_tanh[..., 0]))
        q = critics.reduce_q(critics.q_of(obs, actions, is_due=True))
        # Before tanh there are no bounds at which a particle gets stuck; the density there has the log-determinant.
        (score,) = th.autograd.grad((q + alpha * tanh_log_det(pre_tanh)).sum(), pre_tanh)
        fixed = pre_tanh.detach()
        direction = stein.stein_direction(fixed, score, alpha, stein.median_bandwidth(fixed))
        return self.descend(stein.stein_loss(particles, direction), actions, is_measured)


@dataclass(frozen=True)
class UpdateSoftQ:
    """Gradient step of soft Q-learning, with its parts in the order of v2.

    :param policy: actor and temperature
    :param critics: critics and their target network
    :param is_measured: whether a gradient step is measured, by its number; see :class:`Update`
    """

    policy: SoftQPolicy
    critics: SoftQCritics
    is_measured: Callable[[int], bool]

    def phase(self, n_updates: int) -> tuple[bool, ...]:
        """Whether the target network moves, the actor steps, and the step is measured; see :class:`Update`."""
        return self.critics.follower.is_due(n_updates), self.policy.is_due(n_updates), self.is_measured(n_updates)

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        """Update every network once.

        :param batch: B transitions
        :param n_updates: gradient steps done in the whole run, this one included
        :return: metrics to log, each () and on the device
        """
        policy, critics = self.policy, self.critics
        alpha = policy.temperature.alpha()
        metrics = {"ent_coef": alpha.squeeze()}
        is_due, is_measured = policy.is_due(n_updates), self.is_measured(n_updates)
        if is_measured:
            metrics |= measures.of_batch(batch)
        if is_due:
            support = critics.policy_at(batch.obs, alpha)
            metrics |= policy.learn_temperature(batch.obs, support, is_measured)
        metrics |= critics.learn_from_own_policy(batch, alpha, is_measured)
        if is_due:
            metrics |= policy.improve(batch.obs, critics, alpha, is_measured)
        critics.follower.step(n_updates)
        return metrics
