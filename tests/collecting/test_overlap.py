"""Training beside the environments: the same order whatever takes how long, and nothing left behind after an error."""

import itertools
import threading
import time
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnvWrapper, VecNormalize

from sb3_softac import BadStepError, GuardedSubprocVecEnv, SoftAC, WorkerError
from sb3_softac.callbacks import CheckpointCallback
from tests.helpers import SMALL, Simulator, Target, parameters_of

SEEDED: dict[str, Any] = SMALL | {"seed": 0, "device": "cpu"}


class Waiting(Target):
    """Takes a time of its own for each step.

    :param seconds: of the first steps, over and over again
    """

    def __init__(self, seconds: tuple[float, ...] = (0.0,), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._seconds = itertools.cycle(seconds)

    def step(self, action: np.ndarray) -> Any:
        time.sleep(next(self._seconds))
        return super().step(action)


def make(env: Any = None, **kwargs: Any) -> SoftAC:
    return SoftAC("MlpPolicy", Target() if env is None else env, **SEEDED | {"overlap": True} | kwargs)


def steps_in_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "environment step"]


def assert_same(ours: SoftAC, reference: SoftAC) -> None:
    th.testing.assert_close(parameters_of(ours), parameters_of(reference), rtol=0.0, atol=0.0)
    size = reference.replay_buffer.size()
    assert ours.replay_buffer.size() == size
    np.testing.assert_array_equal(ours.replay_buffer.actions[:size], reference.replay_buffer.actions[:size])


@pytest.fixture(autouse=True)
def _no_thread_stays():
    yield
    assert steps_in_threads() == []


# The order


class TrainsBeside(VecEnvWrapper):
    """The pipeline in its shortest form: trains as soon as the action of a step is known, before the step is made."""

    def __init__(self, venv: Any, shares: list[int]) -> None:
        super().__init__(venv)
        self.model: Any = None
        self._n_steps, self._shares = len(shares), itertools.cycle(shares)

    def step_async(self, actions: np.ndarray) -> None:
        if self.model.num_timesteps >= self.model.learning_starts + self._n_steps:  # the first rollout with a training
            self.model.train(next(self._shares), self.model.batch_size)
        super().step_async(actions)

    def step_wait(self) -> Any:
        return self.venv.step_wait()

    def reset(self) -> Any:
        return self.venv.reset()


@pytest.mark.parametrize(
    ("train_freq", "gradient_steps", "shares"),
    [(1, 1, [1]), (1, 3, [3]), (4, 4, [1, 1, 1, 1]), (4, 6, [2, 2, 1, 1])],
)
def test_an_action_comes_from_the_actor_before_the_training_beside_its_step(train_freq, gradient_steps, shares):
    """The reference trains by hand, and never by itself (`gradient_steps=0`)."""
    ours = make(train_freq=train_freq, gradient_steps=gradient_steps).learn(32)
    env = TrainsBeside(DummyVecEnv([Target]), shares)
    reference = SoftAC("MlpPolicy", env, gradient_steps=0, **SEEDED)
    env.model = reference
    reference.learn(32)
    reference.train(gradient_steps, reference.batch_size)  # the last training has no step beside it
    assert ours._n_updates == reference._n_updates
    assert_same(ours, reference)


@pytest.mark.parametrize(
    ("n_envs", "arguments"),
    [
        (1, {}),
        (1, {"train_freq": 3, "gradient_steps": 2}),
        (3, {"train_freq": 2, "gradient_steps": -1}),
        (1, {"train_freq": (1, "episode"), "gradient_steps": -1}),
        (1, {"gradient_steps": 0}),
    ],
)
def test_there_are_as_many_updates_as_without(n_envs, arguments):
    ours, reference = (
        make(make_vec_env(Target, n_envs), overlap=overlap, **arguments).learn(60) for overlap in (True, False)
    )
    assert (ours._n_updates, ours.num_timesteps) == (reference._n_updates, reference.num_timesteps)
    assert ours._overlap.due == (0, 0)


class Shrinking(Target):
    """Each episode is shorter than the one before."""

    def reset(self, **kwargs: Any) -> Any:
        self._horizon = max(self._horizon - 4, 2)
        return super().reset(**kwargs)


