"""A buffer that is filled with the steps of another one gives the same batches."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.vec_env import VecNormalize

from sb3_softac import SoftAC, offline
from tests.helpers import SMALL, SMALL_DICT, DiscreteTarget, Target, dict_space, image_space

WIDE = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32))
SMALL_SAC = SMALL | {"policy_kwargs": {"net_arch": [16, 16]}}  # Stable-Baselines3 writes into the dict
NO_LEARNING = {"learning_starts": 1000, "seed": 0}

CASES = {
    "Box": (lambda: Target(action_space=WIDE), "MlpPolicy", SMALL),
    "time limits": (lambda: Target(truncate=True), "MlpPolicy", SMALL),
    "Discrete actions": (DiscreteTarget, "MlpPolicy", SMALL),
    "ids": (lambda: DiscreteTarget(spaces.Discrete(5)), "MlpPolicy", SMALL),
    "Dict": (lambda: Target(dict_space(), truncate=True), "MultiInputPolicy", SMALL_DICT),
    "images, channels last": (lambda: Target(image_space(channels_first=False)), "CnnPolicy", SMALL),
}


@pytest.fixture(autouse=True)
def _datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def filled_by_steps(case: str = "Box", total: int = 47, n_envs: int = 1, **kwargs) -> SoftAC:
    make_env, policy, arguments = CASES[case]
    env = make_vec_env(make_env, n_envs=n_envs)
    return SoftAC(policy, env, **arguments | NO_LEARNING | kwargs).learn(total)


def empty(case: str = "Box", n_envs: int = 1, **kwargs) -> SoftAC:
    return filled_by_steps(case, 0, n_envs, **kwargs)


def batch(model, size: int = 200):
    np.random.seed(0)  # noqa: NPY002
    return model.replay_buffer.sample(size)


def assert_same_batches(first, second) -> None:
    assert first.replay_buffer.size() == second.replay_buffer.size()
    for own, given in zip(batch(first), batch(second), strict=True):
        if own is None or given is None:
            assert own is given
            continue
        pairs = [(own, given)] if isinstance(own, th.Tensor) else [(own[key], given[key]) for key in own]
        for one, other in pairs:
            th.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def as_pkl(model, tmp_path):
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    return tmp_path / "buffer.pkl"


SOURCES = {
    "model": lambda model, _: model,
    "buffer": lambda model, _: model.replay_buffer,
    "npz": lambda model, tmp_path: offline.to_npz(model, tmp_path / "data"),
    "pkl": as_pkl,
    "pkl, without suffix": lambda model, tmp_path: as_pkl(model, tmp_path).with_suffix(""),
    "minari": lambda model, _: offline.to_minari(model, "tests/target-v0").id,
    "a MinariDataset": lambda model, _: offline.to_minari(model, "tests/target-v0"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("source", ["npz", "pkl", "minari"])
def test_every_space_by_every_file(case, source, tmp_path):
    model = filled_by_steps(case)
    other = empty(case)
    assert offline.fill_buffer(other, SOURCES[source](model, tmp_path)) == 47
    assert_same_batches(model, other)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("n_steps", [1, 3])
def test_returns_of_several_steps_and_environments_by_every_source(source, n_steps, tmp_path):
    """The ends of episodes are where they were, for each environment."""
    arguments = {"n_envs": 3, "n_steps": n_steps}
    model = filled_by_steps("time limits", 90, **arguments)
    other = empty("time limits", **arguments)
    assert offline.fill_buffer(other, SOURCES[source](model, tmp_path)) == 90
    assert_same_batches(model, other)
    assert batch(other).dones.sum() == 0  # time limits are not terminal


def test_steps_that_do_not_give_one_to_each_environment_are_left_out():
    model = empty(n_envs=3)
    assert offline.fill_buffer(model, filled_by_steps(total=47)) == 45
    assert model.replay_buffer.size() == 15


def test_a_full_buffer_is_read_from_its_oldest_step_on():
    model = filled_by_steps(total=47, buffer_size=20)
    data = offline.read(model)
    rows = np.arange(27, 47) % 20
    np.testing.assert_array_equal(
        np.concatenate([block.observations[None] for block in data]), model.replay_buffer.observations[rows, 0]
    )
    assert data.n_steps == 20


@pytest.mark.parametrize("kind", ["ReplayBuffer", "NStepReplayBuffer", "optimize_memory_usage"])
def test_buffers_of_stable_baselines3(kind, tmp_path):
    """Read from its pickle, and filled as well."""
    arguments = {
        "ReplayBuffer": {},
        "NStepReplayBuffer": {"n_steps": 3},
        "optimize_memory_usage": {
            "optimize_memory_usage": True,
            "replay_buffer_kwargs": {"handle_timeout_termination": False},
        },
    }[kind]
    env = Target(action_space=WIDE)
    sac = SAC("MlpPolicy", env, **SMALL_SAC | NO_LEARNING | arguments).learn(47)
    sac.save_replay_buffer(tmp_path / "sac.pkl")
    with pytest.raises(ValueError, match="allow_pickle"):
        offline.read(tmp_path / "sac.pkl")
    n_lost = 1 if kind == "optimize_memory_usage" else 0
    for model in (empty(n_steps=arguments.get("n_steps", 1)), SAC("MlpPolicy", env, **SMALL_SAC | arguments)):
        assert offline.fill_buffer(model, tmp_path / "sac.pkl", allow_pickle=True) == 47 - n_lost
        if not n_lost:
            assert_same_batches(sac, model)


def test_stable_baselines3_returns_do_not_cross_into_the_data():
    sac = SAC("MlpPolicy", Target(action_space=WIDE, horizon=100), n_steps=3, **SMALL_SAC | NO_LEARNING).learn(5)
    assert isinstance(sac.replay_buffer, NStepReplayBuffer)
    offline.fill_buffer(sac, filled_by_steps(total=10))
    assert sac.replay_buffer.timeouts[:6, 0].tolist() == [0, 0, 0, 0, 1, 0]


def test_hindsight_takes_goals_of_the_data():
    arguments = {"replay_buffer_class": HerReplayBuffer, "learning_starts": 100, "buffer_size": 200, "batch_size": 16}
    env = BitFlippingEnv(n_bits=4, continuous=True, max_steps=10)
    model = SoftAC("MultiInputPolicy", env, seed=0, **arguments).learn(45)
    other = SoftAC("MultiInputPolicy", env, seed=0, **arguments)
    assert offline.fill_buffer(other, offline.read(model)) == 45
    buffer = other.replay_buffer
    assert (buffer.ep_length[:45] > 0).all()
    samples = buffer.sample(100)
    reached = (samples.next_observations["achieved_goal"] == samples.observations["desired_goal"]).all(dim=1)
    np.testing.assert_array_equal(samples.rewards.flatten() == 0, reached)
    assert other.learn_offline(10)._n_updates == 10


def test_hindsight_that_asks_for_infos_is_refused():
    env = BitFlippingEnv(n_bits=4, continuous=True, max_steps=10)
    kwargs = {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": {"copy_info_dict": True}}
    model = SoftAC("MultiInputPolicy", env, buffer_size=200, **kwargs)
    collected = offline.collect(SoftAC("MultiInputPolicy", env, buffer_size=10), env, 20)
    with pytest.raises(ValueError, match="copy_info_dict"):
        offline.fill_buffer(model, collected)
    assert model.replay_buffer.size() == 0


def test_an_episode_under_way_does_not_go_on_in_the_data():
    model = filled_by_steps(total=15)
    offline.fill_buffer(model, filled_by_steps(total=10))
    model.learn(5, reset_num_timesteps=False)
    assert model.replay_buffer.size() == 30
    data = offline.read(model)
    assert [episode.n_steps for episode in data.episodes()][:3] == [10, 5, 10]


def test_the_buffer_holds_what_the_environment_gave_before_normalisation():
    env = VecNormalize(make_vec_env(lambda: Target(truncate=True), n_envs=2))
    model = SoftAC("MlpPolicy", env, **SMALL | NO_LEARNING).learn(60)
    env.training = False
    data = offline.collect(model, env, 60, seed=3)
    plain = offline.collect(model, make_vec_env(lambda: Target(truncate=True), n_envs=2), 60, seed=3)
    for first, second in zip(data, plain, strict=True):
        np.testing.assert_allclose(first.observations[None], second.observations[None], atol=1e-6)
        np.testing.assert_allclose(first.next_observations[None], second.next_observations[None], atol=1e-5)
    assert offline.fill_buffer(model, data) == 60


# Rollouts


def test_collected_steps_are_those_of_the_environment():
    model = empty("Dict")
    data = offline.collect(model, Target(dict_space(), truncate=True), 25, seed=1, deterministic=True)
    (block,) = data
    assert block.n_steps == 25
    assert np.flatnonzero(block.truncations).tolist() == [9, 19, 24]
    np.testing.assert_allclose(block.rewards, -np.square(block.actions).mean(axis=1), rtol=1e-6)
    first = {key: values[:1] for key, values in block.observations.items()}
    np.testing.assert_allclose(model.predict(first, deterministic=True)[0][0], block.actions[0], atol=1e-6)
    np.testing.assert_array_equal(block.next_observations["vector"][:9], block.observations["vector"][1:10])
    assert not np.array_equal(block.next_observations["vector"][9], block.observations["vector"][10])


def test_collecting_from_a_policy_and_an_id():
    policy = SoftAC("MlpPolicy", "Pendulum-v1", buffer_size=10, seed=0).policy
    data = offline.collect(policy, "Pendulum-v1", 30, seed=0)
    assert data.n_steps == 30
    assert data.action_space == gym.make("Pendulum-v1").action_space
    with pytest.raises(ValueError, match="n_steps"):
        offline.collect(policy, "Pendulum-v1", 0)


def test_several_environments_are_collected_one_after_another():
    data = offline.collect(empty(n_envs=3), make_vec_env(CASES["Box"][0], n_envs=3), 31)
    assert [block.n_steps for block in data] == [11, 11, 11]


def test_images_with_their_channels_last_are_turned():
    env = Target(image_space(channels_first=False))
    model = empty("images, channels last")
    data = offline.collect(model, env, 12)
    offline.fill_buffer(model, data)
    (block,) = data
    assert block.observations[None].shape == (12, 36, 36, 1)
    np.testing.assert_array_equal(model.replay_buffer.observations[:12, 0, 0], block.observations[None][..., 0])


def test_device_storage_is_filled():
    model = filled_by_steps()
    other = empty(replay_buffer_kwargs={"storage": "device"})
    offline.fill_buffer(other, model)
    assert_same_batches(model, other)


def test_a_buffer_of_a_users_own_class():
    class Own(ReplayBuffer):
        pass

    model = filled_by_steps()
    other = empty(replay_buffer_class=Own)
    offline.fill_buffer(other, model)
    assert_same_batches(model, other)
