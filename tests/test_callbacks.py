"""Training that is bounded by time, and that saves checkpoints."""

import os
import signal
import time
from pathlib import Path

import pytest
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

from sb3_softac import SoftAC
from sb3_softac.callbacks import CheckpointCallback, StopTrainingOnMaxTime
from sb3_softac.saving.checkpoint import checkpoints
from tests.helpers import SMALL, Target


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


# Checkpoints


class Ask(BaseCallback):
    """Sends a signal at a step."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__()
        self.step, self.number = step, number

    def _on_step(self) -> bool:
        if self.num_timesteps == self.step:
            os.kill(os.getpid(), self.number)
        return True


def steps_in(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("agent_")) for path in checkpoints(folder)]


def test_checkpoints_are_saved_at_their_steps_and_at_the_end(tmp_path):
    model = SoftAC("MlpPolicy", Target(truncate=True), **SMALL | {"learning_starts": 55})
    model.learn(70, CheckpointCallback(20, tmp_path, keep=None))
    assert steps_in(tmp_path) == [70, 60, 40, 20]
    model.learn(30, CheckpointCallback(20, tmp_path, keep=2), reset_num_timesteps=False)
    assert steps_in(tmp_path) == [100, 90]
    assert not model._between_rollouts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_with_a_checkpoint(number, tmp_path):
    handler = signal.getsignal(number)
    model = SoftAC("MlpPolicy", Target(), **SMALL)
    with pytest.raises(KeyboardInterrupt):
        model.learn(500, [CheckpointCallback(1000, tmp_path), Ask(33, number)])
    assert steps_in(tmp_path) == [33]
    assert signal.getsignal(number) is handler
    resumed = SoftAC.load_checkpoint(tmp_path, Target())
    assert (resumed.num_timesteps, resumed.replay_buffer.size()) == (33, 33)


class Fail(BaseCallback):
    """Raises at a step."""

    def _on_step(self) -> bool:
        if self.num_timesteps == 55:
            raise RuntimeError("broken")
        return True


def test_an_error_leaves_the_last_good_checkpoint(tmp_path):
    """The zoo ends callbacks after an error, too."""
    model, callback = SoftAC("MlpPolicy", Target(), **SMALL), CheckpointCallback(20, tmp_path)
    with pytest.raises(RuntimeError, match="broken"):
        model.learn(100, [callback, Fail()])
    callback.on_training_end()
    assert steps_in(tmp_path) == [40]
    assert not model.save_checkpoint(tmp_path).is_exact
    assert SoftAC.load_checkpoint(tmp_path, Target()).learn(10, reset_num_timesteps=False).num_timesteps == 65


def test_a_run_is_refused_in_the_folder_of_one_that_is_further(tmp_path):
    SoftAC("MlpPolicy", Target(), **SMALL).learn(60, CheckpointCallback(50, tmp_path))
    other = SoftAC("MlpPolicy", Target(), **SMALL)
    with pytest.raises(ValueError, match=r"agent_00000060.zip, a checkpoint of a run that is further"):
        other.learn(20, CheckpointCallback(10, tmp_path))
    with pytest.raises(ValueError, match=r"0 steps\. Give this run a folder of its own"):
        other.save_checkpoint(tmp_path)
    assert steps_in(tmp_path) == [60]
    assert SoftAC.load_checkpoint(tmp_path, Target()).num_timesteps == 60


def test_checkpoints_are_of_this_algorithm(tmp_path):
    with pytest.raises(ValueError, match="the model is a SAC"):
        SAC("MlpPolicy", Target(), learning_starts=5).learn(10, CheckpointCallback(5, tmp_path))
    with pytest.raises(ValueError, match="`every`"):
        CheckpointCallback(0, tmp_path)


class Opaque(Target):
    """Holds what no file can keep."""

    def __init__(self) -> None:
        super().__init__()
        self.world = object()


def test_a_run_that_will_not_go_on_exactly_says_so(tmp_path):
    with pytest.warns(UserWarning, match=r"begins with a new episode.*Opaque.world.*sb3_softac.Resumable"):
        SoftAC("MlpPolicy", Opaque(), **SMALL).learn(25, CheckpointCallback(20, tmp_path))
