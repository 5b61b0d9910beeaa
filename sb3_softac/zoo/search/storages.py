"""Storages of a search that several workers share: each notices when another one has died, and its trial is run again.

A worker says every few seconds that its trial is alive, the heartbeat. A trial without one for some time has failed,
and the next worker that is free takes it up with the same hyperparameters. Optuna has this for databases; for its
journal files it is added here. This module imports optuna: import it late.
"""

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url

#: environment variable with the seconds between two heartbeats
BEAT = "SB3_SOFTAC_HEARTBEAT"
SECONDS = 30
#: heartbeats that may be missing
MISSING = 4
LAST_BEAT = "sb3_softac:heartbeat"
RETRIES = 3
ATTEMPTS = 5  # to open a new database
EXTRA = "pip install 'sb3_softac[search]'"
try:  # its name since Optuna 4.9
    from optuna.storages import RetryHeartbeatStaleTrialCallback as Retry
except ImportError:
    from optuna.storages import RetryFailedTrialCallback as Retry


def seconds_between_beats() -> int:
    """Seconds between two heartbeats: 30, or what the environment variable ``SB3_SOFTAC_HEARTBEAT`` says.

    :raises ValueError: it is no whole number of at least 1
    """
    given = os.environ.get(BEAT, str(SECONDS))
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"{BEAT} must be a whole number of seconds, at least 1, got {given!r}")
    return int(given)


def with_driver(url: str) -> str:
    """A URL that names the driver of the extra ``search``, where it names none: ``postgresql+psycopg://...``."""
    scheme, separator, place = url.partition("://")
    names_none = scheme in {"postgresql", "postgres"} and importlib.util.find_spec("psycopg") is not None
    return f"postgresql+psycopg://{place}" if names_none and separator else url


def open_storage(url: str) -> BaseStorage:
    """Storage with heartbeats.

    :param url: of a database that SQLAlchemy knows, such as ``postgresql://user@host/database``, or the path of a
        journal file of Optuna, which ends in ``.log``
    :raises ValueError: there is no such server or database, it refuses the user, the driver is missing, ...
    """
    if url.endswith(".log"):
        return _open_journal(Path(url))
    shown = _without_password(url)
    try:
        return _open_database(with_driver(url))
    except ImportError as error:
        raise ValueError(f"The driver for {shown} is missing ({error}). For PostgreSQL: {EXTRA}") from None
    except sqlalchemy.exc.NoSuchModuleError:
        raise ValueError(f"{shown} names a database or a driver that SQLAlchemy does not have") from None
    except RuntimeError as error:  # tables of another version of Optuna
        raise ValueError(f"The storage {shown} cannot be used: {error}") from None
    except sqlalchemy.exc.DBAPIError as error:
        raise ValueError(
            f"The storage {shown} cannot be used: {' '.join(str(error.orig).split())}. Is the server running, and are "
            "host, port, user, password and database right? The database itself must exist (`createdb NAME`)"
        ) from None


def _open_database(url: str) -> BaseStorage:
    """A database, whose tables another worker may be making at the same moment."""
    for _ in range(ATTEMPTS):
        try:
            return BeatingDatabase(url)
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError, RuntimeError):
            time.sleep(1.0)
    return BeatingDatabase(url)


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise ValueError(
            f"--storage takes the URL of a database, such as postgresql://user@host/database, or the path of a file "
            f"that ends in .log; got {url!r}"
        ) from None


def _open_journal(path: Path) -> BaseStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return BeatingJournal(str(path))
    except OSError as error:
        raise ValueError(f"The storage {path} cannot be opened: {error.strerror}") from None


class BeatingDatabase(RDBStorage):
    """Database with Optuna's heartbeats; a trial has its first one as soon as it is taken.

    :param url: of the database
    """

    def __init__(self, url: str) -> None:
        beat = seconds_between_beats()
        super().__init__(
            url,
            engine_kwargs={"pool_pre_ping": True},  # trials are long, and servers close connections that are idle
            heartbeat_interval=beat,
            grace_period=MISSING * beat,
            **{_CALLBACK: Retry(RETRIES)},  # type: ignore[arg-type]
        )

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        trial = super()._create_new_trial(study_id, template_trial)
        if trial.state == TrialState.RUNNING:
            self.record_heartbeat(trial._trial_id)
        return trial

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        changed = super().set_trial_state_values(trial_id, state, values)
        if changed and state == TrialState.RUNNING:
            self.record_heartbeat(trial_id)
        return changed

    def record_heartbeat(self, trial_id: int) -> None:
        # A server that restarts must not end the thread of the heartbeats: the trial goes on.
        with contextlib.suppress(sqlalchemy.exc.DBAPIError, optuna.exceptions.StorageInternalError):
            super().record_heartbeat(trial_id)


_CALLBACK = (
    "heartbeat_stale_trial_callback"
    if "heartbeat_stale_trial_callback" in RDBStorage.__init__.__annotations__
    else "failed_trial_callback"
)


class BeatingJournal(JournalStorage, BaseHeartbeat):
    """Journal file with heartbeats, as attributes of the trials. Clocks of its workers may differ by a minute.

    :param path: of the file; it is created
    """

    def __init__(self, path: str) -> None:
        self._beat, self._retry = seconds_between_beats(), Retry(RETRIES)
        super().__init__(JournalFileBackend(path))

    def record_heartbeat(self, trial_id: int) -> None:
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, RuntimeError):
            self.set_trial_system_attr(trial_id, LAST_BEAT, time.time())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        return [trial._trial_id for trial in running if time.time() - _last_news(trial) > MISSING * self._beat]

    def get_heartbeat_interval(self) -> int:
        return self._beat

    def get_heartbeat_stale_trial_callback(self) -> Callable[[optuna.Study, FrozenTrial], None]:
        return self._retry

    get_failed_trial_callback = get_heartbeat_stale_trial_callback  # its name before Optuna 4.9


def _last_news(trial: FrozenTrial) -> float:
    """Seconds since 1970. A trial that is run again has the heartbeats of the first time, too."""
    beat: Any = trial.system_attrs.get(LAST_BEAT, 0.0)
    return max(beat, trial.datetime_start.timestamp() if trial.datetime_start else 0.0)
