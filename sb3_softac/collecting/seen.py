"""Observations that an agent has acted on, for the statistics that normalise them."""

from typing import Any

import numpy as np
import torch as th

from sb3_softac.networks.normalizer import ObservationNormalizer


class SeenObservations:
    """Observations of a rollout, which the normaliser takes in at its end.

    The policy of a rollout then stays the same from its first step to its last. Each observation that is acted on
    counts once, in random steps too. The last one of an episode, which nobody acts on, does not count.

    :param normalizer: of the policy; None: observations are not kept
    """

    def __init__(self, normalizer: ObservationNormalizer | None) -> None:
        self._normalizer = normalizer
        self._new: list[dict[str | None, Any]] = []

    def add(self, observation: Any) -> None:
        """Keep the observations of one step.

        :param observation: (n_envs, ...), array or tensor, or a dict of such
        """
        if self._normalizer is None:
            return
        leaves = observation if isinstance(observation, dict) else {None: observation}
        # Copies, since a simulator may write a later observation into the same memory.
        self._new.append({key: _copied(leaves[key]) for key in self._normalizer.keys})

    def take_in(self) -> None:
        """Let the normaliser take in what is kept."""
        if self._normalizer is None or not self._new:
            return
        rows = {key: _joined([each[key] for each in self._new]) for key in self._normalizer.keys}
        self._new = []
        # Those of a device are looked at when its episodes are read.
        self._normalizer.update(rows, are_finite=any(isinstance(each, th.Tensor) for each in rows.values()))


def _copied(values: Any) -> Any:
    return values.clone() if isinstance(values, th.Tensor) else np.array(values)


def _joined(rows: list[Any]) -> Any:
    return th.cat(rows) if isinstance(rows[0], th.Tensor) else np.concatenate(rows)
