"""Rollouts in simulators on a device: actions, transitions and returns stay there, and the host reads now and then."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import RolloutReturn, TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv

from sb3_softac.buffers.returns import RunningReturns
from sb3_softac.buffers.tensors import TensorReplayBuffer
from sb3_softac.collecting.explore import Explorer
from sb3_softac.collecting.seen import SeenObservations
from sb3_softac.collecting.steps import BadStepError
from sb3_softac.collecting.tensor_episodes import STEPS_BETWEEN_READINGS, TensorEpisodes
from sb3_softac.collecting.tensor_explore import TensorExplorer
from sb3_softac.collecting.tensor_steps import (
    HostOnDemand,
    TensorStep,
    check_step,
    cloned,
    on_device,
    same_device,
    takes_tensors,
    wrapper_on_host,
)
from sb3_softac.networks.observations import on_host
from sb3_softac.policies import SoftACPolicy


class DeviceSteps:
    """Steps of an environment of tensors.

    :param env: with the method ``step_tensors()``
    :param policy: the policy, on the same device
    :param n_rows: steps that the replay buffer holds: what is read of them is read before they are overwritten
    """

    def __init__(self, env: Any, policy: SoftACPolicy, n_rows: int) -> None:
        check_device(env, policy.device)
        self.env = env
        self.explorer = TensorExplorer(policy)
        self.episodes = TensorEpisodes(env.num_envs, policy.device, min(n_rows, STEPS_BETWEEN_READINGS))
        self._is_checked = False

    def make(self, actions: th.Tensor) -> TensorStep:
        """Step the environments; the first step is looked at.

        :param actions: (n_envs, ...), in the bounds of a Box
        :raises ValueError: naming a tensor that is not as :class:`TensorStep` says
        """
        step = self.env.step_tensors(actions)
        if not self._is_checked:
            check_step(step, self.env.observation_space, self.env.num_envs, self.env.device)
            self._is_checked = True
        return step


def check_device(env: Any, device: th.device) -> None:
    """Refuse an environment whose tensors are on another device than the networks.

    :param env: of tensors
    :param device: of the networks
    :raises ValueError: naming both devices
    """
    if not same_device(env.device, device):
        raise ValueError(
            f"The environment computes on {env.device}, but the networks are on {device}: pass "
            f"`device={str(env.device)!r}` to the agent, or make the environment on {device}"
        )


class TensorRollouts(OffPolicyAlgorithm):
    """The part of SoftAC that collects from simulators on a device, if nothing that was asked for needs numpy."""

    policy: SoftACPolicy
    overlap: bool
    action_noise: ActionNoise | None
    replay_buffer: Any
    _engine: Any  #: an ``EngineKeeper``
    explorer: Explorer
    _seen: SeenObservations
    _running_returns: RunningReturns | None
    _device_steps: DeviceSteps | None = None  #: None: steps pass the host, as in Stable-Baselines3
    _reads_later = False  #: whether metrics stay on the device until episodes are read
    _logged_episodes = 0  #: at the last log
    _predicts_by_own_code: Callable[[], bool]
    _log_training: Callable[[dict[str, float]], None]
    _count_episodes: Callable[[list[dict[str, Any]], np.ndarray], None]

    def _setup_model(self) -> None:
        super()._setup_model()
        if takes_tensors(self.env):
            check_device(self.env, self.device)

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        before = self._last_obs
        ready = super()._setup_learn(*args, **kwargs)
        self._device_steps = self._current_device_steps()
        if self._device_steps is not None and self._last_obs is not before:
            self._device_steps.episodes.begin()
            self.replay_buffer.end_episodes()
        return ready

    def _current_device_steps(self) -> DeviceSteps | None:
        """Steps on the device, if that is possible; the same as before for the same environment."""
        reason = self._reason_for_host()
        if reason is not None:
            warnings.warn(f"The environment gives tensors, but each step passes the host: {reason}", stacklevel=5)
        if reason is not None or not takes_tensors(self.env):
            return None
        if self._device_steps is not None and self._device_steps.env is self.env:
            return self._device_steps
        steps = DeviceSteps(self.env, self.policy, self.replay_buffer.buffer_size)
        steps.episodes.begin(is_reset=False)
        self._logged_episodes = self._episode_num
        return steps

    def _reason_for_host(self) -> str | None:
        """Reason why steps of tensors become numpy arrays, with what to do; None if there is none."""
        wrapper = wrapper_on_host(self.env)
        if wrapper is not None:
            return (
                f"`{wrapper}` computes in numpy. Leave it out: returns are logged without a `VecMonitor`, and "
                "`policy_kwargs=dict(normalize_obs=True)` normalises observations"
            )
        if not takes_tensors(self.env):
            return None
        if not isinstance(self.replay_buffer, TensorReplayBuffer):
            return f"`{type(self.replay_buffer).__name__}` takes numpy arrays. Pass `replay_buffer_class=None`"
        if self.action_noise is not None:
            return "`action_noise` is drawn in numpy. Leave it out: the policy explores by itself"
        if self.overlap:
            return "`overlap` makes gradient steps beside steps of numpy. Leave it out: a device computes both anyway"
        train_freq: Any = self.train_freq  # a `TrainFreq` since the set-up
        if train_freq.unit is TrainFrequencyUnit.EPISODE:
            return "`train_freq` counts episodes, whose ends the host has to see. Count steps"
        return "`predict()` is not SoftAC's own, and takes numpy arrays" if self._predicts_by_own_code() else None

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        try:
            super().learn(*args, **kwargs)
            if self._reads_later:
                self._read_device(kwargs.get("log_interval"))
        finally:
            self._reads_later = False
            self._last_obs = on_host(self._last_obs)
        return self

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: ReplayBuffer,
        action_noise: ActionNoise | None = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
    ) -> RolloutReturn:
        """Act in the environment until the next training; see Stable-Baselines3.

        :param env: the environment
        :param callback: called at every step of all environments
        :param train_freq: steps until the next training
        :param replay_buffer: takes the transitions
        :param action_noise: noise added to the actions; None for none
        :param learning_starts: environment steps with random actions
        :param log_interval: episodes between logs; on a device at least so many. None for no logs
        """
        steps = self._device_steps
        if steps is None:
            return super().collect_rollouts(
                env, callback, train_freq, replay_buffer, action_noise, learning_starts, log_interval
            )
        self._reads_later = True
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        for n_steps in range(train_freq.frequency):
            self._draw_noise(n_steps)
            if not self._step_on_device(steps, callback, learning_starts):
                return RolloutReturn((n_steps + 1) * self.n_envs, 0, continue_training=False)
            if steps.episodes.is_full():
                self._read_device(log_interval)
        if (
            self.num_timesteps > learning_starts
            and self._running_returns is not None
            and self._running_returns.is_empty
        ):
            self._read_device(log_interval)  # the first gradient step divides the rewards
        callback.on_rollout_end()
        return RolloutReturn(train_freq.frequency * self.n_envs, 0, continue_training=True)

    def _draw_noise(self, n_steps: int) -> None:
        """Draw gSDE's weights: as a rollout begins, and each time that ``sde_sample_freq`` steps of it are done."""
        if self.use_sde and (n_steps == 0 or (self.sde_sample_freq > 0 and n_steps % self.sde_sample_freq == 0)):
            self.policy.reset_noise(self.n_envs)

    def _step_on_device(self, steps: DeviceSteps, callback: BaseCallback, learning_starts: int) -> bool:
        """Act once in all environments, and store it; False if a callback ends the training."""
        obs = on_device(self._last_obs, self.device)
        if self.num_timesteps < learning_starts and not (self.use_sde and self.use_sde_at_warmup):
            actions = steps.explorer.random(obs, self.n_envs)
        else:
            actions = steps.explorer.action(obs, self.explorer.repeat)
        step = steps.make(actions.for_env)
        ended = step.ended()
        self.num_timesteps += self.n_envs
        rewards, dones = HostOnDemand(step.rewards), HostOnDemand(ended)
        callback.update_locals({"self": self, "new_obs": step.obs, "rewards": rewards, "dones": dones, "infos": []})
        if not callback.on_step():
            return False
        self._seen.add(obs)
        self.replay_buffer.add_tensors(
            obs, step.next_obs(ended), actions.stored, step.rewards, ended, step.bootstraps()
        )
        steps.episodes.add(step, ended)
        self._last_obs = cloned(step.obs)  # type: ignore[assignment]  # tensors during a rollout
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        self._on_step()
        return True

    def _read_device(self, log_interval: int | None) -> None:
        """Read what the device has found since the last call: episodes, metrics, and whether steps were usable.

        :param log_interval: episodes between logs; None for no logs
        :raises ValueError: what cannot be learned from was stored (``BadStepError``), or learning has diverged
        """
        steps = self._device_steps
        assert steps is not None
        n_steps = steps.episodes.n_steps
        if self.replay_buffer.has_broken_steps(n_steps):
            raise BadStepError(
                f"In the last {n_steps} steps up to step {self.num_timesteps}, an environment gave an observation or a "
                "reward that is not finite, and the agent may have learned from it: on a device, steps are looked at "
                "only now and then. Mend the environment, and go on from the last checkpoint"
            )
        if self._running_returns is not None:
            for rewards, dones in zip(*self.replay_buffer.newest(n_steps), strict=True):
                self._running_returns.see(rewards, dones, self.gamma)
        episodes = steps.episodes.read()
        self._episode_num += len(episodes)
        self._count_episodes(episodes, np.ones(len(episodes), bool))
        metrics = self._engine.read_metrics()
        if metrics:
            self._log_training(metrics)
        if log_interval is not None and self._episode_num - self._logged_episodes >= log_interval:
            self._logged_episodes = self._episode_num
            self.dump_logs()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_device_steps", "_reads_later", "_logged_episodes"]
