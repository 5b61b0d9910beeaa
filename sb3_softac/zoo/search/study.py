"""Study of Optuna with several workers and a total of trials. This module imports optuna: import it late."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from sb3_softac.zoo.search.storages import seconds_between_beats

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
#: states of the trials that the total is of. A failed trial is replaced by another one.
COUNTED = (*ENDED, TrialState.RUNNING, TrialState.WAITING)


#: attribute of a trial that was taken and not run, with the reason
NOT_RUN = "not_run"


class BeyondTotalError(Exception):
    """Trial that was taken while another worker took the last one."""


class SharedStudy(optuna.Study):
    """Study whose workers together run as many trials as were asked for, and those of a worker that died again.

    :param study_name: of a study that exists
    :param storage: with heartbeats
    :param sampler: of hyperparameters
    :param pruner: of trials
    :param total: number of trials of all workers; None if each runs a number of its own
    """

    def __init__(
        self,
        study_name: str,
        storage: optuna.storages.BaseStorage,
        sampler: optuna.samplers.BaseSampler,
        pruner: optuna.pruners.BasePruner,
        total: int | None = None,
    ) -> None:
        super().__init__(study_name, storage, sampler, pruner)
        self.total = total

    def optimize(self, func: Callable[[Trial], Any], *args: Any, **kwargs: Any) -> None:
        """Run trials; with a total, until it is reached: the last worker waits for those that others still run.

        :param func: the objective
        :param args: see :meth:`optuna.Study.optimize`; with a total, all are given by name
        :param kwargs: the others; ``n_trials`` is not read with a total
        """
        if self.total is None:
            super().optimize(func, *args, **kwargs)
            return
        told = False
        while (left := self._left()) is not None:
            if left > 0:
                at_once = 1 if kwargs.get("n_jobs", 1) == 1 else left
                ours = {"n_trials": at_once, "catch": (BeyondTotalError,)}
                super().optimize(self._within_total(func), *args, **kwargs | ours)
                continue
            if not told:
                print("Every trial is taken. Waiting, to run one again if its worker dies; Ctrl-C ends this worker.")
                told = True
            time.sleep(min(seconds_between_beats(), 5))

    def _left(self) -> int | None:
        """Number of trials that no worker runs; None if all have ended."""
        assert self.total is not None
        _fail_stale_trials(self)
        states = Counter(trial.state for trial in self.get_trials(deepcopy=False, states=COUNTED))
        ended = sum(states[state] for state in ENDED)
        return None if ended >= self.total else max(self.total - ended - states[TrialState.RUNNING], 0)

    def _within_total(self, func: Callable[[Trial], Any]) -> Callable[[Trial], Any]:
        def objective(trial: Trial) -> Any:
            before = [other for other in self.get_trials(deepcopy=False, states=COUNTED) if other.number < trial.number]
            if len(before) >= (self.total or 0):
                self.stop()
                trial.set_user_attr(NOT_RUN, f"the study has its {self.total} trials")
                raise BeyondTotalError(f"Not run: the study has its {self.total} trials.")
            return func(trial)

        return objective


def _fail_stale_trials(study: optuna.Study) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
