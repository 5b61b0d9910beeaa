"""Warning of an evaluation that does not end: of an agent that stands still where nothing limits its time."""

import warnings

import numpy as np

# Steps of one episode. No time limit of an environment that Gymnasium registers is longer: Atari's is 27,000.
ENDLESS = 30_000


class EpisodeLengths:
    """Counts the steps of the episodes that a policy is asked to act in, and warns of one that seems endless.

    :meth:`see` is told of each action. Who evaluates an agent says when episodes begin, as ``evaluate_policy`` does.
    """

    def __init__(self) -> None:
        self._steps = np.zeros(0, np.int64)

    def see(self, episode_start: np.ndarray | None) -> None:
        """Count one step.

        :param episode_start: (n_envs,), True where an episode begins; None if that is unknown, which counts nothing
        """
        if episode_start is None:
            return
        is_start = np.asarray(episode_start, dtype=bool)
        if is_start.shape != self._steps.shape:
            self._steps = np.zeros(is_start.shape, np.int64)
        self._steps = np.where(is_start, 1, self._steps + 1)
        if (self._steps == ENDLESS).any():
            warnings.warn(
                f"An episode has lasted {ENDLESS:,} steps of the deterministic agent, and is not over. If nothing "
                "limits its time, an evaluation waits for ever for an agent that stands still. Limit it: "
                "gymnasium.make(id, max_episode_steps=500), gymnasium's `TimeLimit`, or in the zoo "
                "`--eval-env-kwargs max_episode_steps:500`",
                stacklevel=4,
            )
