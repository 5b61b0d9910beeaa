"""Environments in processes of their own: one that dies or hangs ends in an error, and no process is left."""

import os
import signal
import time
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_softac import GuardedSubprocVecEnv, SoftAC, WorkerError
from tests.helpers import SMALL, Target

LIMIT = 1.5  # seconds; a worker takes about that long to start on a busy machine, for which it is given more


class Fragile(Target):
    """Does something at its third step, or when it is asked for ``made``, ``reset`` or ``close``."""

    def __init__(self, when: str = "", what: str = "") -> None:
        super().__init__(horizon=1000)
        self._when, self._what, self._total = when, what, 0
        self._fail("made")

    def _fail(self, when: str) -> None:
        if when != self._when:
            return
        if self._what == "hang":
            time.sleep(600)
        elif self._what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._what == "exit":
            os._exit(7)
        raise RuntimeError("a fault of the environment")

    def reset(self, **kwargs: Any) -> Any:
        self._fail("reset")
        return super().reset(**kwargs)

    def step(self, action: np.ndarray) -> Any:
        self._total += 1
        if self._total == 3:
            self._fail("step")
        return super().step(action)

    def close(self) -> None:
        self._fail("close")

    def ask(self) -> int:
        self._fail("ask")
        return self._total


class Fragiles:
    """Makes an environment in a worker."""

    def __init__(self, when: str = "", what: str = "") -> None:
        self._arguments = (when, what)

    def __call__(self) -> Fragile:
        return Fragile(*self._arguments)


def environments(when: str = "", what: str = "", start_method: str | None = None, timeout: float = 60.0):
    """Two, of which the second is fragile."""
    return GuardedSubprocVecEnv([Fragiles(), Fragiles(when, what)], timeout=timeout, start_method=start_method)


def use(envs: GuardedSubprocVecEnv) -> None:
    envs.reset()
    for _ in range(3):
        envs.step(np.zeros((2, 2), np.float32))
    envs.env_method("ask")


def assert_ended(envs: GuardedSubprocVecEnv) -> None:
    assert envs.closed
    assert not any(process.is_alive() for process in envs.processes)
    envs.close()  # is of no effect


@pytest.mark.parametrize("start_method", ["forkserver", "fork"])
@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("die", "was killed by signal 9"),
        ("exit", "has ended with exit code 7"),
        ("raise", "has ended with exit code 1"),
    ],
)
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded")  # by torch, as it is forked
def test_a_worker_that_dies_in_a_step(what, how, start_method):
    envs = environments("step", what, start_method)
    model = SoftAC("MlpPolicy", envs, seed=0, device="cpu", **SMALL)
    with pytest.raises(WorkerError, match=f"Worker 1 of 2 {how}, in a step; all were ended"):
        model.learn(100)
    assert_ended(envs)
    assert model.replay_buffer.pos == 2
    new = environments()
    model.set_env(new)
    model.learn(40, reset_num_timesteps=False)
    assert model.replay_buffer.pos == 22
    new.close()
    assert_ended(new)


@pytest.mark.parametrize("when", ["step", "reset", "ask"])
def test_a_worker_that_hangs(when):
    envs = environments(when, "hang")
    envs.get_attr("action_space")  # both are up
    envs.timeout = LIMIT
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"Worker 1 of 2 did not answer within 1.5 seconds \(`timeout`\)"):
        use(envs)
    assert LIMIT <= time.monotonic() - began < 4 * LIMIT
    assert_ended(envs)


@pytest.mark.parametrize(("what", "how"), [("raise", "exit code 1"), ("hang", "did not answer within 0.5 seconds")])
def test_an_environment_that_cannot_be_made(what, how):
    with pytest.raises(WorkerError, match=f"Worker 0 of 1 .*{how}"):
        GuardedSubprocVecEnv([Fragiles("made", what)], timeout=0.5 if what == "hang" else 60.0)


def test_closing_does_not_wait_for_ever():
    envs = environments("close", "hang")
    envs.reset()
    envs.timeout = LIMIT
    began = time.monotonic()
    envs.close()
    assert time.monotonic() - began < 4 * LIMIT
    assert_ended(envs)


def test_closing_in_the_middle_of_a_step():
    envs = environments()
    envs.reset()
    envs.step_async(np.zeros((2, 2), np.float32))
    envs.close()
    assert_ended(envs)
    assert [process.exitcode for process in envs.processes] == [0, 0]


def test_after_an_error_there_is_another_one():
    envs = environments("reset", "exit")
    for _ in range(2):
        with pytest.raises(WorkerError):
            envs.reset()


def test_it_answers_as_stable_baselines3s_does():
    answers = []
    for envs in (
        make_vec_env("Pendulum-v1", 2, seed=0, vec_env_cls=GuardedSubprocVecEnv, vec_env_kwargs={"timeout": 30}),
        make_vec_env("Pendulum-v1", 2, seed=0, vec_env_cls=SubprocVecEnv),
    ):
        obs = [envs.reset(), *(envs.step(np.ones((2, 1), np.float32))[0] for _ in range(5))]
        answers.append(np.stack(obs))
        assert envs.has_attr("max_torque")
        envs.close()
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("timeout", [0, -1.0, float("inf"), "soon", None])
def test_limits_that_are_none(timeout):
    with pytest.raises(ValueError, match="`timeout`"):
        GuardedSubprocVecEnv([Fragiles()], timeout=timeout)
