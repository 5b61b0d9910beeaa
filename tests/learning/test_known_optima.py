"""Whole trainings against optima that are known in closed form, for every variant and gradient."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from sb3_softac import SoftAC
from tests.helpers import ready

# Episodes of one step are the task here.
pytestmark = pytest.mark.filterwarnings("ignore:Before learning starts. each of the first")

ALPHA = 0.2
SETTINGS = {
    "learning_rate": 3e-3,
    "learning_starts": 500,
    "train_freq": 500,
    "gradient_steps": 250,
    "batch_size": 128,
    "buffer_size": 3000,
    "tau": 0.05,
    "policy_kwargs": {"net_arch": [32, 32]},
    "seed": 0,
}
VARIANTS = {
    "v2": {"ent_coef": ALPHA},
    "v2, four samples": {"ent_coef": ALPHA, "n_action_samples": 4},
    "v2, score function": {
        "ent_coef": ALPHA,
        "actor_gradient": "score_function",
        "n_action_samples": 8,
        "baseline": "leave_one_out",
    },
    "v2, score function, state value": {
        "ent_coef": ALPHA,
        "actor_gradient": "score_function",
        "n_action_samples": 8,
    },
    "v2, REDQ": {
        "ent_coef": ALPHA,
        "n_target_critics": 2,
        "actor_q_reduction": "mean",
        "policy_delay": 2,
        "policy_kwargs": {"net_arch": [32, 32], "n_critics": 5},
    },
    "v2, own targets": {"ent_coef": ALPHA, "target_networks": False},
    "v1": {"variant": "v1", "reward_scale": 1 / ALPHA},
    "soft_q": {"variant": "soft_q", "ent_coef": ALPHA},
    "v1, score function": {
        "variant": "v1",
        "reward_scale": 1 / ALPHA,
        "actor_gradient": "score_function",
        "n_action_samples": 8,
    },
}


class Bandit(gym.Env):
    """One state, one step."""

    observation_space = spaces.Box(0.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action):
        return np.zeros(1, dtype=np.float32), float(self.reward(action)), True, False, {}


class QuadraticBandit(Bandit):
    """Reward -8 (a - 0.2)^2: the optimal policy is nearly Gaussian with variance alpha / 16."""

    action_space = spaces.Box(-1.0, 1.0, (1,))

    @staticmethod
    def reward(action):
        return -8.0 * (action[0] - 0.2) ** 2


class TwoModesBandit(Bandit):
    """Two narrow modes, the left one higher by 0.1: the optimal policy puts odds of exp(0.1 / alpha) on it."""

    action_space = spaces.Box(-1.0, 1.0, (1,))

    @staticmethod
    def reward(action):
        left, right = (np.exp(-(((action[0] - mode) / 0.15) ** 2) / 2) for mode in (-0.6, 0.6))
        return 1.0 * left + 0.9 * right


class ThreeArmedBandit(Bandit):
    """Rewards 0, 0.3, -0.2: the optimal policy is softmax(r / alpha)."""

    action_space = spaces.Discrete(3)
    rewards = np.array([0.0, 0.3, -0.2])

    @classmethod
    def reward(cls, action):
        return cls.rewards[action]


def samples_of(model: SoftAC) -> np.ndarray:
    return model.predict(np.zeros((4000, 1), dtype=np.float32))[0]


def boltzmann(reward, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """exp(r / alpha) / Z on a grid of actions."""
    actions = np.linspace(-0.999, 0.999, 2001)
    density = np.exp(reward(actions[None]) / alpha)
    return actions, density / density.sum()


@pytest.mark.parametrize("variant", VARIANTS)
def test_box_policy_has_the_mean_and_spread_of_the_boltzmann_distribution(variant):
    model = SoftAC("MlpPolicy", QuadraticBandit(), **SETTINGS | VARIANTS[variant]).learn(2500)
    actions, probability = boltzmann(QuadraticBandit.reward, ALPHA)
    mean = (probability * actions).sum()
    std = np.sqrt((probability * (actions - mean) ** 2).sum())
    assert std == pytest.approx(np.sqrt(ALPHA / 16), rel=0.01)  # the closed form
    samples = samples_of(model)
    assert samples.mean() == pytest.approx(mean, abs=0.03)
    assert samples.std() == pytest.approx(std, rel=0.15)


class ContextualBandit(gym.Env):
    """A random state s, one step, reward -8 (a - s / 2)^2: nearly Gaussian around s / 2 with variance alpha / 16."""

    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def _observe(self):
        self._state = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        return self._state

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action):
        reward = -8.0 * float(action[0] - self._state[0] / 2) ** 2
        return self._observe(), reward, True, False, {}


@pytest.mark.parametrize(
    "kwargs", [{}, {"target_networks": False}, {"target_networks": False, "variant": "v1"}], ids=str
)
def test_with_batch_norm_the_policy_is_the_boltzmann_distribution_of_every_state(kwargs):
    """Several states: of a single one, batch normalisation would amplify nothing but noise."""
    settings = SETTINGS | {"ent_coef": ALPHA, "policy_kwargs": {"net_arch": [32, 32], "batch_norm": True}}
    model = SoftAC("MlpPolicy", ContextualBandit(), **settings | kwargs).learn(2500)
    deviations = []
    for state in (-0.8, 0.0, 0.8):
        samples = model.predict(np.full((4000, 1), state, dtype=np.float32))[0]
        assert samples.mean() == pytest.approx(state / 2, abs=0.1)
        deviations.append(samples.std())
    assert np.mean(deviations) == pytest.approx(np.sqrt(ALPHA / 16), rel=0.25)


@pytest.mark.parametrize("variant", VARIANTS)
def test_discrete_policy_is_the_softmax_of_the_rewards(variant):
    model = SoftAC("MlpPolicy", ThreeArmedBandit(), **SETTINGS | VARIANTS[variant]).learn(2500)
    expected = np.exp(ThreeArmedBandit.rewards / ALPHA)
    expected /= expected.sum()
    with th.no_grad():
        probabilities = model.actor.log_probs(th.zeros(1, 1)).exp().flatten().numpy()
    np.testing.assert_allclose(probabilities, expected, atol=0.04)


@pytest.mark.parametrize(
    "gradient",
    [
        pytest.param({}, id="reparameterized"),
        pytest.param(
            {"actor_gradient": "score_function", "n_action_samples": 16, "baseline": "leave_one_out"},
            id="score function",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_mixture_puts_the_right_mass_on_both_modes_and_one_gaussian_cannot(gradient):
    kwargs = SETTINGS | {"ent_coef": 0.1, "gradient_steps": 600}
    mass_on_left = {}
    for n_components in (1, 4):
        policy_kwargs = {"net_arch": [64, 64], "n_components": n_components}
        model = SoftAC("MlpPolicy", TwoModesBandit(), **kwargs | gradient | {"policy_kwargs": policy_kwargs}).learn(
            2500
        )
        samples = samples_of(model)
        mass_on_left[n_components] = (samples < 0).mean()
        near_a_mode = (np.abs(np.abs(samples) - 0.6) < 0.4).mean()
    actions, probability = boltzmann(TwoModesBandit.reward, 0.1)
    expected = probability[actions < 0].sum()
    assert 0.6 < expected < 0.8
    assert mass_on_left[4] == pytest.approx(expected, abs=0.1)
    assert near_a_mode > 0.85
    assert mass_on_left[1] > 0.95 or mass_on_left[1] < 0.5  # one Gaussian takes one mode, or the valley between


def test_soft_q_puts_the_right_mass_on_both_modes():
    """Its sampling network is of no family, and its deterministic action is near a mode and not between them."""
    kwargs = SETTINGS | {"policy_kwargs": {"net_arch": [64, 64]}}
    model = SoftAC("MlpPolicy", TwoModesBandit(), variant="soft_q", ent_coef=ALPHA, **kwargs).learn(2500)
    samples = samples_of(model)
    actions, probability = boltzmann(TwoModesBandit.reward, ALPHA)
    assert (samples < 0).mean() == pytest.approx(probability[actions < 0].sum(), abs=0.05)
    near = np.abs(np.abs(actions) - 0.6) < 0.2
    assert (np.abs(np.abs(samples) - 0.6) < 0.2).mean() == pytest.approx(probability[near].sum(), abs=0.05)
    mode, _ = model.predict(np.zeros(1, dtype=np.float32), deterministic=True)
    assert abs(mode[0]) == pytest.approx(0.6, abs=0.15)


def test_learned_temperature_holds_the_entropy_at_its_target():
    model = SoftAC("MlpPolicy", QuadraticBandit(), target_entropy=-0.5, **SETTINGS | {"gradient_steps": 400}).learn(
        2500
    )
    with th.no_grad():
        entropy = -model.actor.support(th.zeros(1, 1), 4000).log_pi.mean().item()
    assert entropy == pytest.approx(-0.5, abs=0.15)


def test_learned_temperature_holds_the_entropy_of_a_discrete_policy():
    model = SoftAC("MlpPolicy", ThreeArmedBandit(), target_entropy="auto_0.5", **SETTINGS | {"gradient_steps": 600})
    assert model.target_entropy == pytest.approx(0.5 * np.log(3))
    model.learn(2500)
    with th.no_grad():
        log_pi = model.actor.log_probs(th.zeros(1, 1))
    assert -(log_pi.exp() * log_pi).sum().item() == pytest.approx(model.target_entropy, abs=0.08)


class Chain:
    """Three states, two actions; one transition terminates, one is cut by a time limit (and so bootstraps)."""

    n_states, n_actions, gamma, alpha = 3, 2, 0.8, 0.5
    next_state = np.array([[1, 0], [2, 0], [2, 1]])
    reward = np.array([[0.0, 0.5], [1.0, -0.5], [0.3, 2.0]])
    terminal = np.array([[0, 0], [0, 0], [0, 1]])  # a time limit after (1, 0) leaves its 0 as it is

    @classmethod
    def solve(cls) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Soft value iteration: Q, V, pi."""
        q = np.zeros((cls.n_states, cls.n_actions))
        for _ in range(500):
            v = cls.alpha * np.log(np.exp(q / cls.alpha).sum(axis=1))
            q = cls.reward + cls.gamma * (1 - cls.terminal) * v[cls.next_state]
        return q, v, np.exp((q - v[:, None]) / cls.alpha)

    @classmethod
    def batch(cls) -> ReplayBufferSamples:
        """Every transition once."""
        states, actions = np.divmod(np.arange(cls.n_states * cls.n_actions), cls.n_actions)
        one_hot = np.eye(cls.n_states, dtype=np.float32)

        def column(values: np.ndarray) -> th.Tensor:
            return th.tensor(values.reshape(-1, 1), dtype=th.float32)

        return ReplayBufferSamples(
            observations=th.tensor(one_hot[states]),
            actions=th.tensor(actions.reshape(-1, 1)),
            next_observations=th.tensor(one_hot[cls.next_state[states, actions]]),
            dones=column(cls.terminal),
            rewards=column(cls.reward),
        )


