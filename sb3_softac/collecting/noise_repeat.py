"""Exploration noise that is held for several steps, so that an agent moves on in one direction.   arXiv:2604.04539"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch as th

# P(n) is proportional to n to the power of this.
EXPONENT = -2.0


def repeat_probabilities(n_max: int) -> np.ndarray:
    """Probabilities of holding a draw for n = 1, ..., n_max steps: ``P(n) ~ n^-2``.   arXiv:2604.04539

    :param n_max: largest number of steps
    :return: (n_max,)
    """
    weights = np.arange(1, n_max + 1) ** EXPONENT
    return weights / weights.sum()


class NoiseRepeat:
    """Repeats the random numbers of an actor: those of one step are those of the next ones, too.

    It puts the generator of PyTorch back to where it was at the first of these steps. So it suits every actor: the
    noise of a Gaussian, the component of a mixture, the ids of discrete actions. All environments hold their draws for
    as many steps.

    :param n_max: largest number of steps
    :param device: on which the actor draws
    """

    def __init__(self, n_max: int, device: th.device) -> None:
        self._probabilities = repeat_probabilities(n_max)
        self._device = device
        self._left = 0
        self._held = th.empty(0, dtype=th.uint8)

    @contextmanager
    def draws(self) -> Iterator[None]:
        """Context of one step, in which the actor draws."""
        now = self._read()
        is_new = self._left == 0
        if is_new:
            n_steps = np.random.choice(len(self._probabilities), p=self._probabilities)  # noqa: NPY002  # seeded by SB3
            self._left, self._held = int(n_steps) + 1, now
        else:
            self._write(self._held)
        self._left -= 1
        try:
            yield
        finally:
            if not is_new:  # else the generator goes on, so that the next new draw is another one
                self._write(now)

    def _read(self) -> th.Tensor:
        return th.cuda.get_rng_state(self._device) if self._device.type == "cuda" else th.random.get_rng_state()

    def _write(self, state: th.Tensor) -> None:
        if self._device.type == "cuda":
            th.cuda.set_rng_state(state, self._device)
        else:
            th.random.set_rng_state(state)

    def state(self) -> dict[str, Any]:
        """Steps that the present draw is still held for, and where it begins; :meth:`restore` takes it."""
        return {"left": self._left, "held": self._held.cpu().numpy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state` returned.

        :param state: of an agent on the same kind of device
        """
        self._left, self._held = state["left"], th.from_numpy(np.array(state["held"]))
