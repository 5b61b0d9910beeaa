"""Studies that several workers share: total, trials of workers that died, storages that cannot be used."""

import threading
import time
from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState

from sb3_softac.zoo import search
from sb3_softac.zoo.search import storages
from sb3_softac.zoo.search.study import NOT_RUN, SharedStudy

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning"),
]


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setenv(storages.BEAT, "1")
    monkeypatch.setattr(storages, "MISSING", 2)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


@pytest.fixture(params=["sqlite", "journal"])
def url(request, tmp_path):
    return f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else f"{tmp_path}/study.log"


def study_of(url: str, total: int | None) -> SharedStudy:
    """A study as a worker of the zoo makes it."""
    return search._make(url, total, optuna.create_study, None, study_name="shared", load_if_exists=True)


def objective(trial: optuna.Trial) -> float:
    time.sleep(0.05)
    return trial.suggest_float("x", 0.0, 1.0)


def states_of(study: optuna.Study) -> Counter:
    return Counter(trial.state for trial in study.get_trials(deepcopy=False))


def test_workers_together_run_the_total_and_no_more(url):
    studies = [study_of(url, 7) for _ in range(3)]
    workers = [threading.Thread(target=each.optimize, args=(objective,)) for each in studies]
    for each in workers:
        each.start()
    for each in workers:
        each.join(timeout=60)
    states = states_of(studies[0])
    assert states[TrialState.COMPLETE] == 7
    not_run = [trial for trial in studies[0].get_trials() if trial.state == TrialState.FAIL]
    assert all(NOT_RUN in trial.user_attrs and not trial.params for trial in not_run)
    assert set(states) <= {TrialState.COMPLETE, TrialState.FAIL}


def test_the_trial_of_a_worker_that_died_is_run_again_with_its_hyperparameters(url, capsys):
    dead = study_of(url, 2)
    x = dead.ask().suggest_float("x", 0.0, 1.0)  # takes a trial, and says nothing from then on
    worker = study_of(url, 2)
    worker.optimize(objective)
    assert "Waiting, to run one again if its worker dies" in capsys.readouterr().out
    assert states_of(worker) == {TrialState.COMPLETE: 2, TrialState.FAIL: 1}
    (again,) = [trial for trial in worker.get_trials() if trial.system_attrs.get("failed_trial") == 0]
    assert (again.state, again.params) == (TrialState.COMPLETE, {"x": x})


def test_a_long_trial_is_not_taken_for_dead(url):
    slow = threading.Thread(target=study_of(url, 2).optimize, args=(lambda trial: time.sleep(4) or 1.0,))
    slow.start()
    other = study_of(url, 2)
    other.optimize(objective)
    slow.join(timeout=60)
    assert states_of(other) == {TrialState.COMPLETE: 2}


def test_without_a_total_each_worker_runs_its_own_number(url):
    study_of(url, None).optimize(objective, n_trials=2)
    again = study_of(url, None)
    again.optimize(objective, n_trials=1)
    assert states_of(again) == {TrialState.COMPLETE: 3}


def test_the_zoo_gets_a_study_with_heartbeats_and_its_own_options_back(url):
    class Manager:
        storage, max_total_trials = url, 3

    seen = []

    def original(self):
        study = optuna.create_study(storage="another", study_name="shared", direction="maximize", load_if_exists=True)
        seen.append((study.total, study._storage.get_heartbeat_interval(), self.max_total_trials, study.direction.name))

    before = optuna.create_study
    search.shared(original)(Manager())
    assert seen == [(3, 1, None, "MAXIMIZE")]
    assert optuna.create_study is before
    assert Manager.max_total_trials == 3


def test_a_search_without_a_storage_is_the_zoos_own():
    class Manager:
        storage, max_total_trials = None, 3

    seen = []
    search.shared(lambda self: seen.append((self.max_total_trials, optuna.create_study)))(Manager())
    assert seen == [(3, optuna.create_study)]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", r"URL of a database.*ends in \.log; got 'nonsense'"),
        ("nodatabase://user:secret@host/x", r"nodatabase://user:\*\*\*@host/x names a database or a driver"),
        ("sqlite:////no/such/folder/x.db", "unable to open database file"),
        ("/proc/no/x.log", "The storage /proc/no/x.log cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_used_is_named(url, told):
    with pytest.raises(ValueError, match=told):
        storages.open_storage(url)


def test_a_missing_driver_names_the_extra(monkeypatch):
    def without_driver(url):
        raise ImportError("No module named 'psycopg'")

    monkeypatch.setattr(storages, "BeatingDatabase", without_driver)
    with pytest.raises(ValueError, match=r"driver for postgresql://user:\*\*\*@host/x .*sb3_softac\[search\]"):
        storages.open_storage("postgresql://user:secret@host/x")
    with pytest.raises(SystemExit, match="error: The driver"):
        study_of("postgresql://user:secret@host/x", None)


def test_the_driver_of_the_extra_is_named_where_the_url_names_none(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert storages.with_driver("postgresql://user@host/x") == "postgresql+psycopg://user@host/x"
    others = ["postgresql+psycopg2://host/x", "mysql://host/x", "logs/study.log"]
    assert [storages.with_driver(other) for other in others] == others
    given = []
    load = search.loaded(lambda self, storage, name, trial_id: given.append((storage, name, trial_id)))
    load(None, "postgresql://host/x", "name", trial_id=3)
    assert given == [("postgresql+psycopg://host/x", "name", 3)]


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "often"])
def test_a_bad_interval_of_the_heartbeats_is_refused(given, monkeypatch):
    monkeypatch.setenv(storages.BEAT, given)
    with pytest.raises(ValueError, match=f"whole number of seconds, at least 1, got '{given}'"):
        storages.seconds_between_beats()
