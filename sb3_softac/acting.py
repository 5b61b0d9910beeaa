"""Acting by a copy of the actor on the CPU, where each step would otherwise wait for a GPU."""

from copy import deepcopy
from typing import TYPE_CHECKING

import torch as th
from stable_baselines3.common.type_aliases import TrainFrequencyUnit

from sb3_softac.networks.actors import SoftActor
from sb3_softac.networks.layers import MLP

if TYPE_CHECKING:
    from sb3_softac.softac import SoftAC

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
        self._n_structures: int | None = None  # not copied yet

    def _begin_anew(self) -> None:
        self._followed = [*self._actor.parameters(), *self._actor.buffers()]
        self._copy = deepcopy(self._actor).cpu().eval()
        for network in self._copy.modules():
            if isinstance(network, MLP):
                network.compute_plainly()
        self._own = [*self._copy.parameters(), *self._copy.buffers()]
        self._seen: tuple[int, ...] = ()

    def up_to_date(self, n_updates: int, n_structures: int = 0) -> SoftActor:
        """The copy, with the weights of the original as they are now.

        :param n_updates: gradient steps done in the whole run, as a replayed CUDA graph leaves no other trace
        :param n_structures: another number than before where the actor holds other modules than before
        """
        if n_structures != self._n_structures:
            self._n_structures = n_structures
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


def pays_to_copy(model: "SoftAC") -> bool:
    """Whether exploring by an :class:`ActorCopy` is worth the transfers.

    :param model: set up
    """
    frequency, unit = model.train_freq  # type: ignore[misc]  # a TrainFreq since the arguments were checked
    steps = frequency if unit is TrainFrequencyUnit.STEP else MIN_STEPS_BETWEEN_UPDATES
    return (
        model.device.type == "cuda"
        and not model.use_sde  # its noise is held by the actor that learns
        and model.actor.takes_vectors(model.actor.features_extractor)
        and model.n_envs <= MAX_ROWS
        and steps >= MIN_STEPS_BETWEEN_UPDATES
    )
