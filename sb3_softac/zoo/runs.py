"""Runs of rl_zoo3 that survive: they save checkpoints, go on from them in their own folder, and keep their metrics."""

import argparse
import csv
import functools
import json
import pathlib
import pydoc
import sys
from collections.abc import Callable, Mapping
from typing import Any

from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import VecEnv

from sb3_softac.buffers.make import class_for
from sb3_softac.callbacks import CheckpointCallback
from sb3_softac.saving import files
from sb3_softac.saving.checkpoint import checkpoints, is_checkpoint, newest_whole
from sb3_softac.saving.resumable import Resumable
from sb3_softac.softac import SoftAC
from sb3_softac.spaces import check_observation_space
from sb3_softac.zoo import search
from sb3_softac.zoo.progress import ProgressCallback

#: folder of the checkpoints, in the folder of a run
CHECKPOINTS = "checkpoints"
#: command line of the run, beside its checkpoints
COMMAND = "command.json"
MONITOR = ".monitor.csv"
# Environment steps between two checkpoints.
EVERY = 25_000


def extend_runs(manager: Any, algo: str) -> None:
    """Let the runs of an algorithm save checkpoints and metrics, and go on from the one that ``--trained-agent`` names.

    ``replay_buffer_class: auto`` becomes the class that suits the environment: a search draws what belongs to it.
    ``vec_env_class`` and ``vec_env_kwargs`` say in what processes the environments run.

    :param manager: ``rl_zoo3.exp_manager.ExperimentManager``, which is changed
    :param algo: name of the algorithm
    """
    for name, wrap in (
        ("_preprocess_hyperparams", _with_our_hyperparams),
        ("create_log_folder", _in_its_folder),
        ("_save_config", _with_its_configuration),
        ("create_callbacks", _with_checkpoints),
        ("create_envs", _with_our_envs),
        ("_load_pretrained_agent", _from_checkpoint),
        ("learn", _without_starting_again),
        ("_preprocess_action_noise", _with_replay_buffer),  # the first step that sees hyperparameters and environment
        ("hyperparameters_optimization", search.shared),
        ("load_trial", search.loaded),
    ):
        original = getattr(manager, name)
        wrapped = functools.wraps(original)(_for_algorithm(algo, original, wrap(original)))
        setattr(manager, name, wrapped)


