"""One run: build the agent, train it, evaluate it on the way, store what came out."""

from __future__ import annotations

import contextlib
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from benchmarks import _machine
from benchmarks._algorithms import load_algorithm
from benchmarks._learning import evaluation, packages, settings
from benchmarks._learning.settings import RunSettings
from benchmarks._learning.store import MODES, Run, Store

Progress = Callable[[int, float], None]
MAX_PARALLEL_EPISODES = 10


class TrainingClock:
    """Wall and CPU seconds spent on training: stands still while an evaluation runs."""

    def __init__(self) -> None:
        self._start = np.array([time.perf_counter(), time.process_time()])
        self._away = np.zeros(2)

    def read(self) -> tuple[float, float]:
        """Wall and CPU seconds so far."""
        wall, cpu = np.array([time.perf_counter(), time.process_time()]) - self._start - self._away
        return float(wall), float(cpu)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A block whose time does not count."""
        left = np.array([time.perf_counter(), time.process_time()])
        try:
            yield
        finally:
            self._away += np.array([time.perf_counter(), time.process_time()]) - left


class CurveRecorder(BaseCallback):
    """Evaluates the agent every ``eval_every`` steps, before the first and after the last; keeps the rows."""

    def __init__(self, run: RunSettings, eval_env: VecEnv, clock: TrainingClock, progress: Progress) -> None:
        super().__init__()
        self.run, self.eval_env, self.clock, self.progress = run, eval_env, clock, progress
        self.rows: list[dict[str, Any]] = []
        self._train_returns: list[float] = []
        self._logged: dict[str, float] = {}

    def _on_training_start(self) -> None:
        self._record(0)

    def _on_step(self) -> bool:
        self._train_returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        self._read_log()
        following = self.rows[-1]["step"] + self.run.eval_every
        # The last row belongs to the finished agent: this step's own gradient step is still to come.
        if following < self.run.steps and self.num_timesteps >= following:
            self._record(following)
        return True

    def _on_training_end(self) -> None:
        self._read_log()
        self._record(self.run.steps)

    def _read_log(self) -> None:
        """Keep the newest values: the logger forgets them when it writes, which it does between evaluations."""
        logged = self.logger.name_to_value
        self._logged.update({name: logged[f"train/{name}"] for name in settings.LOGGED if f"train/{name}" in logged})

    def _record(self, step: int) -> None:
        seconds, cpu_seconds = self.clock.read()
        with self.clock.paused():
            scores = [
                evaluation.summarise(
                    evaluation.run_episodes(
                        self.model, self.eval_env, self.run.eval_episodes, deterministic, evaluation.CURVE_SEED
                    )
                )
                for deterministic in (True, False)
            ]
            train_return = round(float(np.mean(self._train_returns)), 4) if self._train_returns else None
            self._train_returns = []
            measured = (seconds, cpu_seconds, *scores[0], *scores[1])
            values = (step, self.num_timesteps, *(round(value, 4) for value in measured), train_return)
            logged = (_six_digits(self._logged.get(name)) for name in settings.LOGGED)
            self.rows.append(dict(zip(settings.CURVE_COLUMNS, (*values, *logged), strict=True)))
            self.progress(step, scores[0][0])


def _six_digits(value: float | None) -> float | None:
    """Significant digits, as a temperature may be tiny; None stays, which becomes an empty cell."""
    return None if value is None else float(f"{value:.6g}")


def run(run_settings: RunSettings, store: Store, progress: Progress = lambda step, score: None) -> Path:
    """Train and evaluate one agent, and store the run."""
    return store.write(make(run_settings, progress))


def make(run_settings: RunSettings, progress: Progress = lambda step, score: None) -> Run:
    """Train and evaluate one agent.

    The clock starts before the agent is built and counts all but imports and evaluation.
    """
    th.set_num_threads(run_settings.threads)
    algorithm = load_algorithm(run_settings.algo)
    versions, load_at_start = _machine.versions(), _machine.load_average()  # at once: a commit may follow
    env, eval_env, arguments = prepare(run_settings)
    clock = TrainingClock()
    model = algorithm(env=env, seed=run_settings.seed, device=run_settings.device, verbose=0, **arguments)
    recorder = CurveRecorder(run_settings, eval_env, clock, progress)
    model.learn(run_settings.steps, callback=recorder)
    final = {mode: _final_episodes(model, eval_env, run_settings, mode) for mode in MODES}
    meta = {
        "versions": versions,
        "machine": _machine.machine(),
        "device": str(model.device),
        "torch_threads": th.get_num_threads(),
        "load_average": {"start": load_at_start, "end": _machine.load_average()},
        "gradient_updates": int(getattr(model, "_n_updates", 0)),
    }
    env.close()
    eval_env.close()
    return Run(run_settings, meta, final, recorder.rows)


def _final_episodes(
    model: BaseAlgorithm, eval_env: VecEnv, run_settings: RunSettings, mode: str
) -> dict[str, list[float]]:
    deterministic = mode == MODES[0]
    episodes = evaluation.run_episodes(
        model, eval_env, run_settings.final_episodes, deterministic, evaluation.FINAL_SEED
    )
    return {"return": [e.score for e in episodes], "length": [e.length for e in episodes]}


def prepare(run_settings: RunSettings) -> tuple[VecEnv, VecEnv, dict[str, Any]]:
    """Training environments, evaluation environments and constructor arguments, made by rl_zoo3's own code.

    rl_zoo3 has no public function for this: the steps are those of ``ExperimentManager.setup_experiment``,
    without its folders.
    """
    from rl_zoo3.exp_manager import ExperimentManager

    packages.register(run_settings.env)
    manager = ExperimentManager(
        Namespace(),
        run_settings.algo,
        run_settings.env,
        log_folder="",
        n_timesteps=run_settings.steps,
        seed=run_settings.seed,
        verbose=0,
        config="unused.yml",
    )
    raw = {**run_settings.hyperparams, "n_timesteps": run_settings.steps}
    arguments, manager.env_wrapper, callbacks, manager.vec_env_wrapper = manager._preprocess_hyperparams(raw)
    if callbacks:
        raise ValueError(f"Callbacks in hyperparameters are not supported here, got {raw.get('callback')!r}.")
    if not manager.eval_env_kwargs:
        manager.eval_env_kwargs = manager.env_kwargs
    env = manager.create_envs(manager.n_envs, no_log=True)
    n_parallel = min(run_settings.eval_episodes, MAX_PARALLEL_EPISODES)
    eval_env = manager.create_envs(n_parallel, eval_env=True)
    arguments = manager._preprocess_action_noise(arguments, {}, env)
    return env, eval_env, arguments
