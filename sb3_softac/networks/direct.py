"""Actions for a few observations, by the operations of an actor alone.

Modules look for hooks and attributes around each operation, and observations are checked and converted. For one
observation all this takes longer than the arithmetic. Here the same operations run in the same order, on the parameters
as they are now. So actions are the same to the bit, and so are the random numbers that they use.

Shapes: B observations, I numbers of each.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch as th
from torch import nn

from sb3_softac.networks.actors import SquashedGaussianActor
from sb3_softac.networks.blocks import MIN_ROWS, MLP
from sb3_softac.networks.categorical_actor import CategoricalActor
from sb3_softac.networks.fused.unchanged import Unchanged

#: Kinds of actors that can act directly. A subclass may compute anything.
KINDS = (SquashedGaussianActor, CategoricalActor)


class DirectActor:
    """Acts for an actor, without the calls of its modules.

    :param actor: the actor, of one of ``KINDS``, for vectors
    :param heads: for a sample and for the mode, the linear layers on top of the last hidden one
    :param normalizer: of its observations; None for none
    :param owners: modules around the actor, which a user may change as well
    """

    def __init__(
        self,
        actor: Any,
        heads: Sequence[Sequence[nn.Module]],
        normalizer: nn.Module | None,
        owners: Iterable[nn.Module],
    ) -> None:
        self._actor = actor
        self._hidden = list(actor.latent_pi)
        self._heads = heads
        self._normalizer = normalizer
        self._is_unchanged = Unchanged([*owners, *actor.modules()])
        self._shape_of_one = actor.observation_space.shape

    def __call__(self, obs: Any, deterministic: bool) -> th.Tensor | None:
        """Action to take.

        :param obs: (B, I)
        :param deterministic: True: the mode; False: a sample
        :return: as the actor gives it; None where the actor itself has to act
        """
        if not self._takes(obs) or not self._is_unchanged():
            return None
        heads = self._heads[deterministic]
        with th.set_grad_enabled(False):  # takes half as long as `th.no_grad()`
            x = self._features(obs)
            for module in self._hidden:
                x = _output(module, x)
            return self._actor.action_of(deterministic, *[_output(head, x) for head in heads])

    def _takes(self, obs: Any) -> bool:
        is_float = type(obs) is np.ndarray and obs.dtype.kind == "f"
        # An engine may compute more rows in another way, which rounds differently.
        return is_float and obs.shape[1:] == self._shape_of_one and 0 < len(obs) < MIN_ROWS

    def _features(self, obs: np.ndarray) -> th.Tensor:
        x = th.from_numpy(np.array(obs))  # a copy, as PyTorch refuses arrays that are read-only
        weight: Any = self._heads[0][0]._parameters["weight"]
        if not weight.is_cpu:
            x = x.to(weight.device)
        if self._normalizer is not None:
            x = self._normalizer(x)
        return x if x.dtype is th.float32 else x.float()


def direct(actor: Any, normalizer: nn.Module | None, owners: Iterable[nn.Module]) -> DirectActor | None:
    """Make what acts for an actor; None for an actor that has to act itself.

    :param actor: any actor
    :param normalizer: of its observations; None for none
    :param owners: modules around the actor, which a user may change as well
    """
    if type(actor) not in KINDS or type(actor.latent_pi) is not MLP:
        return None
    heads = [actor.acting_heads(deterministic) for deterministic in (False, True)]
    is_plain = all(own and all(type(head) is nn.Linear for head in own) for own in heads)
    if not is_plain or not actor.takes_vectors(actor.features_extractor):
        return None
    return DirectActor(actor, heads, normalizer, owners)


def _output(module: nn.Module, x: th.Tensor) -> th.Tensor:
    """Output of a module, which is called only if it is neither a linear layer nor a ReLU."""
    kind = type(module)
    if kind is nn.Linear:
        own: Any = module._parameters  # without the search of `nn.Module.__getattr__`
        return nn.functional.linear(x, own["weight"], own["bias"])
    return x.relu() if kind is nn.ReLU else module(x)