def test_what_a_short_episode_leaves_is_made_at_its_end():
    arguments = {"train_freq": (1, "episode"), "gradient_steps": 9}
    ours, reference = (make(Shrinking(horizon=30), overlap=each, **arguments).learn(120) for each in (True, False))
    assert ours._n_updates == reference._n_updates > 50


def test_an_update_that_is_recorded_trains_in_the_same_order():
    """Recording begins after 50 updates."""
    ours = make().learn(100)
    env = TrainsBeside(DummyVecEnv([Target]), [1])
    env.model = reference = SoftAC("MlpPolicy", env, gradient_steps=0, **SEEDED)
    reference.learn(100)
    reference.train(1, reference.batch_size)
    assert ours._current_engine()._steps, "recorded"
    assert_same(ours, reference)


# The timing


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "noise": {"action_noise": NormalActionNoise(np.zeros(2), np.ones(2))},
    "gSDE": {"use_sde": True, "train_freq": 4, "gradient_steps": 4},
    "normalized by the policy": {"policy_kwargs": {"net_arch": [16], "normalize_obs": True}, "train_freq": 2},
    "dropout": {"policy_kwargs": {"net_arch": [16], "dropout": 0.1, "batch_norm": True}, "train_freq": 3},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_takes_how_long_does_not_matter(kind):
    """Steps that are over before their training, and steps that are not."""
    fast, slow = (make(Waiting(seconds), **KINDS[kind]).learn(50) for seconds in ((0.0,), (0.0, 0.02)))
    assert fast._n_updates > 10
    assert_same(slow, fast)


def test_statistics_of_a_wrapper_change_after_the_training_that_reads_them():
    def learned(seconds: tuple[float, ...]) -> SoftAC:
        return make(VecNormalize(DummyVecEnv([lambda: Waiting(seconds)]))).learn(50)

    fast, slow = learned((0.0,)), learned((0.0, 0.02))
    assert_same(slow, fast)
    np.testing.assert_array_equal(slow.get_env().obs_rms.mean, fast.get_env().obs_rms.mean)


def test_processes_learn_the_same_as_a_thread():
    """As long as each environment draws numbers of its own."""
    models = []
    for cls in (DummyVecEnv, SubprocVecEnv):
        env = make_vec_env(Target, 2, seed=3, vec_env_cls=cls)
        models.append(make(env, train_freq=2, gradient_steps=3).learn(60))
        env.close()
    assert_same(*models)


class Meeting(Target):
    """Ends its steps only when a training is underway."""

    def __init__(self) -> None:
        super().__init__()
        self.trains = threading.Event()
        self.n_met = 0

    def step(self, action: np.ndarray) -> Any:
        if threading.current_thread() is not threading.main_thread():
            assert self.trains.wait(timeout=20), "no training beside the step"
            self.trains.clear()
            self.n_met += 1
        return super().step(action)


def test_a_step_in_one_process_is_made_while_the_agent_learns():
    env = Meeting()

    def rate(_: float) -> float:  # read in each training
        env.trains.set()
        return 1e-3

    model = make(env, learning_rate=rate).learn(30)
    assert env.n_met == model._n_updates - 1 == 13


class Recording(Simulator):
    """Writes down what it is asked to do."""

    def __init__(self) -> None:
        super().__init__(as_lists=False)
        self.calls: list[str] = []

    def step_async(self, actions: np.ndarray) -> None:
        self.calls.append("async")
        super().step_async(actions)

    def step_wait(self) -> Any:
        self.calls.append("wait")
        return super().step_wait()


def test_another_vec_env_is_told_to_start_and_waited_for_after_the_training():
    env = Recording()
    model = make(env, learning_rate=lambda _: env.calls.append("train") or 1e-3)
    model.learn(30)
    calls = [name for name, _ in itertools.groupby(env.calls)]  # a training reads its rate several times
    assert calls[-7:] == ["async", "train", "wait", "async", "train", "wait", "train"]


# Hindsight asks the environment for rewards


@pytest.mark.parametrize("cls", [DummyVecEnv, SubprocVecEnv])
def test_hindsight_asks_the_environment_between_its_steps(cls):
    env = make_vec_env(BitFlippingEnv, 1, vec_env_cls=cls, env_kwargs={"n_bits": 4, "continuous": True})
    arguments = SEEDED | {"replay_buffer_class": HerReplayBuffer}
    model = SoftAC("MultiInputPolicy", env, overlap=True, **arguments).learn(60)
    assert model._n_updates > 30
    env.close()


