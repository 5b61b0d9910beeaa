"""Refuses what no agent can learn from before any of it is stored: one NaN in a replay buffer spoils every network.

Shapes: n_envs environments.
"""

import math
import traceback
from reprlib import repr as short
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from stable_baselines3.common import monitor
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, dummy_vec_env

REMEDY = (
    "Nothing of this step was stored, and the networks are as they were: mend the environment; "
    "`learn(..., reset_num_timesteps=False)` resets it and goes on"
)
# Up to here numbers are added by Python.
FEW = 64
# Where values of an environment are copied or converted: an error from there is about the value.
CONVERTERS = (dummy_vec_env.__name__, monitor.__name__)


class BadStepError(ValueError):
    """An environment gave what cannot be learned from. The replay buffer and the networks are as before."""


class Leaf(NamedTuple):
    """An array of an observation, or the rewards."""

    name: str  #: as messages have it
    key: str | None  #: in a Dict; None for the only one
    shape: tuple[int, ...]  #: of one environment
    batch_shape: tuple[int, ...]  #: of all environments
    is_float: bool

    def is_fine(self, values: Any) -> bool:
        """Whether there is nothing to say against an array, without saying what; for every step, so it is quick.

        :param values: of all environments
        """
        if type(values) is not np.ndarray or values.shape != self.batch_shape:
            return False
        if values.dtype.kind == "f" and self.is_float:
            # A sum is finite only if all numbers are; a ufunc takes as long for one number as for a hundred.
            if values.size <= FEW and math.isfinite(sum(values.ravel().tolist())):
                return True
            return b"\0" not in np.isfinite(values).tobytes()  # a quarter of the time of `.all()`
        return values.dtype.kind in "iub"  # images are not searched

    def fault(self, values: Any, shape: tuple[int, ...]) -> tuple[tuple[int, ...], str] | None:
        """Place and kind of what is wrong in an array; None if nothing is.

        :param values: of an environment, or of all
        :param shape: that it must have
        """
        try:
            array = np.asarray(values)
        except ValueError:  # ragged
            return (), f"is {short(values)}, which is no array of shape {shape}"
        if array.dtype.kind not in "fiubO":
            return (), f"is {short(values)} ({array.dtype}), but must be numbers"
        if array.shape != shape:
            return (), f"is {short(values)}, " * (array.size == 1) + f"of shape {array.shape}, but must have {shape}"
        if array.dtype.kind in "iub":
            return None
        try:
            numbers = array.astype(np.float64)  # None becomes NaN
        except (TypeError, ValueError):
            return (), f"is {short(values)}, but must be numbers"
        is_right = np.isfinite(numbers) if self.is_float else numbers == np.floor(numbers)
        if is_right.all():
            return None
        place = tuple(np.argwhere(~is_right)[0].tolist())
        return place, f"is {array[place]}, but must be {'finite' if self.is_float else 'a whole number'}"


