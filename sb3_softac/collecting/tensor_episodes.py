"""Returns and lengths of episodes, summed on the device and read now and then.

Shapes: n_envs environments.
"""

import warnings
from typing import Any

import torch as th

from sb3_softac.collecting.tensor_steps import TensorStep

#: steps of all environments between two readings: each waits for the device
STEPS_BETWEEN_READINGS = 100
RETURN, LENGTH, SUCCESS = range(3)
NO_FINAL_OBS = (
    "The environment has reached a time limit (`truncated`), but gave no last observation (`final_obs`): the agent "
    "learns that nothing comes after it, as at a terminal state. Return `final_obs` from `step_tensors()`, where the "
    "simulator knows it"
)


class TensorEpisodes:
    """Sums of the episodes of all environments.

    :param n_envs: number of environments
    :param device: of their tensors
    :param n_steps: steps between two readings
    """

    def __init__(self, n_envs: int, device: th.device | str, n_steps: int = STEPS_BETWEEN_READINGS) -> None:
        #: (2, n_envs): returns and lengths of the episodes that go on
        self.sums = th.zeros(2, n_envs, device=device)
        # Of the episodes that ended in a step since the last reading; NaN for environments whose goes on.
        self._ended = th.empty(n_steps, 3, n_envs, device=device)
        self._n_cut = th.zeros((), dtype=th.long, device=device)  # time limits without a last observation
        self._has_warned = False
        self.begin()

    def begin(self, is_reset: bool = True) -> None:
        """Begin, and forget what was not read.

        :param is_reset: False: the episodes began earlier, and nobody has summed them: these are left out
        """
        self.sums.fill_(0.0 if is_reset else th.nan)
        self.n_steps = 0  #: steps since the last reading

    def is_full(self) -> bool:
        """Whether :meth:`read` has to be called before the next step."""
        return self.n_steps == len(self._ended)

    def add(self, step: TensorStep, ended: th.Tensor) -> None:
        """Count a step.

        :param step: of all environments
        :param ended: (n_envs,) bool, True where an episode ended
        """
        self.sums[RETURN] += step.rewards
        self.sums[LENGTH] += 1.0
        row = self._ended[self.n_steps]
        row[:SUCCESS] = self.sums
        row[SUCCESS] = th.nan if step.successes is None else step.successes
        row.masked_fill_(~ended, th.nan)
        self.sums.masked_fill_(ended, 0.0)
        cuts = step.cuts()
        if cuts is not None:
            self._n_cut += cuts.sum()
        self.n_steps += 1

    def read(self) -> list[dict[str, Any]]:
        """Episodes that ended since the last call, in their order, as ``infos`` of Stable-Baselines3.

        Warns once of time limits without a last observation.
        """
        if not self._has_warned and self._n_cut.item() > 0:
            self._has_warned = True
            warnings.warn(NO_FINAL_OBS, stacklevel=3)
        ended = self._ended[: self.n_steps].movedim(1, 2).flatten(0, 1).cpu()
        self.n_steps = 0
        ended = ended[~ended[:, LENGTH].isnan()]
        return [_info(*numbers) for numbers in ended.tolist()]


def _info(episode_return: float, length: float, success: float) -> dict[str, Any]:
    info: dict[str, Any] = {"episode": {"r": episode_return, "l": int(length)}}
    return info | ({"is_success": success > 0.0} if success == success else {})
