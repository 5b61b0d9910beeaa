"""SAC as a single-file implementation writes it: plain modules, one optimizer step after the other, eager torch.

Written from arXiv:1812.05905v2, algorithm 1, in the manner of CleanRL's scripts (two critics evaluated one by one,
targets moved parameter by parameter, losses read back once in a hundred updates), with SB3 SAC's sizes and defaults.
It is a contender of ``benchmarks/speed.py`` and nothing else.
"""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import torch as th
import torch.nn.functional as F  # noqa: N812
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import nn

LOG_STD_BOUNDS = (-20.0, 2.0)
READ_BACK_EVERY = 100


class Actor(nn.Module):
    """A squashed Gaussian with two heads."""

    def __init__(self, obs_dim: int, action_dim: int, width: int) -> None:
        super().__init__()
        self.hidden = _mlp(obs_dim, width)
        self.mean = nn.Linear(width, action_dim)
        self.log_std = nn.Linear(width, action_dim)

    def forward(self, obs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Actions in [-1, 1], (B, D), and their log-probabilities, (B, 1).   arXiv:1801.01290, Eq. (21)"""
        latent = self.hidden(obs)
        normal = th.distributions.Normal(self.mean(latent), self.log_std(latent).clamp(*LOG_STD_BOUNDS).exp())
        unsquashed = normal.rsample()
        log_det = 2.0 * (math.log(2.0) - unsquashed - F.softplus(-2.0 * unsquashed))
        return unsquashed.tanh(), (normal.log_prob(unsquashed) - log_det).sum(dim=1, keepdim=True)


class Critic(nn.Module):
    """Q of one observation and action each."""

    def __init__(self, obs_dim: int, action_dim: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_mlp(obs_dim + action_dim, width), nn.Linear(width, 1))

    def forward(self, obs: th.Tensor, action: th.Tensor) -> th.Tensor:
        """(B, 1)"""
        return self.layers(th.cat([obs, action], dim=1))


def _mlp(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


class PlainSAC:
    """The part of SB3's interface that is timed.

    :param policy: ``"MlpPolicy"``
    :param env: one environment with Box observations of one dimension and Box actions in [-1, 1]
    :param learning_starts: random steps before the first update
    :param batch_size: transitions in one gradient step
    :param policy_kwargs: ``net_arch`` of two equal layers
    :param seed: of weights and noise
    :param device: torch device
    """

    def __init__(
        self, policy: str, env: gym.Env, learning_starts=100, batch_size=256, policy_kwargs=None, seed=0, device="cpu"
    ) -> None:
        if policy != "MlpPolicy" or set(policy_kwargs or {}) - {"net_arch"} or not isinstance(env, gym.Env):
            raise ValueError("plain two-critic networks on one environment are all that there is")
        th.manual_seed(seed)
        self.env, self.device = env, th.device(device)
        self.learning_starts, self.batch_size, self.num_timesteps = learning_starts, batch_size, 0
        self.gamma, self.tau, learning_rate = 0.99, 0.005, 3e-4
        width = (policy_kwargs or {}).get("net_arch", [256])[0]
        sizes = env.observation_space.shape[0], env.action_space.shape[0], width
        self.actor = Actor(*sizes).to(self.device)
        self.critics = nn.ModuleList(Critic(*sizes) for _ in range(2)).to(self.device)
        self.targets = nn.ModuleList(Critic(*sizes) for _ in range(2)).to(self.device)
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_alpha = th.zeros(1, device=self.device, requires_grad=True)
        self.target_entropy = -float(sizes[1])
        self.actor_optimizer = th.optim.Adam(self.actor.parameters(), lr=learning_rate)
        self.critic_optimizer = th.optim.Adam(self.critics.parameters(), lr=learning_rate)
        self.alpha_optimizer = th.optim.Adam([self.log_alpha], lr=learning_rate)
        self.replay_buffer = ReplayBuffer(
            1_000_000, env.observation_space, env.action_space, self.device, handle_timeout_termination=False
        )
        self._obs, _ = env.reset(seed=seed)
        self._updates = 0

    def learn(self, total_timesteps: int, reset_num_timesteps: bool = True) -> None:
        """Act, store, and update once a step."""
        for _ in range(total_timesteps):
            action = self._act()
            next_obs, reward, terminated, truncated, _ = self.env.step(action)
            self.replay_buffer.add(self._obs, next_obs, action, np.array([reward]), np.array([terminated]), [{}])
            self._obs = self.env.reset()[0] if terminated or truncated else next_obs
            self.num_timesteps += 1
            if self.num_timesteps > self.learning_starts:
                self.train(1, self.batch_size)

    def _act(self) -> np.ndarray:
        if self.num_timesteps < self.learning_starts:
            return self.env.action_space.sample()
        with th.no_grad():
            action, _ = self.actor(th.as_tensor(self._obs, device=self.device).unsqueeze(0))
        return action[0].cpu().numpy()

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """The gradient steps of algorithm 1."""
        for _ in range(gradient_steps):
            batch, alpha = self.replay_buffer.sample(batch_size), self.log_alpha.detach().exp()
            losses = {"critic": self._critic_step(batch, alpha), **self._actor_step(batch.observations, alpha)}
            for critic, target in zip(self.critics.parameters(), self.targets.parameters(), strict=True):
                target.data.copy_(self.tau * critic.data + (1.0 - self.tau) * target.data)
            self._updates += 1
            if self._updates % READ_BACK_EVERY == 0:
                self.last_losses = {name: loss.item() for name, loss in losses.items()}

    def _critic_step(self, batch: ReplayBufferSamples, alpha: th.Tensor) -> th.Tensor:
        """arXiv:1812.05905v2, Eq. (5)"""
        obs, action, next_obs, done, reward = batch[:5]
        with th.no_grad():
            next_action, next_log_pi = self.actor(next_obs)
            next_q = th.min(*(target(next_obs, next_action) for target in self.targets))
            target_q = reward + self.gamma * (1.0 - done) * (next_q - alpha * next_log_pi)
        loss = sum(F.mse_loss(critic(obs, action), target_q) for critic in self.critics)
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        return loss

    def _actor_step(self, obs: th.Tensor, alpha: th.Tensor) -> dict[str, th.Tensor]:
        """arXiv:1812.05905v2, Eq. (9) and (18)"""
        action, log_pi = self.actor(obs)
        actor_loss = (alpha * log_pi - th.min(*(critic(obs, action) for critic in self.critics))).mean()
        self.actor_optimizer.zero_grad()
        actor_loss.backward()
        self.actor_optimizer.step()
        alpha_loss = -(self.log_alpha.exp() * (log_pi.detach() + self.target_entropy)).mean()
        self.alpha_optimizer.zero_grad()
        alpha_loss.backward()
        self.alpha_optimizer.step()
        return {"actor": actor_loss, "alpha": alpha_loss}
