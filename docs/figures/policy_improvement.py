"""Draw what each family of policies can make of a target with two modes: `docs/images/policy_improvement.png`.

    python docs/figures/policy_improvement.py

One state, one step, reward of two narrow modes of which the left one is higher; the optimal policy is the Boltzmann
distribution exp(r / alpha) / Z. Each agent is trained on it, then compared with its own target exp(Q / alpha) / Z. The
density of soft Q-learning's network is not known, so that a histogram of its samples is drawn.
"""

from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import torch as th
from gymnasium import spaces

from sb3_softac import SoftAC
from sb3_softac.diagnostics import PolicyImprovement, policy_improvement

OUTPUT = Path(__file__).parents[1] / "images" / "policy_improvement.png"
ALPHA = 0.1
FITS = {"one Gaussian": 1, "mixture of four": 4}
N_SAMPLES, N_BINS = 100_000, 80


class TwoModes(gym.Env):
    """Reward 1 at -0.6 and 0.9 at 0.6."""

    observation_space = spaces.Box(0.0, 1.0, (1,))
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(1, dtype=np.float32), float(reward(action[0])), True, False, {}


def reward(action: np.ndarray) -> np.ndarray:
    """Two narrow modes, the left one higher."""
    return np.exp(-(((action + 0.6) / 0.15) ** 2) / 2) + 0.9 * np.exp(-(((action - 0.6) / 0.15) ** 2) / 2)


def train(n_components: int = 1, **kwargs: Any) -> SoftAC:
    """Train an agent."""
    return SoftAC(
        "MlpPolicy",
        TwoModes(),
        ent_coef=ALPHA,
        learning_rate=3e-3,
        learning_starts=500,
        train_freq=500,
        gradient_steps=600,
        batch_size=128,
        buffer_size=3000,
        policy_kwargs={"net_arch": [64, 64], "n_components": n_components},
        seed=0,
        **kwargs,
    ).learn(2500)


def fit(n_components: int) -> PolicyImprovement:
    """Train an agent, and compare its policy with its target."""
    return policy_improvement(train(n_components), np.zeros((1, 1), dtype=np.float32))


def draw_soft_q(axis: Any) -> None:
    """Draw the samples of soft Q-learning, and their target."""
    model = train(variant="soft_q", n_particles=32)
    actions = np.linspace(-1.0, 1.0, 2001)
    with th.no_grad():
        q = model.critic.q_values(th.zeros(1, 1), th.as_tensor(actions, dtype=th.float32).view(1, -1, 1)).amin(dim=0)[0]
    log_target = (q / ALPHA).log_softmax(dim=-1).numpy()
    axis.fill_between(actions, density(log_target, actions), alpha=0.3, color="grey")
    samples = model.predict(np.zeros((N_SAMPLES, 1), dtype=np.float32))[0].ravel()
    axis.hist(samples, bins=N_BINS, range=(-1.0, 1.0), density=True, histtype="step", color="C0")
    left, expected = (samples < 0).mean(), np.exp(log_target)[actions < 0].sum()
    axis.set(title=f"soft Q-learning: {left:.2f} on the left, of {expected:.2f}", xlabel="action", xlim=(-1, 1))
    print(f"soft Q-learning: {left:.3f} of the samples are on the left, {expected:.3f} of exp(Q / alpha) / Z")


def density(log_probability: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Density on [-1, 1] from probabilities of grid points."""
    return np.exp(log_probability) / np.gradient(actions)


def main() -> None:
    """Train, draw, print the divergences."""
    th.set_num_threads(1)
    figure, axes = plt.subplots(1, len(FITS) + 1, figsize=(12, 3.2), sharey=True, layout="constrained")
    draw_soft_q(axes[-1])
    for axis, (name, n_components) in zip(axes[:-1], FITS.items(), strict=True):
        result = fit(n_components)
        inside = np.abs(result.actions[:, 0]) < 0.995  # the grid is even before tanh, and so very dense at the ends
        actions, log_pi, log_target = result.actions[inside, 0], result.log_pi[0, inside], result.log_target[0, inside]
        axis.fill_between(actions, density(log_target, actions), alpha=0.3, color="grey")
        axis.plot(actions, density(log_pi, actions), color="C0")
        axis.set(title=f"{name}: KL = {result.kl[0]:.2f} nats", xlabel="action", xlim=(-1, 1))
        print(f"{name}: KL(pi || exp(Q / alpha) / Z) = {result.kl[0]:.3f} nats")
    axes[0].set_ylabel("density")
    axes[0].legend(["exp(Q / alpha) / Z", "policy"], frameon=False)
    OUTPUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUTPUT, dpi=150)


if __name__ == "__main__":
    main()