def _for_algorithm(algo: str, original: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: (ours if self.algo == algo else original)(self, *args, **kwargs)


def _in_its_folder(original: Callable[..., None]) -> Callable[..., None]:
    def create_log_folder(self: Any) -> None:
        checkpoint = None if self.optimize_hyperparameters else _newest_of_run(pathlib.Path(self.trained_agent))
        if checkpoint is not None:
            step, run = checkpoint["step"], pathlib.Path(self.trained_agent).parent.parent
            if step >= self.n_timesteps:
                print(
                    f"The run {run} is finished: it has learned for {step} steps, and {self.n_timesteps} are asked "
                    f"for. To train further, ask for more: python -m sb3_softac.zoo resume {run} -n {2 * step}"
                )
                sys.exit(0)
            self.save_path, self.params_path = str(run), str(run / self.env_name)
            for monitor in sorted(run.glob(f"*{MONITOR}")):
                if monitor.name.removesuffix(MONITOR).isdigit():
                    _set_aside(monitor, step, checkpoint["time"])
        original(self)

    return create_log_folder


def _with_its_configuration(original: Callable[..., None]) -> Callable[..., None]:
    def save_config(self: Any, saved_hyperparams: Any) -> None:
        if _newest_of_run(pathlib.Path(self.trained_agent)) is None:
            original(self, saved_hyperparams)
        else:  # the files of a run say how it began, and not at which of its checkpoints it went on
            print(f"Log path: {self.save_path}")

    return save_config


def _newest_of_run(agent: pathlib.Path) -> Mapping[str, Any] | None:
    """Manifest of the newest checkpoint of a run, if an agent is that; from an older one another run begins."""
    if not (agent.parent / COMMAND).is_file():
        return None
    path, manifest = next(newest_whole(agent.parent))
    return manifest if path == agent else None


def _set_aside(monitor: pathlib.Path, step: int, end: float) -> None:
    """Keep the episodes up to a checkpoint in a file beside the monitor's, which begins anew; readers take all of them.

    Later ones are played once more.

    :param monitor: file of one environment
    :param step: of the checkpoint
    :param end: when it was saved, in seconds since 1970
    """
    head, rows = "", []
    with monitor.open(encoding="utf-8", newline="") as file:
        lines = [line for line in file if line.endswith("\n")]  # a kill leaves the last one half-written
    if len(lines) > 2:
        head, rows = "".join(lines[:2]), lines[2:]
        begin, column = json.loads(lines[0][1:])["t_start"], next(csv.reader([lines[1]])).index("t")
        rows = [row for row in rows if begin + float(next(csv.reader([row]))[column]) <= end]
    if rows:
        place = monitor.with_name(f"{monitor.name.removesuffix(MONITOR)}.until_{step:08d}{MONITOR}")
        files.write(place, lambda new: new.write("".join([head, *rows]).encode()))
    monitor.unlink()


def _with_checkpoints(original: Callable[..., None]) -> Callable[..., None]:
    def create_callbacks(self: Any) -> None:
        original(self)
        if self.optimize_hyperparameters:
            return
        if not any(isinstance(c, ProgressCallback) for c in self.callbacks):
            self.callbacks.append(ProgressCallback(self.save_path, verbose=self.verbose))
        if not any(isinstance(c, CheckpointCallback) for c in self.callbacks):
            folder = pathlib.Path(self.save_path) / CHECKPOINTS
            folder.mkdir(parents=True, exist_ok=True)
            (folder / COMMAND).write_text(json.dumps(sys.argv[1:]))
            self.callbacks.append(CheckpointCallback(EVERY, folder, verbose=self.verbose))

    return create_callbacks


def _with_our_hyperparams(original: Callable[..., Any]) -> Callable[..., Any]:
    def preprocess(self: Any, hyperparams: dict[str, Any]) -> Any:
        """Keep from the zoo what it does not know: where the environments run, and schedules with an end of their own.

        ``vec_env_class``, with ``vec_env_kwargs`` for it, is for the environments. SoftAC itself reads the schedule.
        """
        others, ours = dict(hyperparams), {}
        name, kwargs = others.pop("vec_env_class", None), others.pop("vec_env_kwargs", {})
        if name is not None:
            self.vec_env_class, self.vec_env_kwargs = _vec_env_class(name), kwargs
        if str(others.get("learning_rate")).count("_") > 1:  # the zoo's have one: "lin_1e-3"
            ours["learning_rate"] = others.pop("learning_rate")
        arguments, *rest = original(self, others)
        return {**arguments, **ours}, *rest

    return preprocess


def _vec_env_class(name: str) -> type[VecEnv]:
    found = pydoc.locate(str(name))
    if not isinstance(found, type) or not issubclass(found, VecEnv):
        raise ValueError(
            f"`vec_env_class` must name a class of vectorised environments, with its module, as "
            f"'sb3_softac.distributed.RayVecEnv', but {name!r} was given"
        )
    return found


def _with_our_envs(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_envs(self: Any, n_envs: int, eval_env: bool = False, no_log: bool = False) -> Any:
        users = self.env_wrapper
        self.env_wrapper = functools.partial(_wrapped, users, not self.optimize_hyperparameters)
        try:
            return original(self, n_envs, eval_env, no_log)
        finally:
            self.env_wrapper = users

    return create_envs


def _wrapped(users: Callable[[Any], Any] | None, resumes: bool, env: Any) -> Any:
    """The environment in the user's wrappers, checked before rl_zoo3 stacks observations of it."""
    env = env if users is None else users(env)
    check_observation_space(env.observation_space)
    return Resumable(env) if resumes and not is_wrapped(env, Resumable) else env


def _with_replay_buffer(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def preprocess(self: Any, hyperparams: dict[str, Any], saved_hyperparams: Any, env: Any) -> dict[str, Any]:
        hyperparams = original(self, hyperparams, saved_hyperparams, env)
        if hyperparams.get("replay_buffer_class") == "auto":
            hyperparams["replay_buffer_class"] = class_for(env)
            if hyperparams["replay_buffer_class"] is not None:
                print("An environment with goals: HerReplayBuffer")
        return hyperparams

    return preprocess


def _from_checkpoint(original: Callable[..., Any]) -> Callable[..., Any]:
    def load_pretrained_agent(self: Any, hyperparams: dict[str, Any], env: Any) -> Any:
        path = pathlib.Path(self.trained_agent)
        if not is_checkpoint(path):
            return original(self, hyperparams, env)
        print(f"Going on from the checkpoint {path}")
        model = SoftAC.load_checkpoint(
            path, env, self.device, tensorboard_log=self.tensorboard_log, verbose=self.verbose
        )
        self.n_timesteps = max(self.n_timesteps - model.num_timesteps, 0)
        self._goes_on = True
        return model

    return load_pretrained_agent


class _GoingOn:
    """A model whose ``learn()`` goes on counting its steps.

    :param model: of a checkpoint
    """

    def __init__(self, model: SoftAC) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def learn(self, total_timesteps: int, **kwargs: Any) -> SoftAC:
        return self._model.learn(total_timesteps, reset_num_timesteps=False, **kwargs)


def _without_starting_again(original: Callable[..., None]) -> Callable[..., None]:
    def learn(self: Any, model: SoftAC) -> None:
        original(self, _GoingOn(model) if getattr(self, "_goes_on", False) else model)

    return learn


def arguments_to_resume(given: list[str]) -> list[str]:
    """The command line of a run, with its newest whole checkpoint as the agent to go on with.

    :param given: folder of the run, as ``logs/softac/Pendulum-v1_1``, and another ``-n``, if the run is to be longer
    :raises ValueError: it has no checkpoint, or does not say how it was started
    """
    parser = argparse.ArgumentParser(
        "python -m sb3_softac.zoo resume", description="Go on with a run that was stopped."
    )
    parser.add_argument("run_folder", type=pathlib.Path, help="as logs/softac/Pendulum-v1_1")
    parser.add_argument("-n", "--n-timesteps", help="steps of the whole run; by default as it was started")
    options = parser.parse_args(given)
    folder = options.run_folder / CHECKPOINTS
    if not (folder / COMMAND).is_file() or not checkpoints(folder):
        raise ValueError(
            f"The folder {str(options.run_folder)!r} has no checkpoint in {CHECKPOINTS!r}; runs of `--algo softac` "
            f"save one every {EVERY} steps, and when they are asked to end"
        )
    newest, _ = next(newest_whole(folder))
    changed = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    changed.add_argument("-i", "--trained-agent")
    if options.n_timesteps is not None:
        changed.add_argument("-n", "--n-timesteps")
    _, arguments = changed.parse_known_args(json.loads((folder / COMMAND).read_text()))
    longer = [] if options.n_timesteps is None else ["-n", options.n_timesteps]
    return [*arguments, *longer, "-i", str(newest)]
