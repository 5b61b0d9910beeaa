"""Callbacks go on with a run: what they have counted and found is in its checkpoints."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
)
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_softac import Resumable, SoftAC
from sb3_softac.callbacks import CheckpointCallback, StopTrainingOnMaxTime
from sb3_softac.saving import callbacks
from tests.helpers import SMALL as UNSEEDED
from tests.helpers import Target

SMALL = UNSEEDED | {"seed": 0}


class Counts(BaseCallback):
    """Counts in several ways; one attribute is what no file can keep."""

    def __init__(self, goal: int) -> None:
        super().__init__()
        self.goal = goal
        self.place = f"folder/{goal}"
        self.found: Any = None
        self.seen: list[float] = []
        self.opened = open

    def _on_step(self) -> bool:
        self.found = np.float64(self.num_timesteps)
        self.seen.append(float(self.locals["rewards"][0]))
        return True


class Tells(BaseCallback):
    """Says itself what its state is."""

    total = 0

    def _on_step(self) -> bool:
        self.total += 1
        return True

    def get_state(self) -> dict[str, int]:
        return {"total": self.total}

    def set_state(self, state: dict[str, int]) -> None:
        self.total = state["total"]


def evaluation(folder: Path, eval_env: gym.Env | None = None, **arguments: Any) -> EvalCallback:
    env = Monitor(Target() if eval_env is None else eval_env)
    env.reset(seed=7)
    arguments = {"eval_freq": 20, "n_eval_episodes": 2, "verbose": 0, "best_model_save_path": str(folder)} | arguments
    return EvalCallback(env, log_path=str(folder), **arguments)


def evaluations(folder: Path) -> dict[str, list[Any]]:
    with np.load(folder / "evaluations.npz") as file:
        return {name: file[name].tolist() for name in file}


def test_evaluations_go_on_to_the_bit(tmp_path):
    whole = evaluation(tmp_path / "whole")
    SoftAC("MlpPolicy", Target(), **SMALL).learn(110, whole)

    first = CallbackList([evaluation(tmp_path / "parts"), CheckpointCallback(50, tmp_path / "checkpoints")])
    SoftAC("MlpPolicy", Target(), **SMALL).learn(50, first)
    model = SoftAC.load_checkpoint(tmp_path / "checkpoints", Target())
    second = evaluation(tmp_path / "parts")
    model.learn(60, [StopTrainingOnMaxTime(60), second], reset_num_timesteps=False)

    assert evaluations(tmp_path / "whole") == evaluations(tmp_path / "parts")
    assert len(evaluations(tmp_path / "parts")["timesteps"]) == 5
    assert second.best_mean_reward == whole.best_mean_reward
    assert second.n_calls == whole.n_calls == 110


def test_a_worse_agent_does_not_take_the_place_of_the_best(tmp_path):
    callback = evaluation(tmp_path)
    model = SoftAC("MlpPolicy", Target(), **SMALL).learn(40, callback)
    callback.best_mean_reward = 1e9
    model.save_checkpoint(tmp_path / "checkpoints")
    best = (tmp_path / "best_model.zip").stat().st_mtime_ns
    model = SoftAC.load_checkpoint(tmp_path / "checkpoints", Target())
    model.learn(40, evaluation(tmp_path), reset_num_timesteps=False)
    assert (tmp_path / "best_model.zip").stat().st_mtime_ns == best
    model.learn(40, evaluation(tmp_path))  # another run
    assert (tmp_path / "best_model.zip").stat().st_mtime_ns > best


def test_each_callback_finds_its_own_state(tmp_path):
    stop = StopTrainingOnNoModelImprovement(10)
    made = [
        Counts(1),
        Counts(2),
        Tells(),
        EveryNTimesteps(30, Counts(3)),
        evaluation(tmp_path, callback_after_eval=stop),
    ]
    model = SoftAC("MlpPolicy", Target(), **SMALL).learn(50, made)
    model.save_checkpoint(tmp_path / "checkpoints")
    model = SoftAC.load_checkpoint(tmp_path / "checkpoints", Target())
    model.save_checkpoint(tmp_path / "checkpoints")  # nothing is lost in between

    model = SoftAC.load_checkpoint(tmp_path / "checkpoints", Target())
    again = StopTrainingOnNoModelImprovement(10)
    every, other = EveryNTimesteps(30, Counts(5)), evaluation(tmp_path, callback_after_eval=again)
    counts, more, tells = Counts(4), Counts(9), Tells()
    model.learn(1, [other, every, tells, counts, CheckpointCallback(99, tmp_path), more], reset_num_timesteps=False)
    assert (counts.seen[:-1], counts.n_calls, counts.found) == (made[0].seen, 51, 51.0)
    assert (counts.goal, counts.place) == (4, "folder/4")  # as they were given
    assert (more.seen[:-1], tells.total) == (made[1].seen, 51)
    assert (every.last_time_trigger, every.callback.seen) == (30, made[3].callback.seen)
    assert (again.n_calls, again.last_best_mean_reward) == (stop.n_calls, stop.last_best_mean_reward)
    assert other.evaluations_timesteps == [20, 40]


def test_episodes_are_counted_on_and_the_limit_may_be_another(tmp_path):
    model = SoftAC("MlpPolicy", Target(), **SMALL).learn(100, StopTrainingOnMaxEpisodes(2))
    stopped_at = model.num_timesteps
    model.save_checkpoint(tmp_path)
    model = SoftAC.load_checkpoint(tmp_path, Target())
    model.learn(1000, StopTrainingOnMaxEpisodes(5), reset_num_timesteps=False)
    assert model.num_timesteps == stopped_at // 2 * 5


def test_a_state_sets_no_other_attributes():
    counts = Counts(1)
    state = {"goal": 5, "place": 3, "opened": 1, "_on_step": 1, "model": 1, "n_calls": 8}
    callbacks.restore(counts, {"/Counts#0": {"attributes": state}, "/Gone#0": {}})
    assert (counts.goal, counts.place, counts.n_calls) == (1, "folder/1", 8)
    assert "_on_step" not in vars(counts)
    assert not hasattr(counts, "_model")


class Other(gym.Wrapper):
    """Another wrapper than before."""


def test_another_environment_for_evaluations_is_said(tmp_path):
    SoftAC("MlpPolicy", Target(), **SMALL).learn(20, evaluation(tmp_path)).save_checkpoint(tmp_path)
    model = SoftAC.load_checkpoint(tmp_path, Target())
    callback = evaluation(tmp_path, Other(Target()))
    with pytest.warns(UserWarning, match="Evaluations go on with other random numbers: the environment was"):
        model.learn(20, callback, reset_num_timesteps=False)
    assert callback.evaluations_timesteps == [20, 40]


class Refuses(Target):
    """Cannot say its state, and was not seeded."""

    def __init__(self) -> None:
        super().__init__()
        self.world = object()


@pytest.mark.parametrize("wrapper", [Resumable, gym.Wrapper])
def test_processes_without_a_state_stay_alive(wrapper, tmp_path):
    env = SubprocVecEnv([lambda: wrapper(Refuses())] * 2, start_method="fork")
    model = SoftAC("MlpPolicy", env, **UNSEEDED).learn(20)
    saved = model.save_checkpoint(tmp_path)
    assert not saved.is_exact
    assert model.learn(20, reset_num_timesteps=False).num_timesteps == 40
    env.close()
