"""SAC v2: critics with targets, learned temperature.   arXiv:1812.05905v2, algorithm 1

For discrete actions: arXiv:1910.07207.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch as th

from sb3_softac.updates import measures
from sb3_softac.updates.batch import Batch
from sb3_softac.updates.parts import ActorPart, CriticPart


@dataclass(frozen=True)
class UpdateV2:
    """Gradient step of SAC v2, in the order of Stable-Baselines3's SAC.

    :param actor: actor and temperature
    :param critics: critics and their target network
    :param is_measured: whether a gradient step is measured, by its number; see :class:`Update`
    """

    actor: ActorPart
    critics: CriticPart
    is_measured: Callable[[int], bool]

    def phase(self, n_updates: int) -> tuple[bool, ...]:
        """Whether the target network moves, the actor steps, and the step is measured; see :class:`Update`."""
        return self.critics.follower.is_due(n_updates), self.actor.is_due(n_updates), self.is_measured(n_updates)

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        """Update every network once.

        :param batch: B transitions
        :param n_updates: gradient steps done in the whole run, this one included
        :return: metrics to log, each () and on the device
        """
        actor, critics = self.actor, self.critics
        # All losses below use the temperature from before its own step.
        alpha = actor.temperature.alpha()
        metrics = {"ent_coef": alpha.squeeze()}
        is_due, is_measured = actor.is_due(n_updates), self.is_measured(n_updates)
        if is_measured:
            metrics |= measures.of_batch(batch)
        support, next_support = actor.policy_at(batch, is_due)
        if support is not None:
            metrics |= actor.learn_temperature(batch.obs, support, is_measured)

        metrics |= critics.learn(batch, next_support, alpha, is_measured)
        if support is not None:
            q = critics.reduce_q(critics.q_of(batch.obs, support, is_due))
            metrics |= actor.improve(batch.obs, q, support, alpha, is_measured)
        critics.follower.step(n_updates)
        return metrics
