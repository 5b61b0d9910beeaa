"""Copy of the actor on the CPU, so that acting need not wait for a GPU at each step."""

from copy import deepcopy

import torch as th
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from torch import nn

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.blocks import MLP
from sb3_softac.networks.normalizer import ObservationNormalizer

# On a GPU, an action of a small network takes about as long as a transfer of its weights: most of the time is waiting.
# So a copy is only faster if it acts several times before the weights change, and on few rows.
MIN_STEPS_BETWEEN_UPDATES = 4
MAX_ROWS = 16


class ActorCopy:
    """Copy of an actor on the CPU, which follows the weights of the trained actor.

    :param actor: the trained actor, on any device
    :param normalizer: of its observations, copied with it; None for none
    """

    def __init__(self, actor: SoftActor, normalizer: ObservationNormalizer | None = None) -> None:
        self._actor: nn.Module = actor if normalizer is None else nn.Sequential(normalizer, actor)
        self._structure_version: int | None = None  # not copied yet

    def _begin_anew(self) -> None:
        self._followed = [*self._actor.parameters(), *self._actor.buffers()]
        self._copy = deepcopy(self._actor).cpu().eval()
        for network in self._copy.modules():
            if isinstance(network, MLP):
                network.compute_plainly()
        self._own = [*self._copy.parameters(), *self._copy.buffers()]
        self._seen: tuple[int, ...] = ()

    def up_to_date(self, n_updates: int, structure_version: int = 0) -> nn.Module:
        """Copy of the actor with its current weights.

        :param n_updates: gradient steps done in the whole run; a replayed CUDA graph leaves no other sign of a change
        :param structure_version: number that changes when a module of the actor was replaced
        """
        if structure_version != self._structure_version:
            self._structure_version = structure_version
            self._begin_anew()
        # `_version` counts the changes of a tensor in place, by optimizers and by loading.
        state = (n_updates, *(tensor._version for tensor in self._followed))
        if state != self._seen:
            self._follow()
            self._seen = state
        return self._copy

    @th.no_grad()
    def _follow(self) -> None:
        """Copy the weights in one transfer."""
        values = th.cat([tensor.reshape(-1) for tensor in self._followed]).cpu()
        parts = values.split([tensor.numel() for tensor in self._own])
        th._foreach_copy_(self._own, [part.view_as(own) for part, own in zip(parts, self._own, strict=True)])


def is_copy_faster(actor: SoftActor, train_freq: TrainFreq, n_envs: int) -> bool:
    """Whether exploring by an :class:`ActorCopy` is faster than by the actor itself.

    :param actor: an actor without gSDE, whose noise belongs to the trained actor
    :param train_freq: training frequency, after which the weights change
    :param n_envs: number of environments, which are the rows of one step
    """
    is_step = train_freq.unit is TrainFrequencyUnit.STEP
    steps = train_freq.frequency if is_step else MIN_STEPS_BETWEEN_UPDATES
    return (
        actor.device.type == "cuda"
        and actor.takes_vectors(actor.features_extractor)
        and n_envs <= MAX_ROWS
        and steps >= MIN_STEPS_BETWEEN_UPDATES
    )
