"""Runs of rl_zoo3 that survive: they save checkpoints, go on from them, and keep their metrics."""

import functools
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from stable_baselines3.common.env_util import is_wrapped

from sb3_softac.buffers.make import class_for
from sb3_softac.callbacks import CheckpointCallback
from sb3_softac.saving.checkpoint import manifests
from sb3_softac.saving.resumable import Resumable
from sb3_softac.softac import SoftAC
from sb3_softac.spaces import check_observation_space
from sb3_softac.zoo.progress import ProgressCallback

#: folder of the checkpoints, in the folder of a run
CHECKPOINTS = "checkpoints"
#: command line of the run, beside its checkpoints
COMMAND = "command.json"
# Environment steps between two checkpoints.
EVERY = 25_000


def extend_runs(manager: Any, algo: str) -> None:
    """Let the runs of an algorithm save checkpoints and metrics, and go on from the one that ``--trained-agent`` names.

    ``replay_buffer_class: auto`` becomes the class that suits the environment: a search draws what belongs to it.

    :param manager: ``rl_zoo3.exp_manager.ExperimentManager``, which is changed
    :param algo: name of the algorithm
    """
    for name, wrap in (
        ("create_callbacks", _with_checkpoints),
        ("create_envs", _with_our_envs),
        ("_load_pretrained_agent", _from_checkpoint),
        ("learn", _without_starting_again),
        ("_preprocess_action_noise", _with_replay_buffer),  # the first step that sees hyperparameters and environment
    ):
        original = getattr(manager, name)
        wrapped = functools.wraps(original)(_for_algorithm(algo, original, wrap(original)))
        setattr(manager, name, wrapped)


def _for_algorithm(algo: str, original: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: (ours if self.algo == algo else original)(self, *args, **kwargs)


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


def _with_our_envs(original: Callable[..., Any]) -> Callable[..., Any]:
    def create_envs(self: Any, n_envs: int, eval_env: bool = False, no_log: bool = False) -> Any:
        users = self.env_wrapper
        resumes = not eval_env and not self.optimize_hyperparameters
        self.env_wrapper = functools.partial(_wrapped, users, resumes)
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
        folder = pathlib.Path(self.trained_agent).parent
        manifest = folder / pathlib.Path(self.trained_agent).name.replace("agent_", "step_").replace(".zip", ".json")
        if not manifest.is_file():
            return original(self, hyperparams, env)
        print(f"Going on from the checkpoint {manifest}")
        model = SoftAC.load_checkpoint(
            manifest, env, self.device, tensorboard_log=self.tensorboard_log, verbose=self.verbose
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


def arguments_to_resume(run: str | os.PathLike[str]) -> list[str]:
    """The command line of a run, with its newest checkpoint as the agent to go on with.

    :param run: folder of the run, as ``logs/softac/Pendulum-v1_1``
    :raises ValueError: it has no checkpoint, or does not say how it was started
    """
    folder = pathlib.Path(run) / CHECKPOINTS
    if not manifests(folder) or not (folder / COMMAND).is_file():
        raise ValueError(
            f"The folder {str(run)!r} has no checkpoint in {CHECKPOINTS!r}; runs of `--algo softac` save one every "
            f"{EVERY} steps, and when they are asked to end"
        )
    arguments = json.loads((folder / COMMAND).read_text())
    for option in ("-i", "--trained-agent"):
        while option in arguments:
            position = arguments.index(option)
            del arguments[position : position + 2]
    step = manifests(folder)[0].stem.removeprefix("step_")
    return [*arguments, "-i", str(folder / f"agent_{step}.zip")]
