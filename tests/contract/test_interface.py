"""What users of Stable-Baselines3 combine its algorithms with, each with SoftAC."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common import callbacks
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize

from sb3_softac import SoftAC
from tests.helpers import SMALL, SMALL_DICT, Target, dict_space, image_space

SMALL_CNN = SMALL | {"policy_kwargs": {"net_arch": [16], "features_extractor_kwargs": {"features_dim": 8}}}


def make_model(env=None, policy: str = "MlpPolicy", **kwargs) -> SoftAC:
    return SoftAC(policy, env or Target(), **SMALL | {"seed": 0} | kwargs)


def test_environment_by_name():
    model = SoftAC("MlpPolicy", "Pendulum-v1", **SMALL).learn(30)
    action, _ = model.predict(model.observation_space.sample())
    assert model.action_space.contains(action)


@pytest.mark.parametrize("vec_env", [DummyVecEnv, SubprocVecEnv])
def test_vectorised_environments(vec_env):
    env = make_vec_env(Target, 2, vec_env_cls=vec_env)
    model = make_model(env, train_freq=4, gradient_steps=-1).learn(64)
    assert model.replay_buffer.rewards.shape == (250, 2)
    assert model._n_updates > 0
    env.close()


@pytest.mark.parametrize("channels_first", [True, False])
def test_images(channels_first):
    model = SoftAC("CnnPolicy", Target(image_space(channels_first)), **SMALL_CNN).learn(30)
    assert model.replay_buffer.observations.dtype == np.uint8
    assert model.predict(model.observation_space.sample())[0].shape == (2,)


def test_stacked_frames():
    env = VecFrameStack(make_vec_env(lambda: Target(image_space()), 1), 3)
    assert SoftAC("CnnPolicy", env, **SMALL_CNN).learn(30).observation_space.shape == (3, 36, 36)


def test_dict_observations():
    model = SoftAC("MultiInputPolicy", Target(dict_space()), **SMALL_DICT).learn(30)
    assert model.predict(model.observation_space.sample())[0].shape == (2,)


@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize("n_envs", [1, 2])
def test_hindsight_replay(n_envs, continuous):
    env = make_vec_env(lambda: BitFlippingEnv(n_bits=4, continuous=continuous), n_envs)
    kwargs = SMALL | {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": {"n_sampled_goal": 2}}
    model = SoftAC("MultiInputPolicy", env, **kwargs | {"learning_starts": 40}).learn(80)
    assert model._n_updates > 0
    assert model.replay_buffer.sample(8).observations["desired_goal"].shape == (8, 4)


def test_normalised_environment_trains_on_normalised_batches(tmp_path):
    env = VecNormalize(make_vec_env(Target, 2))
    model = make_model(env).learn(60)
    raw = model.replay_buffer.sample(100).observations
    assert raw.abs().max() <= 1.0  # stored as the environment gave them
    normalised = model.replay_buffer.sample(100, env=model.get_vec_normalize_env()).observations
    assert normalised.abs().max() > 1.0
    model.save(tmp_path / "model")
    env.save(str(tmp_path / "statistics.pkl"))
    again = VecNormalize.load(str(tmp_path / "statistics.pkl"), make_vec_env(Target, 2))
    SoftAC.load(tmp_path / "model", env=again).learn(10)


def test_discrete_actions_in_a_normalised_environment(tmp_path):
    env = VecNormalize(make_vec_env("CartPole-v1", 2))
    model = make_model(env, gradient_steps=-1).learn(60)
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=env)
    obs = env.reset()
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])


class Counter(gym.Env):
    """Observes how many steps there were; an episode ends after five."""

    observation_space = spaces.Box(0.0, 100.0, (1,))
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, reward=1.0, time_limit=True):
        self.reward, self.time_limit = reward, time_limit

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        is_over = self.count >= 5
        ends = (False, is_over) if self.time_limit else (is_over, False)
        return np.array([self.count], np.float32), self.reward, *ends, {}


def test_rewards_are_unnormalised_in_the_buffer_and_terminal_observations_are_kept():
    model = make_model(VecNormalize(DummyVecEnv([lambda: Counter(reward=10.0, time_limit=False)]))).learn(10)
    buffer = model.replay_buffer
    assert buffer.rewards[:10].flatten().tolist() == [10.0] * 10
    stored = buffer._get_samples(np.arange(10))
    np.testing.assert_allclose(stored.next_observations.flatten(), [1, 2, 3, 4, 5] * 2, rtol=1e-5)
    assert buffer.dones[:10].flatten().tolist() == [0, 0, 0, 0, 1] * 2


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("noise_class", [NormalActionNoise, OrnsteinUhlenbeckActionNoise])
def test_action_noise(noise_class, n_envs):
    noise = noise_class(mean=np.zeros(2), sigma=0.3 * np.ones(2))
    model = make_model(make_vec_env(Target, n_envs), action_noise=noise).learn(40)
    assert np.abs(model.replay_buffer.actions).max() <= 1.0


@pytest.mark.parametrize("kwargs", [{}, {"sde_sample_freq": 3}, {"use_sde_at_warmup": True}], ids=str)
@pytest.mark.parametrize("n_envs", [1, 3])
def test_state_dependent_exploration(kwargs, n_envs):
    model = make_model(make_vec_env(Target, n_envs), use_sde=True, **kwargs).learn(60)
    model.dump_logs()
    assert model.actor.get_std().shape == (16, 2)
    model.policy.reset_noise(n_envs)


@pytest.mark.parametrize("train_freq", [3, (3, "step"), (2, "episode")])
def test_training_frequency(train_freq):
    model = make_model(train_freq=train_freq, learning_starts=0).learn(60)
    assert model._n_updates == (20 if train_freq != (2, "episode") else 3)


def test_n_step_returns_bootstrap_with_their_own_discount():
    model = make_model(n_steps=3, gamma=0.5, env=Target(horizon=100)).learn(60)
    discounts = model.replay_buffer.sample(100).discounts
    assert set(discounts.flatten().tolist()) <= {0.5, 0.25, 0.125}
    assert 0.125 in discounts


@pytest.mark.parametrize("shape", [(2, 3), (1, 1, 4)])
def test_actions_of_any_shape(shape):
    model = make_model(Target(action_space=spaces.Box(-3.0, 1.0, shape))).learn(30)
    assert model.target_entropy == -np.prod(shape)
    action, _ = model.predict(np.zeros((5, 3), dtype=np.float32))
    assert action.shape == (5, *shape)
    assert action.min() >= -3.0
    assert action.max() <= 1.0


def test_asymmetric_bounds_are_scaled_and_unscaled():
    model = make_model(Target(action_space=spaces.Box(np.float32([0.0, -4.0]), np.float32([1.0, 8.0]))))
    for parameter in model.actor.parameters():
        parameter.data.zero_()
    action, _ = model.predict(np.zeros(3, dtype=np.float32), deterministic=True)
    np.testing.assert_allclose(action, [0.5, 2.0])


def test_callbacks(tmp_path):
    class Spy(BaseCallback):
        def _on_training_start(self) -> None:
            self.seen = set()

        def _on_step(self) -> bool:
            self.seen |= self.locals.keys()
            return True

    spy = Spy()
    evaluation = EvalCallback(make_vec_env(Target, 1), best_model_save_path=str(tmp_path), eval_freq=20, verbose=0)
    checkpoint = CheckpointCallback(20, str(tmp_path / "all"), save_replay_buffer=True)
    model = make_model().learn(40, callback=[spy, evaluation, checkpoint, StopTrainingOnMaxEpisodes(100)])
    assert spy.seen >= {"new_obs", "rewards", "dones", "infos", "actions", "buffer_actions"}
    assert evaluation.best_mean_reward > -np.inf
    SoftAC.load(tmp_path / "best_model").predict(np.zeros(3, dtype=np.float32))
    assert len(list((tmp_path / "all").iterdir())) == 4
    assert model.num_timesteps == 40


def test_a_callback_stops_training():
    model = make_model().learn(100, callback=lambda local_variables, _: local_variables["self"].num_timesteps < 25)
    assert model.num_timesteps == 25


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_progress_bar(monkeypatch):
    pytest.importorskip("tqdm")
    pytest.importorskip("rich")
    bars = []

    class Bar(callbacks.tqdm):
        """Is remembered."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            bars.append(self)

    monkeypatch.setattr(callbacks, "tqdm", Bar)
    make_model().learn(20, progress_bar=True)
    assert [(bar.n, bar.total) for bar in bars] == [(20, 20)]


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    make_model(tensorboard_log=str(tmp_path)).learn(60, log_interval=1)
    assert (tmp_path / "SoftAC_1").is_dir()


