"""Steps of episodes as arrays, and data sets of them.

Shapes: T steps of a block. A block holds whole episodes or pieces of them, in the order of time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

#: arrays of observations, by the key in a Dict; without a Dict, the only key is None
Leaves = dict[str | None, np.ndarray]


class Steps(NamedTuple):
    """T steps, one after another; where the next observation is not the following observation, an episode ended.

    :param observations: (T, ...), by the key in a Dict, or None
    :param next_observations: (T, ...), in the same way
    :param actions: (T, ...), as the environment takes them
    :param rewards: (T,)
    :param terminations: (T,), True where a terminal state was reached
    :param truncations: (T,), True where an episode was broken off: by a time limit, or as the data ends there. The
        value of the next observation counts
    """

    observations: Leaves
    next_observations: Leaves
    actions: np.ndarray
    rewards: np.ndarray
    terminations: np.ndarray
    truncations: np.ndarray

    @property
    def n_steps(self) -> int:
        """Number of steps, T."""
        return len(self.rewards)

    def part(self, start: int, stop: int) -> "Steps":
        """Some of the steps, as views; the last one is the end of an episode.

        :param start: first step
        :param stop: step after the last one
        """
        rows = slice(start, stop)
        observations, next_observations = ({key: values[rows] for key, values in each.items()} for each in self[:2])
        return _broken_off(Steps(observations, next_observations, *(each[rows] for each in self[2:])))

    def episodes(self) -> Iterator["Steps"]:
        """Each episode, or piece of one, as views."""
        stops = np.flatnonzero(self.terminations | self.truncations) + 1
        for start, stop in zip([0, *stops[:-1].tolist()], stops.tolist(), strict=True):
            yield self.part(start, stop)


class Data:
    """A data set: steps in blocks, which are read again at each iteration, and their spaces.

    :param name: as error messages have it
    :param blocks: returns the blocks from the first one on
    :param observation_space: None if the data does not say
    :param action_space: None if the data does not say
    """

    def __init__(
        self,
        name: str,
        blocks: Callable[[], Iterable[Steps]],
        observation_space: spaces.Space | None = None,
        action_space: spaces.Space | None = None,
    ) -> None:
        self.name = name
        self.observation_space = observation_space
        self.action_space = action_space
        self._blocks = blocks

    def __iter__(self) -> Iterator[Steps]:
        return iter(self._blocks())

    def __repr__(self) -> str:
        return f"Data({self.name!r}, {self.observation_space}, {self.action_space})"

    @property
    def n_steps(self) -> int:
        """Number of steps of all blocks."""
        return sum(block.n_steps for block in self)

    def episodes(self) -> Iterator[Steps]:
        """Each episode, or piece of one."""
        for block in self:
            yield from block.episodes()

    def returns(self) -> np.ndarray:
        """Sum of the rewards of each episode, or piece of one, without a discount."""
        return np.array([episode.rewards.sum(dtype=np.float64) for episode in self.episodes()])

    def filtered(self, keep: Callable[[Steps], bool]) -> "Data":
        """The episodes that a function says yes to, as ``lambda episode: episode.rewards.sum() > 0``.

        :param keep: of an episode: whether it stays
        """
        return Data(
            f"{self.name}, filtered",
            lambda: (episode for episode in self.episodes() if keep(episode)),
            self.observation_space,
            self.action_space,
        )

    def part(self, start: int, stop: int) -> Iterator[Steps]:
        """Blocks of some of the steps.

        :param start: first step
        :param stop: step after the last one
        """
        begin = 0
        for block in self:
            first, last = max(start - begin, 0), min(stop - begin, block.n_steps)
            if first < last:
                yield block.part(first, last)
            begin += block.n_steps
            if begin >= stop:
                return


def make_steps(arrays: Mapping[str, Any]) -> Steps:
    """A block of arrays, whose ends of episodes are marked where there is a gap.

    Without next observations they are the following ones; a step that a time limit or the end of the data follows is
    then left out, as its next observation is not known. That of a terminal state does not matter.

    :param arrays: the fields of :class:`Steps`, where ``next_observations`` may be None
    """
    ends = np.asarray(arrays["terminations"], bool), np.asarray(arrays["truncations"], bool)
    # Where both are true, the state is terminal.
    steps = Steps(
        arrays["observations"],
        arrays["next_observations"] or {},
        arrays["actions"],
        arrays["rewards"],
        ends[0],
        ends[1] & ~ends[0],
    )
    return _broken_off(_with_gaps(steps) if steps.next_observations else _with_next(steps))


def _with_next(steps: Steps) -> Steps:
    """The steps whose next observation is known."""
    n_steps = steps.n_steps
    following = np.minimum(np.arange(1, n_steps + 1), n_steps - 1)
    following[steps.terminations] = np.flatnonzero(steps.terminations)
    is_known = ~steps.truncations
    is_known[-1:] &= steps.terminations[-1:]
    before_gap = np.append(~is_known[1:], False) & ~steps.terminations  # its next observation is known, but left out
    next_observations = {key: values[following][is_known] for key, values in steps.observations.items()}
    observations = {key: values[is_known] for key, values in steps.observations.items()}
    kept = [each[is_known] for each in (*steps[2:5], before_gap & ~steps.terminations)]
    return Steps(observations, next_observations, *kept)


def _with_gaps(steps: Steps) -> Steps:
    """Steps with an end wherever the following observation is another one than the next one."""
    gap = np.zeros(steps.n_steps, bool)
    for key, values in steps.observations.items():
        after, following = steps.next_observations.get(key, values)[:-1], values[1:]
        if after.shape == following.shape and after.size > 0:  # else the check of the shapes says so
            differ = (after != following) & ~((after != after) & (following != following))
            gap[:-1] |= differ.reshape(len(differ), -1).any(axis=1)
    return steps._replace(truncations=steps.truncations | (gap & ~steps.terminations))


def _broken_off(steps: Steps) -> Steps:
    """Steps of which the last one is the end of an episode."""
    if steps.n_steps == 0 or steps.terminations[-1] or steps.truncations[-1]:
        return steps
    truncations = steps.truncations.copy()
    truncations[-1] = True
    return steps._replace(truncations=truncations)
