"""Size of the discounted returns while an agent collects them, by which rewards are divided when a batch is sampled.

Shapes: n_envs environments.
"""

import math

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.running_mean_std import RunningMeanStd

from sb3_softac.buffers.storage import to_numpy

EPSILON = 1e-8


def reward_divisor(variance: float, largest: float, bound: float | None = None) -> float:
    """Number that rewards are divided by: ``max(sqrt(Var[G] + eps), max|G| / bound)``.   arXiv:2502.15280

    The first term gives returns a standard deviation of about 1. The second keeps the largest of them at ``bound``.

    :param variance: Var[G], of the running discounted returns
    :param largest: max|G|, the largest size of any of them
    :param bound: largest size of a return after the division; None: only the first term
    :return: above 0
    """
    deviation = math.sqrt(variance + EPSILON)
    return deviation if bound is None else max(deviation, largest / bound)


class RunningReturns:
    """Running discounted return of each environment, ``G <- gamma G + r``, and the statistics of all of them.

    G is that of one episode: it begins at 0, and ends with the episode, whose last reward it contains.

    :param n_envs: number of environments
    """

    def __init__(self, n_envs: int) -> None:
        self.statistics = RunningMeanStd(epsilon=0.0, shape=())
        self.largest = 0.0  #: max|G| so far
        self.begin(n_envs)

    def begin(self, n_envs: int) -> None:
        """Begin a new episode in each environment.

        :param n_envs: number of environments
        """
        self._running = np.zeros(n_envs)

    @property
    def is_empty(self) -> bool:
        """Whether no reward was seen."""
        return self.statistics.count == 0

    def see(self, rewards: np.ndarray, dones: np.ndarray, gamma: float) -> None:
        """Take in one step of each environment.

        :param rewards: (n_envs,)
        :param dones: (n_envs,), whether an episode ended, by a time limit too
        :param gamma: discount of one step
        """
        self._take(self._advance(rewards, dones, gamma))

    def see_buffer(self, buffer: ReplayBuffer, gamma: float) -> None:
        """Take in the steps of a replay buffer, as of episodes that begin with its first row and end with its last.

        :param buffer: of any class
        :param gamma: discount of one step
        """
        n_envs, n_rows = len(self._running), buffer.size()
        if n_rows > 0:
            self.begin(buffer.n_envs)
            rows = zip(to_numpy(buffer.rewards[:n_rows]), to_numpy(buffer.dones[:n_rows]), strict=True)
            self._take(np.concatenate([self._advance(rewards, dones, gamma) for rewards, dones in rows]))
            self.begin(n_envs)

    def _advance(self, rewards: np.ndarray, dones: np.ndarray, gamma: float) -> np.ndarray:
        """Returns with these rewards, (n_envs,); those of ended episodes then begin again."""
        returns = gamma * self._running + rewards
        self._running = np.where(dones, 0.0, returns)
        return returns

    def _take(self, returns: np.ndarray) -> None:
        self.statistics.update(returns)
        self.largest = max(self.largest, float(np.abs(returns).max()))

    def divisor(self, bound: float | None = None) -> float:
        """Number that rewards are divided by: see :func:`reward_divisor`; 1 before any reward was seen.

        :param bound: largest size of a return after the division; None for none
        """
        return 1.0 if self.is_empty else reward_divisor(float(self.statistics.var), self.largest, bound)
