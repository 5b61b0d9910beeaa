"""Acting by a copy of the actor on the CPU, where each step would otherwise wait for a GPU."""

from copy import deepcopy

import torch as th
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.blocks import MLP

# An action of a small network takes a GPU about as long as bringing the weights over: launches and the wait for them.
# So the copy has to act several times before the weights change, and on rows so few that a CPU computes them at once.
MIN_STEPS_BETWEEN_UPDATES = 4
MAX_ROWS = 16


class ActorCopy:
    """A copy of an actor on the CPU that follows the one that learns.

    :param actor: the one that learns, on any device
    """

    def __init__(self, actor: SoftActor) -> None:
        self._actor = actor
        self._structure_version: int | None = None  # not copied yet

    def _begin_anew(self) -> None:
        self._followed = [*self._actor.parameters(), *self._actor.buffers()]
        self._copy = deepcopy(self._actor).cpu().eval()
        for network in self._copy.modules():
            if isinstance(network, MLP):
                network.compute_plainly()
        self._own = [*self._copy.parameters(), *self._copy.buffers()]
        self._seen: tuple[int, ...] = ()

    def up_to_date(self, n_updates: int, structure_version: int = 0) -> SoftActor:
        """The copy, with the weights of the original as they are now.

        :param n_updates: gradient steps done in the whole run, as a replayed CUDA graph leaves no other trace
        :param structure_version: another number than before where the actor holds other modules than before
        """
        if structure_version != self._structure_version:
            self._structure_version = structure_version
            self._begin_anew()
        # The count of a tensor's changes in place, by optimizers and by loading.
        state = (n_updates, *(tensor._version for tensor in self._followed))
        if state != self._seen:
            self._follow()
            self._seen = state
        return self._copy

    @th.no_grad()
    def _follow(self) -> None:
        """Bring the weights over in one transfer."""
        values = th.cat([tensor.reshape(-1) for tensor in self._followed]).cpu()
        parts = values.split([tensor.numel() for tensor in self._own])
        th._foreach_copy_(self._own, [part.view_as(own) for part, own in zip(parts, self._own, strict=True)])


def pays_to_copy(actor: SoftActor, train_freq: TrainFreq, n_envs: int) -> bool:
    """Whether exploring by an :class:`ActorCopy` is worth the transfers.

    :param actor: without gSDE, whose noise is held by the actor that learns
    :param train_freq: how often its weights change
    :param n_envs: rows of one step
    """
    is_step = train_freq.unit is TrainFrequencyUnit.STEP
    steps = train_freq.frequency if is_step else MIN_STEPS_BETWEEN_UPDATES
    return (
        actor.device.type == "cuda"
        and actor.takes_vectors(actor.features_extractor)
        and n_envs <= MAX_ROWS
        and steps >= MIN_STEPS_BETWEEN_UPDATES
    )