def test_learning_goes_on_where_it_stopped():
    model = make_model().learn(30)
    updates = model._n_updates
    model.learn(10, reset_num_timesteps=False)
    assert model.num_timesteps == 40
    assert model._n_updates == updates + 10  # no second warm-up
    model.set_env(Target())
    model.learn(10, reset_num_timesteps=False)


class BatchNormExtractor(BaseFeaturesExtractor):
    """Features through batch normalisation and dropout."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, features_dim=3)
        self.layers = th.nn.Sequential(th.nn.BatchNorm1d(3), th.nn.Dropout(0.5))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layers(observations)


def test_batch_norm_and_dropout_train_in_updates_only():
    model = make_model(policy_kwargs={"net_arch": [8], "features_extractor_class": BatchNormExtractor})
    statistics = model.actor.features_extractor.layers[0].running_mean
    before = statistics.clone()
    model.learn(16)
    assert th.equal(statistics, before)  # acting leaves them
    model.learn(30)
    assert not th.equal(statistics, before)
    target = model.critic_target.features_extractor.layers[0].running_mean
    th.testing.assert_close(target, model.critic.features_extractor.layers[0].running_mean)
    obs = np.zeros((2, 3), dtype=np.float32)
    first, second = (model.predict(obs, deterministic=True)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_evaluation_and_stochastic_prediction():
    model = make_model().learn(20)
    mean, _ = evaluate_policy(model, make_vec_env(Target, 1), n_eval_episodes=3)
    assert np.isfinite(mean)
    obs = np.zeros(3, dtype=np.float32)
    assert not np.array_equal(model.predict(obs)[0], model.predict(obs)[0])


def test_custom_networks():
    model = make_model(
        policy_kwargs={
            "net_arch": {"pi": [8, 8], "qf": [12]},
            "activation_fn": th.nn.Tanh,
            "optimizer_class": th.optim.AdamW,
            "optimizer_kwargs": {"weight_decay": 1e-2},
        }
    ).learn(30)
    assert isinstance(model.critic.optimizer, th.optim.AdamW)
    assert model.critic.qf0[0].out_features == 12


def test_the_last_observation_before_a_time_limit_is_stored():
    model = make_model(Counter()).learn(10)
    stored = model.replay_buffer._get_samples(np.arange(10))
    assert stored.next_observations.flatten().tolist() == [1, 2, 3, 4, 5] * 2
    assert not stored.dones.any()


@pytest.mark.parametrize("at_warmup", [False, True])
def test_state_dependent_exploration_while_warming_up(at_warmup):
    policy_kwargs = {"net_arch": [8], "log_std_init": -10.0}
    model = make_model(use_sde=True, use_sde_at_warmup=at_warmup, learning_starts=50, policy_kwargs=policy_kwargs)
    for parameter in model.actor.mu.parameters():
        parameter.data.zero_()
    actions = model.learn(10).replay_buffer.actions[:10]
    assert bool(np.abs(actions).max() < 0.01) is at_warmup


def test_action_noise_is_added():
    noise = NormalActionNoise(np.array([0.9, -0.4]), np.zeros(2))
    model = make_model(action_noise=noise, gradient_steps=0, learning_starts=0)
    for parameter in model.actor.parameters():
        parameter.data.zero_()
    model.actor.log_std.bias.data.fill_(-20.0)
    np.testing.assert_allclose(model.learn(5).replay_buffer.actions[:5, 0], [[0.9, -0.4]] * 5, atol=1e-6)
