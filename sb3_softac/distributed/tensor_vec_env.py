"""Vectorised environment of tensors: ``SoftAC`` collects from it on its device, any other program in numpy.

Shapes: n_envs environments.
"""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from sb3_softac.collecting.tensor_episodes import TensorEpisodes
from sb3_softac.collecting.tensor_steps import TensorStep, check_observations, check_step, cloned, on_device
from sb3_softac.networks.observations import on_host
from sb3_softac.settings.parsing import whole_number
from sb3_softac.spaces import check_action_space


class TensorVecEnv(VecEnv):
    """Base class of simulators that compute all environments at once, as tensors on one device.

    A subclass writes :meth:`reset_tensors` and :meth:`step_tensors`. ``SoftAC`` calls the latter, and no number of a
    step leaves the device. All else of Stable-Baselines3 calls :meth:`reset` and :meth:`step`, which take and return
    numpy arrays: its other algorithms, its callbacks and ``evaluate_policy``.

    :param num_envs: number of environments
    :param observation_space: of one environment
    :param action_space: of one environment; a Box needs finite bounds, which the policy spans
    :param device: of all tensors
    :raises ValueError: no number of environments, or actions without bounds
    """

    render_mode: str | None = None

    def __init__(
        self,
        num_envs: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: th.device | str = "cpu",
    ) -> None:
        check_action_space(action_space)
        self.device = th.device(device)
        super().__init__(whole_number("num_envs", num_envs), observation_space, action_space)
        self._tensor_episodes = TensorEpisodes(self.num_envs, self.device)
        self._episode_sums = self._tensor_episodes.sums  # checkpoints keep tensors, and restore them in place
        self._actions: th.Tensor | None = None
        self._is_checked = False

    # To write in a subclass

    @abstractmethod
    def reset_tensors(self) -> PyTorchObs:
        """Begin an episode in every environment.

        :return: (n_envs, ...) observations, or a dict of such, of the types of the observation space
        """

    @abstractmethod
    def step_tensors(self, actions: th.Tensor) -> TensorStep:
        """Step every environment, and reset those that have ended.

        :param actions: (n_envs, ...) float, in the bounds of a Box; ids (n_envs,) for Discrete, (n_envs, F) for
            MultiDiscrete
        """

    # In numpy, as Stable-Baselines3 asks for it

    def reset(self) -> VecEnvObs:
        """Begin an episode in every environment.

        :return: (n_envs, ...) observations in numpy, or a dict of such
        :raises ValueError: observations that are not as the observation space says
        """
        obs = self.reset_tensors()
        check_observations("obs", obs, self.observation_space, self.num_envs, self.device)
        self._tensor_episodes.begin()
        self._reset_seeds()
        self._reset_options()
        return on_host(cloned(obs))

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = on_device(actions, self.device)

    def step_wait(self) -> VecEnvStepReturn:
        assert self._actions is not None, "step_async() comes first"
        step = self.step_tensors(self._actions)
        if not self._is_checked:
            check_step(step, self.observation_space, self.num_envs, self.device)
            self._is_checked = True
        ended = step.ended()
        self._tensor_episodes.add(step, ended)
        rewards = on_host(step.rewards).astype(np.float32)
        return on_host(cloned(step.obs)), rewards, on_host(ended), self._infos(step, on_host(ended))

    def _infos(self, step: TensorStep, dones: np.ndarray) -> list[dict[str, Any]]:
        """Infos as a ``Monitor`` and a ``DummyVecEnv`` give them."""
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        bootstraps = step.bootstraps()
        limits = np.zeros(self.num_envs, bool) if bootstraps is None else on_host(bootstraps)
        final_obs = None if step.final_obs is None else on_host(step.final_obs)
        for index, episode in zip(np.flatnonzero(dones).tolist(), self._tensor_episodes.read(), strict=True):
            infos[index] = episode | {"TimeLimit.truncated": bool(limits[index])}
            if final_obs is not None:
                infos[index]["terminal_observation"] = _row(final_obs, index)
        return infos

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Attribute of the simulator, once for each environment.

        :param attr_name: its name
        :param indices: of the environments; None for all
        """
        return [getattr(self, attr_name)] * self._count(indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the simulator, which is one for all environments.

        :param attr_name: its name
        :param value: any
        :param indices: must be None
        :raises ValueError: some of the environments are meant
        """
        if indices is not None:
            raise ValueError(f"The environments are one simulator: `{attr_name}` is set for all; pass `indices=None`")
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the simulator once, and return its result for each environment.

        :param method_name: its name
        :param method_args: of the method
        :param indices: of the environments; None for all
        :param method_kwargs: of the method
        """
        return [getattr(self, method_name)(*method_args, **method_kwargs)] * self._count(indices)

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """False for each environment: a simulator has no wrappers of Gymnasium."""
        return [False] * self._count(indices)

    def close(self) -> None:
        """Nothing to close; a subclass may have."""

    def _count(self, indices: VecEnvIndices) -> int:
        return len(list(self._get_indices(indices)))


def _row(obs: Any, index: int) -> Any:
    return {key: values[index] for key, values in obs.items()} if isinstance(obs, dict) else obs[index]


def unbounded_space(obs: PyTorchObs) -> spaces.Space:
    """Observation space of a simulator that names none: without bounds.

    :param obs: (n_envs, ...), or a dict of such
    """
    if isinstance(obs, dict):
        return spaces.Dict({name: unbounded_space(values) for name, values in obs.items()})
    dtype = th.empty(0, dtype=obs.dtype).numpy().dtype
    if dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, tuple(obs.shape[1:]), dtype.type)
    limits = np.iinfo(dtype)
    return spaces.Box(limits.min, limits.max, tuple(obs.shape[1:]), dtype.type)
