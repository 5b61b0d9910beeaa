"""Slowly following copies: target networks, and an average of the actor."""

import torch as th
from stable_baselines3.common.utils import get_parameters_by_name
from torch import nn


class WeightAverage:
    """Keeps ``average`` a moving average of ``online``, with what batch normalisation has learnt.

    ``average <- average + tau (online - average)``, at every call. Averaged weights are nearer the middle of what
    noisy gradients wander about than any of them.   arXiv:1803.05407

    :param online: the network that is trained
    :param average: its copy, of the same structure
    :param tau: in (0, 1]
    """

    def __init__(self, online: nn.Module, average: nn.Module, tau: float) -> None:
        self._online, self._average = _averaged_tensors(online), _averaged_tensors(average)
        self._tau = tau

    @th.no_grad()
    def step(self) -> None:
        """Follow."""
        th._foreach_lerp_(self._average, self._online, self._tau)


def _averaged_tensors(network: nn.Module) -> list[th.Tensor]:
    """Parameters and buffers that can be averaged, which a count of batches cannot."""
    return [tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()]


class NoTarget:
    """Nothing follows: the trained network is its own target.   arXiv:1902.05605"""

    def is_due(self, n_updates: int) -> bool:
        """Never; see :class:`TargetNetwork`."""
        return False

    def step(self, n_updates: int) -> None:
        """Nothing to do; see :class:`TargetNetwork`."""


class TargetNetwork:
    """Keeps ``target`` a moving average of ``online``.

    ``target <- target + tau (online - target)``, every ``interval`` gradient steps; ``tau=1`` is a periodic copy.
    arXiv:1812.05905v2, algorithm 1, last line

    :param online: the network that is trained
    :param target: its copy, of the same structure
    :param tau: in [0, 1]; 0 freezes the target
    :param interval: in gradient steps, counted over the whole run
    """

    def __init__(self, online: nn.Module, target: nn.Module, tau: float, interval: int) -> None:
        self._online: list[th.Tensor] = list(online.parameters())
        self._target: list[th.Tensor] = list(target.parameters())
        # Running statistics of batch normalisation are averages already: they are copied.
        self._online_statistics = get_parameters_by_name(online, ["running_"])
        self._target_statistics = get_parameters_by_name(target, ["running_"])
        self._tau = tau
        self._interval = interval

    def is_due(self, n_updates: int) -> bool:
        """Whether it is time to follow.

        :param n_updates: gradient steps done in the whole run, this one included
        """
        return n_updates % self._interval == 0

    @th.no_grad()
    def step(self, n_updates: int) -> None:
        """Follow, if it is time to.

        :param n_updates: gradient steps done in the whole run, this one included
        """
        if not self.is_due(n_updates):
            return
        th._foreach_lerp_(self._target, self._online, self._tau)
        if self._target_statistics:
            th._foreach_copy_(self._target_statistics, self._online_statistics)
