"""Training beside the environments: gradient steps are made while the environments make their step.

The training that follows a rollout is put off. Its gradient steps are spread over the environment steps of the next
rollout. Everything but the step of the environments happens in one thread and in one order, whatever takes how long: so
the results are reproducible. An action is chosen before its step begins, by the actor itself, which lags behind by the
gradient steps that are still due: never more than those of one training.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from threading import Thread
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

#: a number of gradient steps -> a function that makes them; what has to ask the environments has been done by then
PrepareTraining = Callable[[int], Callable[[], None]]


class Overlap:
    """Puts trainings off, and makes them beside the steps of the next rollout.

    :param prepare: prepares gradient steps that are made beside a step of the environments
    :param log_lag: is told, as each action has been chosen, how many gradient steps its actor lags behind
    """

    def __init__(self, prepare: PrepareTraining, log_lag: Callable[[int], None]) -> None:
        self._prepare = prepare
        self._log_lag = log_lag
        self._envs: OverlappedVecEnv | None = None
        self._ended_rollout = 0  # steps of a rollout whose training is to be put off
        #: gradient steps that are due, and steps of the environments over which they are spread
        self.due: tuple[int, int] = (0, 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_envs": None}  # a copy of the model has environments of its own

    def begin_rollout(self, env: VecEnv) -> VecEnv:
        """Environments of a rollout, which make their steps beside the gradient steps that are due.

        :param env: of the model
        """
        if self._envs is None or self._envs.venv is not env:
            self._envs = OverlappedVecEnv(env, self._next_share)
        return self._envs

    def end_rollout(self, env_steps: int, puts_off: bool) -> None:
        """Make what a short episode has left, so that no action is later than one training.

        :param env_steps: steps of the rollout
        :param puts_off: a training follows, and is to be put off
        """
        gradient_steps, self.due = self.due[0], (0, 0)
        if gradient_steps:
            self._prepare(gradient_steps)()
        self._ended_rollout = env_steps if puts_off else 0

    def puts_off(self, gradient_steps: int) -> bool:
        """Whether a training is the one that follows a rollout, and has been put off.

        :param gradient_steps: of the training
        """
        if not self._ended_rollout:
            return False
        self.due, self._ended_rollout = (gradient_steps, self._ended_rollout), 0
        return True

    def drop(self) -> None:
        """Forget what is due, as after an error."""
        self.due, self._ended_rollout = (0, 0), 0

    def _next_share(self) -> Callable[[], None] | None:
        """An even share of what is due, rounded up; None if that is nothing."""
        gradient_steps, env_steps = self.due
        self._log_lag(gradient_steps)
        if not gradient_steps:
            return None
        share = -(-gradient_steps // max(env_steps, 1))
        self.due = (gradient_steps - share, env_steps - 1)
        return self._prepare(share)


class OverlappedVecEnv(VecEnvWrapper):
    """Environments that make their steps while an agent learns.

    :param venv: the environments, with all their wrappers
    :param prepare: is called as a step is to begin; returns what to do beside it, or None
    """

    def __init__(self, venv: VecEnv, prepare: Callable[[], Callable[[], None] | None]) -> None:
        super().__init__(venv)
        self._prepare = prepare

    def step(self, actions: np.ndarray) -> VecEnvStepReturn:
        """Make a step of the environments, and what was prepared beside it.

        :param actions: (n_envs, ...)
        """
        beside = self._prepare()
        if beside is None:
            return self.venv.step(actions)
        with self._asynchronous():
            self.venv.step_async(actions)
            try:
                beside()
            except BaseException:
                with suppress(Exception):
                    self.venv.step_wait()  # a worker's answer must not be taken for that to the next question
                raise
            return self.venv.step_wait()

    def _asynchronous(self) -> AbstractContextManager[None]:
        innermost = self.venv.unwrapped
        return in_thread(innermost) if isinstance(innermost, DummyVecEnv) else nullcontext()

    def reset(self) -> VecEnvObs:
        """Reset the environments."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for a step of the environments."""
        return self.venv.step_wait()


@contextmanager
def in_thread(env: DummyVecEnv) -> Iterator[None]:
    """Context manager in which ``step_async`` begins a step, in a thread; else a DummyVecEnv makes it in ``step_wait``.

    Wrappers stay in this thread: a ``VecNormalize`` changes its statistics when training no longer reads them.

    :param env: the innermost of its wrappers
    """
    tell, make_step = env.step_async, env.step_wait
    steps: list[tuple[Thread, Future[VecEnvStepReturn]]] = []

    def step_async(actions: np.ndarray) -> None:
        tell(actions)
        future: Future[VecEnvStepReturn] = Future()
        # A daemon, so that a simulator that hangs does not keep the program from ending.
        thread = Thread(target=_complete, args=(future, make_step), name="environment step", daemon=True)
        thread.start()
        steps.append((thread, future))

    def step_wait() -> VecEnvStepReturn:
        thread, future = steps[-1]
        thread.join()
        return future.result()

    env.step_async, env.step_wait = step_async, step_wait  # type: ignore[method-assign]
    try:
        yield
    finally:
        del env.step_async, env.step_wait
        for thread, _ in steps:
            thread.join()


def _complete(future: "Future[VecEnvStepReturn]", call: Callable[[], VecEnvStepReturn]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # which the thread that waits raises
        future.set_exception(error)
