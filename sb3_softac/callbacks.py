"""Callbacks for training that Stable-Baselines3 lacks."""

import math
import os
import pathlib
import signal
import threading
import time
import warnings
from types import FrameType
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from sb3_softac.settings.parsing import POSITIVE, number, whole_number


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


class CheckpointCallback(BaseCallback):
    """Save checkpoints while an agent learns, from which ``SoftAC.load_checkpoint(folder, env)`` goes on.

    The run is saved between two rollouts, where nothing is half-done. SIGTERM and Ctrl-C end it there with a
    checkpoint, as a KeyboardInterrupt; a second one ends it at once.

    :param every: environment steps between checkpoints
    :param folder: of the checkpoints of this run
    :param keep: checkpoints to keep in the folder; None for all
    :param on_signal: save a checkpoint when the process is asked to end
    :param verbose: 1 prints where a checkpoint was saved
    :raises ValueError: ``every`` or ``keep`` below 1; as training starts, a folder with checkpoints of a run that is
        further
    """

    def __init__(
        self,
        every: int,
        folder: str | os.PathLike[str],
        keep: int | None = 1,
        on_signal: bool = True,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        self.every = whole_number("every", every)
        self.folder = pathlib.Path(folder)
        self.keep = None if keep is None else whole_number("keep", keep)
        self.on_signal = on_signal
        self._last_step = 0
        self._is_asked_to_end = False
        self._handlers: dict[int, Any] = {}

    def _init_callback(self) -> None:
        if not hasattr(self.model, "save_checkpoint"):
            raise ValueError(f"`CheckpointCallback` saves a SoftAC, but the model is a {type(self.model).__name__}")

    def _on_training_start(self) -> None:
        self.model.check_checkpoint_folder(self.folder)  # type: ignore[attr-defined]
        self._last_step = self.num_timesteps
        self._is_asked_to_end = False
        self.model._between_rollouts.append(self._between_rollouts)  # type: ignore[attr-defined]
        if self.on_signal and threading.current_thread() is threading.main_thread():
            self._handlers = {each: signal.signal(each, self._ask_to_end) for each in (signal.SIGTERM, signal.SIGINT)}

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if self._between_rollouts in self.model._between_rollouts:  # type: ignore[attr-defined]
            self.model._between_rollouts.remove(self._between_rollouts)  # type: ignore[attr-defined]
        for each, handler in self._handlers.items():
            signal.signal(each, handler)
        self._handlers = {}
        # After an error there are none: what was learnt since the last checkpoint may be the trouble.
        if self.model._last_obs is not None:
            self.save()

    def _ask_to_end(self, number: int, frame: FrameType | None) -> None:
        if self._is_asked_to_end:
            raise KeyboardInterrupt
        self._is_asked_to_end = True

    def _between_rollouts(self) -> None:
        if self._is_asked_to_end:
            self.save()
            self._on_training_end()
            raise KeyboardInterrupt
        if self.model.num_timesteps - self._last_step >= self.every:
            self.save()

    def save(self) -> None:
        """Save a checkpoint now, unless there is one of this step."""
        step = self.model.num_timesteps
        if step == self._last_step:
            return
        self._last_step = step
        saved = self.model.save_checkpoint(self.folder, self.keep)  # type: ignore[attr-defined]
        if not saved.is_exact:
            warnings.warn(
                f"A run that goes on from the checkpoints in {self.folder} begins with a new episode, as of the "
                f"environment it cannot keep {', '.join(saved.reasons)}; wrap each environment in "
                "`sb3_softac.Resumable`",
                stacklevel=2,
            )
        if self.verbose >= 1:
            print(f"Saved a checkpoint at {step} steps: {saved.path}")


class AddDemonstrations(BaseCallback):
    """Call ``model.add_demonstrations()`` as training begins, where the model is made by another program, as the zoo.

    A run that goes on from a checkpoint has its demonstrations already, and keeps those.

    :param source: see :func:`sb3_softac.offline.read`: a path, say
    :param ratio: of the demonstrations in a batch, above 0 and at most 1
    :param clip_actions: move actions that are out of bounds to the bounds
    :param allow_pickle: as for ``SoftAC.load_replay_buffer()``
    :param verbose: 1 prints how many there are
    """

    def __init__(
        self,
        source: Any,
        ratio: float = 0.5,
        clip_actions: bool = False,
        allow_pickle: bool | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        self.source = source
        self.arguments: dict[str, Any] = {"ratio": ratio, "clip_actions": clip_actions, "allow_pickle": allow_pickle}

    def _init_callback(self) -> None:
        model: Any = self.model
        if not hasattr(model, "add_demonstrations"):
            raise ValueError(f"`AddDemonstrations` needs a SoftAC, but the model is a {type(model).__name__}")
        if model.demonstrations is None:
            n_steps = model.add_demonstrations(self.source, **self.arguments)
            if self.verbose >= 1:
                print(f"{n_steps:,} steps of demonstrations")

    def _on_step(self) -> bool:
        return True
