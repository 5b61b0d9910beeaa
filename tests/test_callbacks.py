"""Training that is bounded by time."""

import time

import pytest

from sb3_softac import SoftAC
from sb3_softac.callbacks import StopTrainingOnMaxTime


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by one second each time it is read."""
    seconds = iter(range(1_000_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))


def learn(model: SoftAC, callback: StopTrainingOnMaxTime) -> int:
    """Steps until training stopped, of 100."""
    return model.learn(100, callback=callback).num_timesteps


def test_training_stops_at_the_deadline(clock, capsys):
    model = SoftAC("MlpPolicy", "Pendulum-v1", learning_starts=1000, buffer_size=1000)
    callback = StopTrainingOnMaxTime(30, verbose=1)
    assert learn(model, callback) == 30
    assert "after 30 seconds, at 30 steps" in capsys.readouterr().out


def test_each_call_of_learn_has_its_own_time(clock):
    model = SoftAC("MlpPolicy", "Pendulum-v1", learning_starts=1000, buffer_size=1000)
    callback = StopTrainingOnMaxTime(20)
    assert [learn(model, callback), learn(model, callback)] == [20, 20]


def test_training_that_is_quick_enough_is_left_alone():
    model = SoftAC("MlpPolicy", "Pendulum-v1", learning_starts=1000, buffer_size=1000)
    assert learn(model, StopTrainingOnMaxTime(3600)) == 100


@pytest.mark.parametrize("given", [0, -1, float("nan"), float("inf"), "soon", None, True])
def test_what_is_no_time_is_refused(given):
    with pytest.raises(ValueError, match="`max_seconds` must be a number above 0"):
        StopTrainingOnMaxTime(given)


def test_the_zoo_builds_it_from_a_hyperparameter_file():
    utils = pytest.importorskip("rl_zoo3.utils")
    entry = {"callback": [{"sb3_softac.callbacks.StopTrainingOnMaxTime": {"max_seconds": 60}}]}
    (callback,) = utils.get_callback_list(entry)
    assert isinstance(callback, StopTrainingOnMaxTime)
    assert callback.max_seconds == 60
