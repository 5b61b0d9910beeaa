"""Callbacks for training that Stable-Baselines3 lacks."""

import math
import time

from stable_baselines3.common.callbacks import BaseCallback

from sb3_softac.settings.parsing import POSITIVE, number


class StopTrainingOnMaxTime(BaseCallback):
    """Callback that ends ``learn()`` after a given time.

    In a search over hyperparameters it limits the cost of a trial. The zoo takes it as ``callback`` in a hyperparameter
    file or after ``-params``. A trial is then judged by its last evaluation, and by minus infinity if it reached none:
    pass ``--n-evaluations`` to the zoo, which evaluates short trials at their end only. The zoo's evaluations of one
    trial start from different states, so compare the best trials in separate runs.

    :param max_seconds: wall-clock time of one call of ``learn()``, in seconds. It is checked after each step of the
        environment, so that a rollout or a block of updates is always finished
    :param verbose: 1 prints the step at which training stopped
    :raises ValueError: ``max_seconds`` is no finite number above 0
    """

    def __init__(self, max_seconds: float, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.max_seconds = number("max_seconds", max_seconds, POSITIVE)
        self._deadline = math.inf

    def _on_training_start(self) -> None:
        self._deadline = time.monotonic() + self.max_seconds

    def _on_step(self) -> bool:
        if time.monotonic() < self._deadline:
            return True
        if self.verbose >= 1:
            print(f"Stopping training after {self.max_seconds:g} seconds, at {self.num_timesteps} steps")
        return False