class ChainEnv(gym.Env):
    """The spaces of the chain; the test brings its transitions itself."""

    observation_space = spaces.Box(0.0, 1.0, (Chain.n_states,))
    action_space = spaces.Discrete(Chain.n_actions)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"ent_coef": Chain.alpha},
        {"ent_coef": Chain.alpha, "q_reduction": "mean", "q_target_clip": 5.0},
        {"variant": "v1", "ent_coef": Chain.alpha},
        {"variant": "v1", "reward_scale": 1 / Chain.alpha},
        {"ent_coef": Chain.alpha, "actor_gradient": "score_function", "n_action_samples": 16},
        {"ent_coef": Chain.alpha, "n_target_critics": 2, "actor_q_reduction": "mean", "n_critics": 5},
        {"variant": "v1", "ent_coef": Chain.alpha, "n_target_critics": 2, "n_critics": 5},
        {"ent_coef": Chain.alpha, "policy_delay": 5},
        {"ent_coef": Chain.alpha, "target_networks": False},
        {"ent_coef": Chain.alpha, "target_networks": False, "batch_norm": True},
        {"variant": "v1", "ent_coef": Chain.alpha, "target_networks": False, "batch_norm": True},
        {"ent_coef": Chain.alpha, "batch_norm": True},
        {"variant": "soft_q", "ent_coef": Chain.alpha},
        {"variant": "soft_q", "reward_scale": 1 / Chain.alpha},
        {"variant": "soft_q", "ent_coef": Chain.alpha, "n_target_critics": 2, "q_reduction": "mean", "n_critics": 5},
        {"variant": "soft_q", "ent_coef": Chain.alpha, "target_networks": False},
        {"variant": "soft_q", "ent_coef": Chain.alpha, "batch_norm": True},
    ],
    ids=str,
)
def test_tabular_values_and_policy_are_those_of_soft_value_iteration(kwargs):
    """With one-hot states and no hidden layer, networks are tables; Q, V and pi to 0.05."""
    q, v, pi = Chain.solve()
    kwargs = dict(kwargs)
    policy_kwargs = {name: kwargs.pop(name) for name in ("n_critics", "batch_norm") if name in kwargs}
    model = ready(
        SoftAC(
            "MlpPolicy",
            ChainEnv(),
            gamma=Chain.gamma,
            tau=0.1,
            learning_rate=lambda progress: 2e-2 * progress,
            buffer_size=10,
            policy_kwargs={"net_arch": []} | policy_kwargs,
            seed=0,
            **kwargs,
        )
    )
    model.replay_buffer.sample = lambda *args, **kwargs: Chain.batch()
    model.replay_buffer.sample_batches = lambda n_batches, *args, **kwargs: (Chain.batch() for _ in range(n_batches))
    for training in range(10):
        model._current_progress_remaining = 1.0 - training / 10
        model.train(200, batch_size=6)
    states = th.eye(Chain.n_states)
    scale = kwargs.get("reward_scale", 1.0)
    with th.no_grad():
        q_learned = model.critic.q_values(states, None).mean(dim=0).numpy() / scale
        pi_learned = model.actor.log_probs(states).exp().numpy()
        np.testing.assert_allclose(q_learned, q, atol=0.05)
        np.testing.assert_allclose(pi_learned, pi, atol=0.05)
        if kwargs.get("variant") == "v1":
            np.testing.assert_allclose(model.value_net(states).numpy() / scale, v, atol=0.05)


@pytest.mark.slow
def test_pendulum_is_solved():
    model = SoftAC("MlpPolicy", "Pendulum-v1", learning_rate=1e-3, seed=0).learn(10_000)
    mean, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=50)
    assert mean > -200


@pytest.mark.slow
def test_cartpole_is_solved():
    """By the best agent of a run: at this rate of learning an agent falls back now and then."""
    kwargs = {"target_entropy": "auto_0.5", "learning_rate": 1e-3, "tau": 0.05, "learning_starts": 1000}
    evaluation = EvalCallback(make_vec_env("CartPole-v1", seed=2), n_eval_episodes=20, eval_freq=1000, verbose=0)
    SoftAC("MlpPolicy", "CartPole-v1", seed=1, **kwargs).learn(15_000, callback=evaluation)
    assert evaluation.best_mean_reward > 475  # which Gymnasium calls solved
