"""Contract of simulators that keep their tensors on a device, and the checks of what they give.

Shapes: n_envs environments.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnvWrapper

from sb3_softac.networks.observations import on_host

#: method that makes a step of tensors; an environment that has it can be collected from on its device
STEP = "step_tensors"


class TensorStep(NamedTuple):
    """One step of all environments, as tensors on their device.

    An environment that has ended is reset in the same step.
    """

    obs: PyTorchObs  #: (n_envs, ...), or a dict of such: the next observations; the first of an episode after an end
    rewards: th.Tensor  #: (n_envs,)
    terminated: th.Tensor  #: (n_envs,) bool, True where a terminal state was reached
    truncated: th.Tensor | None = None  #: (n_envs,) bool, True at a time limit; None: there is none
    #: (n_envs, ...), or a dict of such: the last observations of the episodes that ended; other rows do not count.
    #: None: they are not known, or no episode ended
    final_obs: PyTorchObs | None = None
    successes: th.Tensor | None = None  #: (n_envs,) bool, read where an episode ended; None: not known

    def ended(self) -> th.Tensor:
        """(n_envs,) bool: True where an episode ended."""
        return self.terminated if self.truncated is None else self.terminated | self.truncated

    def cuts(self) -> th.Tensor | None:
        """(n_envs,) bool: True at time limits whose last observation is not known; None for nowhere."""
        if self.truncated is None or self.final_obs is not None:
            return None
        return self.truncated & ~self.terminated

    def bootstraps(self) -> th.Tensor | None:
        """(n_envs,) bool: True where an episode ended, and its last observation has a value; None for nowhere.

        That is at time limits. If the last observation is not known, there is nothing to take a value of.
        """
        if self.truncated is None or self.final_obs is None:
            return None
        return self.truncated & ~self.terminated

    def next_obs(self, ended: th.Tensor) -> PyTorchObs:
        """(n_envs, ...): next observations, and where an episode ended its last one, if that is known.

        :param ended: result of :meth:`ended`
        """
        final = self.final_obs
        if final is None:
            return self.obs
        if isinstance(final, dict):
            assert isinstance(self.obs, dict)
            return {key: _chosen(ended, final[key], values) for key, values in self.obs.items()}
        assert isinstance(self.obs, th.Tensor)
        return _chosen(ended, final, self.obs)


def _chosen(ended: th.Tensor, final: th.Tensor, obs: th.Tensor) -> th.Tensor:
    return th.where(ended.view(-1, *[1] * (obs.dim() - 1)), final, obs)


# Finding them


def takes_tensors(env: Any) -> bool:
    """Whether an environment makes steps of tensors, in all its wrappers.

    A wrapper of Stable-Baselines3 hands on every attribute, this one too. If it does not have the method itself, it
    changes steps in numpy, and must not be passed by.

    :param env: of any class; None for none
    """
    if isinstance(env, VecEnvWrapper):
        return callable(getattr(type(env), STEP, None)) or STEP in vars(env)
    return callable(getattr(env, STEP, None))


def wrapper_on_host(env: Any) -> str | None:
    """Class of the outermost wrapper through which an environment of tensors gives numpy arrays; None for none.

    :param env: of any class; None for none
    """
    hides = isinstance(env, VecEnvWrapper) and not takes_tensors(env) and takes_tensors(env.unwrapped)
    return type(env).__name__ if hides else None


# Moving


def on_device(obs: Any, device: th.device) -> Any:
    """Observations as tensors of a device; what lies there already is not copied.

    :param obs: tensors or arrays, or a dict of such
    :param device: of the tensors
    """
    if isinstance(obs, dict):
        return {key: on_device(values, device) for key, values in obs.items()}
    return th.as_tensor(obs, device=device)


def cloned(obs: PyTorchObs) -> PyTorchObs:
    """Observations in memory of their own: a simulator may write the next ones to the same place.

    :param obs: tensors, or a dict of such
    """
    if isinstance(obs, dict):
        return {key: values.clone() for key, values in obs.items()}
    return obs.clone()


class HostOnDemand:
    """Tensor that becomes a numpy array when somebody reads it as one, and not before.

    :param tensor: of any device
    """

    def __init__(self, tensor: th.Tensor) -> None:
        self.tensor = tensor

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(on_host(self.tensor), dtype=dtype)

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[Any]:
        return iter(np.asarray(self))

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self)[index]


# Checks, which read shapes and types alone: they do not wait for the device


def same_device(first: th.device | str, second: th.device | str) -> bool:
    """Whether two names are of one device: ``"cuda"`` is the current one.

    :param first: of a device
    :param second: of a device
    """
    return th.empty(0, device=first).device == th.empty(0, device=second).device


def check_step(step: Any, observation_space: spaces.Space, n_envs: int, device: th.device | str) -> None:
    """Refuse a step of tensors that is not as :class:`TensorStep` says.

    :param step: of ``step_tensors()``
    :param observation_space: of one environment
    :param n_envs: number of environments
    :param device: of the environments
    :raises ValueError: naming the tensor, what it is, and what it must be
    """
    if not isinstance(step, TensorStep):
        raise ValueError(f"`{STEP}()` must return a `TensorStep`, but it returned a {type(step).__name__}")
    check_observations("obs", step.obs, observation_space, n_envs, device)
    if step.final_obs is not None:
        check_observations("final_obs", step.final_obs, observation_space, n_envs, device)
    _check("rewards", step.rewards, (n_envs,), "a float", step.rewards.is_floating_point(), device)
    for name in ("terminated", "truncated", "successes"):
        flags = getattr(step, name)
        if flags is not None:
            _check(name, flags, (n_envs,), "torch.bool", flags.dtype is th.bool, device)


def check_observations(name: str, obs: Any, space: spaces.Space, n_envs: int, device: th.device | str) -> None:
    """Refuse observations of another shape, type or device than their space says.

    :param name: as messages have it
    :param obs: tensors, or a dict of such
    :param space: of one environment
    :param n_envs: number of environments
    :param device: of the environments
    :raises ValueError: naming the tensor, what it is, and what it must be
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, dict) or obs.keys() != space.spaces.keys():
            given = sorted(obs) if isinstance(obs, dict) else f"a {type(obs).__name__}"
            raise ValueError(f"`{name}` must be a dict with the keys {sorted(space.spaces)}, but it is {given}")
        for key, part in space.spaces.items():
            check_observations(f"{name}[{key!r}]", obs[key], part, n_envs, device)
        return
    wanted = th.from_numpy(np.empty(0, space.dtype)).dtype
    is_right = isinstance(obs, th.Tensor) and obs.dtype is wanted
    _check(name, obs, (n_envs, *(space.shape or ())), f"{wanted}, as the observation space says", is_right, device)


def _check(
    name: str, value: Any, shape: tuple[int, ...], kind: str, is_right_kind: bool, device: th.device | str
) -> None:
    if not isinstance(value, th.Tensor):
        raise ValueError(f"`{name}` must be a tensor, but it is a {type(value).__name__}")
    if tuple(value.shape) != shape:
        raise ValueError(
            f"`{name}` must have the shape {shape}, one row for each of the {shape[0]} environments, but it has "
            f"{tuple(value.shape)}"
        )
    if not is_right_kind:
        raise ValueError(f"`{name}` must be {kind}, but it is {value.dtype}; convert it in `{STEP}()`")
    if not same_device(value.device, device):
        raise ValueError(
            f"`{name}` is on {value.device}, but the environment says that its tensors are on {device}; let the "
            "simulator compute all of them there, or correct its attribute `device`"
        )
