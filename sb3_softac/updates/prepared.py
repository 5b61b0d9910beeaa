"""Preparation of a batch's observations inside an update, so that an engine that captures it captures this too."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_softac.updates.batch import Batch
from sb3_softac.updates.update import Update

#: observations, first dimension B -> as the networks are to see them
Preparation = Callable[[PyTorchObs], PyTorchObs]


@dataclass(frozen=True)
class PreparedUpdate:
    """Gradient step whose networks see prepared observations.

    :param update: gradient step of a variant
    :param preparations: called one after another, for the observations and then for the next ones
    """

    update: Update
    preparations: Sequence[Preparation]

    def is_measured(self, n_updates: int) -> bool:
        """Whether a step has further metrics; see :class:`~sb3_softac.updates.update.Update`."""
        return self.update.is_measured(n_updates)

    def phase(self, n_updates: int) -> Hashable:
        """Phase of the step; see :class:`~sb3_softac.updates.update.Update`."""
        return self.update.phase(n_updates)

    def __call__(self, batch: Batch, n_updates: int) -> dict[str, th.Tensor]:
        """Update every network once; see :class:`~sb3_softac.updates.update.Update`."""
        obs, next_obs = batch.obs, batch.next_obs
        for prepare in self.preparations:
            obs, next_obs = prepare(obs), prepare(next_obs)
        return self.update(batch._replace(obs=obs, next_obs=next_obs), n_updates)


def prepared(update: Update, preparations: Sequence[Preparation]) -> Update:
    """Update with preparations; the update itself if there are none.

    :param update: gradient step of a variant
    :param preparations: of the observations
    """
    return PreparedUpdate(update, preparations) if preparations else update
