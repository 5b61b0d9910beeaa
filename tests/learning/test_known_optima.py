"""Whole trainings against optima that are known in closed form."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_softac import SoftAC


class QuadraticBandit(gym.Env):
    """One step, reward -c (a - m)^2: the optimal policy is nearly Gaussian with mean m and variance alpha / 2c."""

    observation_space = spaces.Box(0.0, 1.0, (1,))
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, curvature: float = 8.0, mode: float = 0.2) -> None:
        self.curvature, self.mode = curvature, mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action):
        reward = -self.curvature * float((action[0] - self.mode) ** 2)
        return np.zeros(1, dtype=np.float32), reward, True, False, {}


@pytest.mark.parametrize("n_action_samples", [1, 4])
def test_bandit_policy_has_the_mean_and_spread_of_the_boltzmann_distribution(n_action_samples):
    model = SoftAC(
        "MlpPolicy",
        QuadraticBandit(),
        ent_coef=0.2,
        learning_rate=3e-3,
        learning_starts=500,
        train_freq=500,
        gradient_steps=250,
        batch_size=128,
        n_action_samples=n_action_samples,
        policy_kwargs={"net_arch": [32, 32]},
        seed=0,
    ).learn(2500)
    actions = th.linspace(-1, 1, 2001, dtype=th.float64)
    boltzmann = th.softmax(-8.0 * (actions - 0.2) ** 2 / 0.2, dim=0)
    mean = (boltzmann * actions).sum()
    std = ((boltzmann * (actions - mean) ** 2).sum()) ** 0.5
    assert std.item() == pytest.approx((0.2 / 16) ** 0.5, rel=0.01)  # the closed form
    samples, _ = model.predict(np.zeros((4000, 1), dtype=np.float32))
    assert samples.mean() == pytest.approx(mean.item(), abs=0.03)
    assert samples.std() == pytest.approx(std.item(), rel=0.12)


def test_learned_temperature_holds_the_entropy_at_its_target():
    model = SoftAC(
        "MlpPolicy",
        QuadraticBandit(),
        target_entropy=-0.5,
        learning_rate=3e-3,
        learning_starts=500,
        train_freq=500,
        gradient_steps=1200,
        batch_size=128,
        policy_kwargs={"net_arch": [32, 32]},
        seed=0,
    ).learn(1000)
    model.actor.n_action_samples = 4000
    with th.no_grad():
        entropy = -model.actor.support(th.zeros(1, 1)).log_pi.mean().item()
    assert entropy == pytest.approx(-0.5, abs=0.15)


@pytest.mark.slow
def test_pendulum_is_solved():
    model = SoftAC("MlpPolicy", "Pendulum-v1", learning_rate=1e-3, seed=0).learn(8000)
    mean, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=50)
    assert mean > -200
