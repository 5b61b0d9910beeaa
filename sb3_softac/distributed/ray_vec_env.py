"""Environments in Ray actors, on this machine or on many."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from sb3_softac.distributed.pool import ActorPool
from sb3_softac.settings.parsing import POSITIVE, number, whole_number


class RayVecEnv(VecEnv):
    """A ``VecEnv`` whose environments are in Ray actors: on this machine, or on all machines of a cluster.

    Equal seeds give the steps of Stable-Baselines3's ``DummyVecEnv``, to the bit; all environments make a step, and the
    slowest one is waited for. Any algorithm of Stable-Baselines3 takes it. On the machine of the training, observations
    lie in memory that the actors share with it. An error of an environment is raised here; its cause names the actor.

    An actor that dies, or does not answer in time, is started anew: with a warning, with new environments that have the
    seeds ``seed + num_envs * restarts``, and with what ``set_attr()`` had set. The step that was under way is lost: the
    episode counts as truncated, ``terminal_observation`` is the last observation that was seen, the reward is 0, and
    the info has ``"lost_step": True``. :class:`~sb3_softac.SoftAC` does not learn from such a step.

    :param env_fns: functions that make the environments; they are sent to the actors
    :param envs_per_actor: environments in each actor, which makes their steps one after the other
    :param address: ``"<host>:<port>"`` of a Ray cluster, ``"auto"`` for the one that runs on this machine; None: the
        one of ``RAY_ADDRESS``, else a Ray that is started here, and ends with :meth:`close`
    :param timeout: seconds that an actor may take to answer: to be made, for a reset, or for the steps of its
        environments
    :param max_restarts: how often an actor may be started anew
    :param actor_options: options of ``ray.remote()`` for the actors, as ``{"num_cpus": 1}`` or ``{"runtime_env": ...}``
    :raises ImportError: Ray is not installed
    :raises ValueError: an argument out of its range, or a function that cannot be sent
    :raises ClusterError: the cluster does not answer, or has other versions
    :raises WorkerError: an actor could not be started, or died more often than ``max_restarts``; all were ended
    """

    def __init__(
        self,
        env_fns: Sequence[Callable[[], gym.Env]],
        envs_per_actor: int = 1,
        address: str | None = None,
        timeout: float = 60.0,
        max_restarts: int = 10,
        actor_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not env_fns:
            raise ValueError("`env_fns` is empty, but must have a function for each environment")
        self.waiting, self.closed = False, False
        self.remotes = ActorPool(
            env_fns,
            whole_number("envs_per_actor", envs_per_actor),
            address,
            timeout=number("timeout", timeout, POSITIVE),
            max_restarts=whole_number("max_restarts", max_restarts, minimum=0),
            options=actor_options or {},
        )
        with ExitStack() as stack:
            stack.callback(self.remotes.end)
            super().__init__(len(env_fns), *self.remotes.spaces)
            stack.pop_all()

    def reset(self) -> VecEnvObs:
        obs, self.reset_infos = self.remotes.reset(self._seeds, self._options)
        self.waiting = False
        self._reset_seeds()
        self._reset_options()
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        self.remotes.send_actions(actions)
        self.waiting = True

    def step_wait(self) -> VecEnvStepReturn:
        obs, rewards, dones, infos, reset_infos = self.remotes.receive_steps()
        self.waiting = False
        for env, info in reset_infos.items():
            self.reset_infos[env] = info
        return obs, rewards, dones, infos

    def close(self) -> None:
        """End the actors when their environments are closed, by force if that takes longer than ``timeout``."""
        if not self.closed:
            self.waiting, self.closed = False, True
            self.remotes.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        if self.render_mode != "rgb_array":
            warnings.warn(
                f"The render mode is {self.render_mode!r}, but images need 'rgb_array': make the environments with "
                "`render_mode='rgb_array'`",
                stacklevel=2,
            )
            return [None] * self.num_envs
        return self.env_method("render")

    def has_attr(self, attr_name: str) -> bool:
        return self.remotes.have_attribute(attr_name)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return self.remotes.ask(self._positions(indices), "get_attr", attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        self.remotes.set_attribute(self._positions(indices), attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        return self.remotes.ask(self._positions(indices), "env_method", method_name, *method_args, **method_kwargs)

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        return self.remotes.ask(self._positions(indices), "env_is_wrapped", wrapper_class)

    def _positions(self, indices: VecEnvIndices) -> list[int]:
        """Indices of environments, from 0 on; negative ones count from the end."""
        return [range(self.num_envs)[index] for index in self._get_indices(indices)]