# Callbacks


class Watching(BaseCallback):
    """Looks at the model in each step."""

    def __init__(self, stop_at: int = 10**9) -> None:
        super().__init__()
        self.stop_at = stop_at
        self.modes: set[bool] = set()
        self.noise: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        self.modes.add(self.model.policy.training)
        self.modes.add(self.model.actor.training)
        if self.model.use_sde:
            self.noise.append((self.num_timesteps, float(self.model.actor.sde_noise.draws()[1].sum())))
        return self.num_timesteps < self.stop_at


def test_a_rollout_keeps_the_modes_and_the_noise_that_it_began_with():
    watching = Watching()
    model = make(use_sde=True, train_freq=4, gradient_steps=4).learn(60, watching)
    assert watching.modes == {False}
    rollouts = [{noise for step, noise in watching.noise if (step - 1) // 4 == index} for index in range(15)]
    assert [len(each) for each in rollouts] == [1] * 15
    assert len(set.union(*rollouts)) == 15
    assert model._n_updates == 44


@pytest.mark.parametrize("stop_at", [41, 43])
def test_a_callback_that_ends_the_run_leaves_nothing_due(stop_at):
    arguments = {"train_freq": 4, "gradient_steps": 8}
    ours, reference = (make(overlap=each, **arguments).learn(60, Watching(stop_at)) for each in (True, False))
    assert ours._n_updates == reference._n_updates
    assert ours._overlap.due == (0, 0)


def test_a_training_that_a_callback_asks_for_is_made_at_once():
    class Trains(Watching):
        def _on_step(self) -> bool:
            before = self.model._n_updates
            if self.num_timesteps == 30:
                self.model.train(5, 16)
                assert self.model._n_updates == before + 5
            return True

    ours, reference = (make(overlap=each).learn(40, Trains()) for each in (True, False))
    assert ours._n_updates == reference._n_updates == 29


def test_a_callback_saves_and_the_file_goes_on(tmp_path):
    class Saves(Watching):
        def _on_step(self) -> bool:
            if self.num_timesteps == 30:
                self.model.save(tmp_path / "agent.zip")
            return True

    make(train_freq=4, gradient_steps=4).learn(40, Saves())
    loaded = SoftAC.load(tmp_path / "agent.zip", env=Target())
    assert loaded.overlap is True
    loaded.learn(30, reset_num_timesteps=False)
    assert loaded._n_updates > 10


def test_what_is_due_is_in_a_checkpoint_and_another_run_may_do_without_overlap(tmp_path):
    class Due(CheckpointCallback):
        def save(self) -> None:
            super().save()
            saved.append(self.model._overlap.due)

    saved: list[tuple[int, int]] = []
    make(train_freq=4, gradient_steps=6).learn(40, Due(every=20, folder=tmp_path, keep=None))
    assert saved == [(6, 4), (0, 0)]  # at the end of `learn()`, the last training is over
    resumed = SoftAC.load_checkpoint(tmp_path / "agent_00000020.zip", Target(), overlap=False)
    assert resumed._overlap.due == (6, 4)
    resumed.learn(20, reset_num_timesteps=False)
    assert (resumed._n_updates, resumed._overlap.due) == (36, (0, 0))


def test_a_run_that_is_switched_makes_every_update():
    class Switches(Watching):
        def _on_step(self) -> bool:
            self.model.overlap = (self.num_timesteps // 10) % 2 == 0
            return True

    model = make(train_freq=3, gradient_steps=4).learn(60, Switches())
    assert model._n_updates == make(train_freq=3, gradient_steps=4, overlap=False).learn(60)._n_updates


def test_a_copy_trains_itself():
    model = make(train_freq=2).learn(40)
    copied, before = deepcopy(model), parameters_of(model)
    copied.learn(20, reset_num_timesteps=False)
    th.testing.assert_close(parameters_of(model), before, rtol=0.0, atol=0.0)
    assert copied._n_updates > model._n_updates
    assert copied._overlap._envs.venv is copied.get_env()


@pytest.mark.parametrize(("arguments", "lags"), [({}, [1]), ({"train_freq": 4, "gradient_steps": 7}, [7, 5, 3, 1])])
def test_the_lag_of_the_actor_is_logged(arguments, lags):
    model = make(**arguments).learn(40).learn(40, reset_num_timesteps=False, log_interval=None)
    n_rollouts = 40 // len(lags)  # of which the first begins with nothing due
    expected = (n_rollouts - 1) * sum(lags) / 40
    assert model.logger.name_to_value["train/policy_lag"] == pytest.approx(expected)


def test_there_is_no_lag_without_overlap():
    model = make(overlap=False).learn(40, log_interval=None)
    assert "train/policy_lag" not in model.logger.name_to_value
    assert "train/critic_loss" in model.logger.name_to_value


# Errors


class FaultError(RuntimeError):
    """Of an environment or of a training."""


class Faulty(Target):
    """Fails at one step, or gives what cannot be learned from."""

    def __init__(self, at: int, error: BaseException | None = None) -> None:
        super().__init__(horizon=1000)
        self._at, self._error, self._total = at, error, 0

    def step(self, action: np.ndarray) -> Any:
        self._total += 1
        obs, reward, *rest = super().step(action)
        if self._total == self._at:
            if self._error is not None:
                raise self._error
            reward = float("nan")
        return obs, reward, *rest


@pytest.mark.parametrize("error", [FaultError("broken"), KeyboardInterrupt(), None])
def test_a_fault_of_the_environment_beside_a_training(error):
    model = make(Faulty(31, error))
    with pytest.raises(BadStepError if error is None else type(error)):
        model.learn(60)
    assert steps_in_threads() == []
    assert (model.num_timesteps, model._n_updates) == (31 if error is None else 30, 14)
    model.learn(20, reset_num_timesteps=False)
    assert model._last_obs is not None


def failing_rate(error: BaseException, at: int) -> Any:
    """A learning rate that fails in one training."""
    calls = itertools.count()

    def rate(_: float) -> float:
        if next(calls) == at:
            raise error
        return 1e-3

    return rate


@pytest.mark.parametrize(
    ("error", "raised"), [(FaultError("broken"), ValueError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_fault_of_a_training_beside_a_step(error, raised):
    model = make(Waiting((0.05,)), learning_rate=failing_rate(error, at=12), train_freq=4, gradient_steps=4)
    with pytest.raises(raised):
        model.learn(60)
    assert steps_in_threads() == []
    assert model._overlap.due == (0, 0)
    model.learn(20, reset_num_timesteps=False)
    assert model._last_obs is not None


def test_statistics_do_not_take_in_a_step_that_was_dropped():
    env = VecNormalize(DummyVecEnv([Target]))
    model = make(env, learning_rate=failing_rate(FaultError("broken"), at=12))
    with pytest.raises(ValueError, match="broken"):
        model.learn(60)
    assert env.obs_rms.count == pytest.approx(model.num_timesteps + 1, abs=1e-3)  # and the first observation


def test_the_answer_to_a_step_that_nobody_waits_for_is_not_taken_for_another():
    env = make_vec_env(Target, 2, vec_env_cls=SubprocVecEnv)
    model = make(env, learning_rate=failing_rate(FaultError("broken"), at=12))
    with pytest.raises(ValueError, match="broken"):
        model.learn(60)
    model.learn(20, reset_num_timesteps=False)
    assert model._last_obs.shape == (2, 3)
    env.close()


def test_a_worker_that_dies_beside_a_training():
    env = GuardedSubprocVecEnv([Target, lambda: Faulty(20, SystemExit())], timeout=60)
    with pytest.raises(WorkerError, match="Worker 1 of 2 has ended"):
        make(env).learn(80)
    assert not any(process.is_alive() for process in env.processes)


def test_a_wrapper_that_makes_several_steps_in_one():
    class Twice(VecEnvWrapper):
        def step_async(self, actions: np.ndarray) -> None:
            self._actions = actions

        def step_wait(self) -> Any:
            self.venv.step(self._actions)
            return self.venv.step(self._actions)

        def reset(self) -> Any:
            return self.venv.reset()

    inner = Faulty(at=10**9)
    model = make(Twice(DummyVecEnv([lambda: inner]))).learn(40)
    assert (inner._total, model._n_updates) == (80, 24)