class StepCheck:
    """Looks at each step of the environments before it is stored.

    :param observation_space: of one environment
    :param n_envs: number of environments
    :param normalize: whose statistics are to survive a bad step; None for none
    """

    def __init__(self, observation_space: spaces.Space, n_envs: int, normalize: VecNormalize | None = None) -> None:
        leaves: Any = {None: observation_space}
        if isinstance(observation_space, spaces.Dict):
            leaves = observation_space.spaces
        self._leaves = []
        for key, space in leaves.items():
            name = "observation" if key is None else f"observation[{key!r}]"
            self._leaves.append(Leaf(name, key, space.shape, (n_envs, *space.shape), space.dtype.kind == "f"))
        self._only = self._leaves[0] if None in leaves else None
        self._rewards = Leaf("reward", None, (), (n_envs,), is_float=True)
        self._n_envs = n_envs
        self.keep_statistics(normalize)

    def check_ends(self, dones: Any, infos: Any, step: int) -> None:
        """Refuse ends and infos that are not one for each environment.

        :param dones: (n_envs,)
        :param infos: n_envs dicts
        :param step: environment steps so far, this one included
        :raises BadStepError: naming the environment
        """
        try:
            if not len(dones) == len(infos) == self._n_envs:
                raise TypeError
        except TypeError:
            raise BadStepError(
                f"At step {step} the environments gave `dones` {short(dones)} and `infos` {short(infos)}, but must "
                f"give one of both for each of the {self._n_envs} environment(s). {REMEDY}"
            ) from None
        for info in infos:
            if type(info) is not dict and not isinstance(info, dict):
                index = next(index for index, each in enumerate(infos) if each is info)
                raise _error(index, f"the info is {short(info)}, but must be a dict", step)

    def check(self, obs: Any, rewards: np.ndarray, step: int) -> None:
        """Refuse observations and rewards from which nothing can be learned.

        :param obs: (n_envs, ...) next observations, or a dict of such
        :param rewards: (n_envs,)
        :param step: environment steps so far, this one included
        :raises BadStepError: naming the environment, the key and the value
        """
        if not self._rewards.is_fine(rewards):
            self._check_leaf(self._rewards, rewards.reshape(-1), step)
        if self._only is None or not self._only.is_fine(obs):
            self.check_observations(obs, step)

    def check_observations(self, obs: Any, step: int, when: str = "made a step") -> None:
        """Refuse observations alone.

        :param obs: (n_envs, ...), or a dict of such
        :param step: environment steps so far
        :param when: what the environments had been asked to do, as messages have it
        :raises BadStepError: naming the environment, the key and the value
        """
        for leaf in self._leaves:
            self._check_leaf(leaf, _part(obs, leaf, None, step), step, when)

    def check_finals(self, dones: np.ndarray, infos: list[dict[str, Any]], step: int) -> None:
        """Refuse last observations of episodes, which are as the environments gave them.

        :param dones: (n_envs,), of :meth:`check_ends`
        :param infos: n_envs dicts, of :meth:`check_ends`
        :param step: environment steps so far, this one included
        :raises BadStepError: naming the environment, the key and the value
        """
        for index in np.flatnonzero(dones).tolist():
            obs = infos[index].get("terminal_observation")
            for leaf in self._leaves if obs is not None else ():
                fault = leaf.fault(_part(obs, leaf, index, step), leaf.shape)
                if fault is not None:
                    place, what = fault
                    raise _fault_error(leaf, (index, *place), what, step, "ended an episode")

    def keep_statistics(self, normalize: VecNormalize | None) -> None:
        """Remember the statistics of a ``VecNormalize``, which have taken in nothing but what was accepted.

        :param normalize: None for none
        """
        # An update puts other arrays in the place of those that are held here.
        self._statistics: list[tuple[RunningMeanStd, dict[str, Any]]] = []
        if normalize is not None:
            of_obs = getattr(normalize, "obs_rms", {})  # without `norm_obs` there is none
            each = [*(of_obs.values() if isinstance(of_obs, dict) else [of_obs]), normalize.ret_rms]
            self._statistics = [(statistics, dict(vars(statistics))) for statistics in each]

    def undo(self) -> None:
        """Give a ``VecNormalize`` back the statistics that it had before a step that was refused."""
        for statistics, values in self._statistics:
            vars(statistics).update(values)

    def _check_leaf(self, leaf: Leaf, values: Any, step: int, when: str = "made a step") -> None:
        if leaf.is_fine(values):
            return
        fault = leaf.fault(values, leaf.batch_shape)
        if fault is not None:
            raise _fault_error(leaf, *fault, step, when)


def _part(obs: Any, leaf: Leaf, index: int | None, step: int) -> Any:
    """The array of a leaf."""
    if leaf.key is None:
        return obs
    if not isinstance(obs, dict) or leaf.key not in obs:
        raise _error(index, f"the observation is {short(obs)}, but must be a dict with the key {leaf.key!r}", step)
    return obs[leaf.key]


def _fault_error(leaf: Leaf, place: tuple[int, ...], what: str, step: int, when: str) -> BadStepError:
    at = f", at {list(place[1:])}," if len(place) > 1 else ""
    return _error(place[0] if place else None, f"the {leaf.name}{at} {what}", step, when)


def _error(index: int | None, what: str, step: int, when: str = "made a step") -> BadStepError:
    who = "An environment" if index is None else f"Environment {index}"
    return BadStepError(f"{who} {when} that cannot be learned from: at step {step}, {what}. {REMEDY}")


def unusable_value(error: BaseException, step: int) -> BadStepError | None:
    """An error that says which environment it was, where Stable-Baselines3 could not take what that one gave.

    :param error: from a ``DummyVecEnv``
    :param step: environment steps so far, that one included
    :return: None for any other error, as an environment's own
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not isinstance(error, (ValueError, TypeError, KeyError, IndexError)) or not frames:
        return None
    if frames[-1].f_globals.get("__name__") not in CONVERTERS:
        return None
    loops = (DummyVecEnv.step_wait.__code__, DummyVecEnv.reset.__code__)
    index = next((frame.f_locals["env_idx"] for frame in frames if frame.f_code in loops), None)
    given = dict(frames[-1].f_locals)
    if frames[-1].f_code is loops[0]:  # it puts the info into an array at once
        given["info"] = given["self"].buf_infos[index]
    values = ", ".join(f"{name} {short(given[name])}" for name in ("obs", "reward", "info") if name in given)
    return _error(index, f"{type(error).__name__}: {error}" + (f" ({values})" if values else ""), step)
