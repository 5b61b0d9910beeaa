"""Gymnasium's Pendulum and CartPole for thousands of environments at once: to try the device, and to write one's own.

Shapes: n_envs environments.
"""

import math

import numpy as np
import torch as th
from gymnasium import spaces

from sb3_softac.collecting.tensor_steps import TensorStep
from sb3_softac.distributed.tensor_vec_env import TensorVecEnv
from sb3_softac.settings.parsing import whole_number


class _Example(TensorVecEnv):
    """Environment with a state of tensors, a random generator, and a time limit.

    :param num_envs: number of environments
    :param state_dim: numbers of a state
    :param observation_space: of one environment
    :param action_space: of one environment
    :param device: of all tensors
    :param max_episode_steps: after which an episode is truncated
    """

    def __init__(
        self,
        num_envs: int,
        state_dim: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: th.device | str,
        max_episode_steps: int,
    ) -> None:
        super().__init__(num_envs, observation_space, action_space, device)
        self.max_episode_steps = whole_number("max_episode_steps", max_episode_steps)
        self.generator = th.Generator(self.device)
        self.generator.seed()
        self.state = th.zeros(self.num_envs, state_dim, device=self.device)
        self.steps = th.zeros(self.num_envs, dtype=th.long, device=self.device)

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed the initial states.

        :param seed: of the random generator; None for one that is drawn
        """
        seeds = list(super().seed(seed))
        self.generator.manual_seed(int(seeds[0] or 0))
        return seeds

    def reset_tensors(self) -> th.Tensor:
        self.state, self.steps = self._initial_states(), th.zeros_like(self.steps)
        return self._observed()

    def _initial_states(self) -> th.Tensor:
        raise NotImplementedError

    def _observed(self) -> th.Tensor:
        raise NotImplementedError

    def _uniform(self, size: int) -> th.Tensor:
        """(n_envs, size) random numbers in [-1, 1]."""
        return th.rand(self.num_envs, size, generator=self.generator, device=self.device) * 2.0 - 1.0

    def _finished(self, rewards: th.Tensor, terminated: th.Tensor) -> TensorStep:
        """Step with the environments reset that have ended.

        :param rewards: (n_envs,)
        :param terminated: (n_envs,) bool
        """
        self.steps += 1
        truncated = self.steps >= self.max_episode_steps
        final_obs, ended = self._observed(), terminated | truncated
        # Initial states are drawn for all: to draw them for some, the host would have to know how many.
        self.state = th.where(ended.unsqueeze(1), self._initial_states(), self.state)
        self.steps.masked_fill_(ended, 0)
        return TensorStep(self._observed(), rewards, terminated, truncated, final_obs)


class TensorPendulum(_Example):
    """Gymnasium's ``Pendulum-v1``: swing a pendulum up and hold it.

    The state is (n_envs, 2): the angle from upright in radians, and its speed in radians a second.

    :param num_envs: number of environments
    :param device: of all tensors
    :param max_episode_steps: after which an episode is truncated
    """

    gravity, mass, length, dt, max_speed, max_torque = 10.0, 1.0, 1.0, 0.05, 8.0, 2.0

    def __init__(self, num_envs: int, device: th.device | str = "cpu", max_episode_steps: int = 200) -> None:
        high = np.array([1.0, 1.0, self.max_speed], np.float32)
        observation_space = spaces.Box(-high, high)
        super().__init__(
            num_envs, 2, observation_space, spaces.Box(-self.max_torque, self.max_torque), device, max_episode_steps
        )

    def _initial_states(self) -> th.Tensor:
        return self._uniform(2) * th.tensor([math.pi, 1.0], device=self.device)

    def _observed(self) -> th.Tensor:
        angle, speed = self.state.unbind(1)
        return th.stack([angle.cos(), angle.sin(), speed], dim=1)

    def step_tensors(self, actions: th.Tensor) -> TensorStep:
        angle, speed = self.state.unbind(1)
        torque = actions[:, 0].clamp(-self.max_torque, self.max_torque)
        from_upright = (angle + math.pi) % (2.0 * math.pi) - math.pi
        rewards = -(from_upright.square() + 0.1 * speed.square() + 0.001 * torque.square())
        pull = 1.5 * self.gravity / self.length * angle.sin()
        speed = speed + (pull + 3.0 / (self.mass * self.length**2) * torque) * self.dt
        speed = speed.clamp(-self.max_speed, self.max_speed)
        self.state = th.stack([angle + speed * self.dt, speed], dim=1)
        return self._finished(rewards, th.zeros_like(self.steps, dtype=th.bool))


class TensorCartPole(_Example):
    """Gymnasium's ``CartPole-v1``: keep a pole upright by pushing its cart left or right.

    The state is (n_envs, 4): place of the cart, its speed, angle of the pole in radians, and its speed.

    :param num_envs: number of environments
    :param device: of all tensors
    :param max_episode_steps: after which an episode is truncated
    """

    gravity, cart_mass, pole_mass, half_length, force, dt = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
    max_place, max_angle = 2.4, 12.0 * 2.0 * math.pi / 360.0

    def __init__(self, num_envs: int, device: th.device | str = "cpu", max_episode_steps: int = 500) -> None:
        high = np.array([2.0 * self.max_place, np.inf, 2.0 * self.max_angle, np.inf], np.float32)
        super().__init__(num_envs, 4, spaces.Box(-high, high), spaces.Discrete(2), device, max_episode_steps)

    def _initial_states(self) -> th.Tensor:
        return 0.05 * self._uniform(4)

    def _observed(self) -> th.Tensor:
        return self.state.clone()

    def step_tensors(self, actions: th.Tensor) -> TensorStep:
        place, place_speed, angle, angle_speed = self.state.unbind(1)
        force = self.force * (2.0 * actions - 1.0)
        mass, moment = self.cart_mass + self.pole_mass, self.pole_mass * self.half_length
        cos, sin = angle.cos(), angle.sin()
        push = (force + moment * angle_speed.square() * sin) / mass
        inertia = self.half_length * (4.0 / 3.0 - self.pole_mass * cos.square() / mass)
        angle_acceleration = (self.gravity * sin - cos * push) / inertia
        acceleration = push - moment * angle_acceleration * cos / mass
        # Euler's method: places move by the speeds from before this step.
        moved = [place + self.dt * place_speed, place_speed + self.dt * acceleration]
        moved += [angle + self.dt * angle_speed, angle_speed + self.dt * angle_acceleration]
        self.state = th.stack(moved, dim=1)
        terminated = (moved[0].abs() > self.max_place) | (moved[2].abs() > self.max_angle)
        return self._finished(th.ones_like(angle), terminated)
