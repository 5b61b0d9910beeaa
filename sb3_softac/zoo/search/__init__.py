"""Searches of rl_zoo3 (``-optimize``) with several workers: no trial is lost, and none is run beyond the total."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any


def shared(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """Search as rl_zoo3 does, with a storage and a study of this package where workers share one.

    :param original: ``ExperimentManager.hyperparameters_optimization``
    """

    def hyperparameters_optimization(self: Any) -> None:
        if self.storage is None:
            return original(self)
        # rl_zoo3 would start trials as long as fewer than the total are known, at which two workers may look at once.
        total, self.max_total_trials = self.max_total_trials, None
        try:
            with _studies_made_by(functools.partial(_make, self.storage, total)):
                return original(self)
        finally:
            self.max_total_trials = total

    return hyperparameters_optimization


def loaded(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Hyperparameters of a trial (``--trial-id``), from a URL that may leave out the driver.

    :param original: ``ExperimentManager.load_trial``
    """

    def load_trial(self: Any, storage: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        from sb3_softac.zoo.search.storages import with_driver

        return original(self, with_driver(storage), *args, **kwargs)

    return load_trial


@contextlib.contextmanager
def _studies_made_by(make: Callable[..., Any]) -> Iterator[None]:
    """Let ``optuna.create_study``, which rl_zoo3 calls for itself, be another function."""
    import optuna

    original = optuna.create_study
    optuna.create_study = functools.partial(make, original)
    try:
        yield
    finally:
        optuna.create_study = original


def _make(url: str, total: int | None, create: Callable[..., Any], storage: Any, **kwargs: Any) -> Any:
    """Study in a storage with heartbeats; rl_zoo3's own storage, which has none, is left."""
    import warnings

    from optuna.exceptions import ExperimentalWarning

    from sb3_softac.zoo.search.storages import open_storage
    from sb3_softac.zoo.search.study import SharedStudy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            opened = open_storage(url)
        except ValueError as error:
            raise SystemExit(f"error: {error}.") from None
    made = create(storage=opened, **kwargs)
    return SharedStudy(made.study_name, opened, made.sampler, made.pruner, total=total)
