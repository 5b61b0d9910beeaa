"""Moving averages of weights: target networks, and an average of the actor."""

import torch as th
from stable_baselines3.common.utils import get_parameters_by_name
from torch import nn


class WeightAverage:
    """Moving average of the weights of a network, and of its running statistics.   arXiv:1803.05407

    ``average <- average + tau (online - average)``, at every step. Noisy gradients move weights around a centre; the
    average is closer to this centre.

    :param online: the network that is trained
    :param average: copy of the network, with the same structure; is changed
    :param tau: in (0, 1]
    """

    def __init__(self, online: nn.Module, average: nn.Module, tau: float) -> None:
        self._online, self._average = _averaged_tensors(online), _averaged_tensors(average)
        self._tau = tau

    @th.no_grad()
    def step(self) -> None:
        """Move the average towards the trained network."""
        th._foreach_lerp_(self._average, self._online, self._tau)


def _averaged_tensors(network: nn.Module) -> list[th.Tensor]:
    """Parameters and buffers of floating-point numbers; integers, such as a count of batches, have no average."""
    return [tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()]


class NoTarget:
    """Stand-in for a target network: the trained network is its own target.   arXiv:1902.05605"""

    def is_due(self, n_updates: int) -> bool:
        """False: no target moves; see :class:`TargetNetwork`."""
        return False

    def step(self, n_updates: int) -> None:
        """Do nothing; see :class:`TargetNetwork`."""


class TargetNetwork:
    """Target network: a moving average of the weights of the trained network.   arXiv:1812.05905v2, algorithm 1

    ``target <- target + tau (online - target)``, every ``interval`` gradient steps; ``tau=1`` is a periodic copy.

    :param online: the network that is trained
    :param target: copy of the network, with the same structure; is changed
    :param tau: in [0, 1]; 0 freezes the target
    :param interval: number of gradient steps between two moves, counted over the whole run
    """

    def __init__(self, online: nn.Module, target: nn.Module, tau: float, interval: int) -> None:
        self._online: list[th.Tensor] = list(online.parameters())
        self._target: list[th.Tensor] = list(target.parameters())
        # Running statistics of batch normalisation are averages already, so that they are copied.
        self._online_statistics = get_parameters_by_name(online, ["running_"])
        self._target_statistics = get_parameters_by_name(target, ["running_"])
        self._tau = tau
        self._interval = interval

    def is_due(self, n_updates: int) -> bool:
        """Whether the target moves at this gradient step.

        :param n_updates: gradient steps done in the whole run, this one included
        """
        return n_updates % self._interval == 0

    @th.no_grad()
    def step(self, n_updates: int) -> None:
        """Move the target towards the trained network, if it is due.

        :param n_updates: gradient steps done in the whole run, this one included
        """
        if not self.is_due(n_updates):
            return
        th._foreach_lerp_(self._target, self._online, self._tau)
        if self._target_statistics:
            th._foreach_copy_(self._target_statistics, self._online_statistics)
