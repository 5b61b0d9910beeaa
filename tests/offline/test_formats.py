"""Formats of others: D4RL's arrays, Minari's data sets, and d3rlpy, which reads what is written."""

import warnings

import numpy as np
import pytest
from gymnasium import spaces

from sb3_softac import SoftAC, offline
from tests.helpers import SMALL, DiscreteTarget, Target, dict_space, image_space


@pytest.fixture(autouse=True)
def _datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def rollouts(env=None, policy: str = "MlpPolicy", n_steps: int = 35) -> offline.Data:
    env = env or Target(truncate=True)
    return offline.collect(SoftAC(policy, env, buffer_size=10, seed=1), env, n_steps, seed=1)


def test_d4rl_names():
    """Without next observations: the steps at time limits are left out, as by D4RL's own `qlearning_dataset`."""
    (block,) = rollouts()
    given = {
        "observations": block.observations[None],
        "actions": block.actions,
        "rewards": block.rewards,
        "terminals": block.terminations,
        "timeouts": block.truncations,
    }
    (read,) = offline.read(given)
    kept = ~block.truncations
    np.testing.assert_array_equal(read.observations[None], block.observations[None][kept])
    np.testing.assert_array_equal(read.next_observations[None], block.next_observations[None][kept])
    model = SoftAC("MlpPolicy", Target(truncate=True), **SMALL)
    assert offline.fill_buffer(model, given) == 31


def test_npz_keeps_everything(tmp_path):
    data = rollouts(Target(dict_space()), "MultiInputPolicy")
    path = offline.to_npz(data, tmp_path / "new" / "demos")
    assert path.name == "demos.npz"
    again = offline.read(path)
    assert (again.observation_space, again.action_space) == (data.observation_space, data.action_space)
    for first, second in zip(data, again, strict=True):
        for one, other in zip(first[2:], second[2:], strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(first.next_observations["image"], second.next_observations["image"])


@pytest.mark.parametrize(
    ("env", "policy"),
    [
        (Target(), "MlpPolicy"),
        (Target(image_space(channels_first=False)), "CnnPolicy"),
        (Target(dict_space()), "MultiInputPolicy"),
        (DiscreteTarget(), "MlpPolicy"),
    ],
    ids=["Box", "images", "Dict", "Discrete"],
)
def test_minari_keeps_everything(env, policy):
    """Images, too, to the bit."""
    data = rollouts(env, policy)
    dataset = offline.to_minari(data, "tests/target-v0", algorithm_name="SoftAC", author="me")
    assert dataset.total_steps == 35
    assert dataset.storage.metadata["algorithm_name"] == "SoftAC"
    again = offline.read("tests/target-v0")
    assert (again.observation_space, again.action_space) == (data.observation_space, data.action_space)
    for first, second in zip(data.episodes(), again.episodes(), strict=True):
        for key, values in first.next_observations.items():
            np.testing.assert_array_equal(values, second.next_observations[key])
        for one, other in zip(first[2:], second[2:], strict=True):
            np.testing.assert_array_equal(one, other)


def test_minari_filters_episodes():
    dataset = offline.to_minari(rollouts(), "tests/target-v0")
    some = dataset.filter_episodes(lambda episode: len(episode.rewards) == 10)
    assert offline.read(some).n_steps == 30


def test_the_environment_of_a_data_set_is_recovered():
    env = SoftAC("MlpPolicy", "Pendulum-v1", buffer_size=300, seed=0, learning_starts=1000).learn(210)
    dataset = offline.to_minari(env, "tests/pendulum-v0", env="Pendulum-v1")
    assert dataset.recover_environment().spec.id == "Pendulum-v1"
    assert [len(episode.rewards) for episode in dataset] == [200, 10]


def test_an_episode_without_its_last_observation_is_named():
    data = rollouts(n_steps=10)
    dataset = offline.to_minari(data, "tests/short-v0")
    episode = dataset[0]
    short = type(episode)(**vars(episode) | {"observations": episode.observations[:-1]})
    dataset.iterate_episodes = lambda: [short]
    with pytest.raises(ValueError, match="episode 0 with 10 rewards and 10 observations"):
        offline.read(dataset).n_steps  # noqa: B018


def test_spaces_that_no_buffer_holds_are_named():
    space = spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2)))
    dataset = offline.to_minari(rollouts(n_steps=10), "tests/tuple-v0")
    dataset._observation_space = space
    with pytest.raises(ValueError, match="Tuple"):
        offline.read(dataset)


# d3rlpy asks for gymnasium 1.0.0 itself, and so is not among the packages of the tests. It works beside a later one:
# `pip install --no-deps d3rlpy`, and then what it imports.


@pytest.fixture(scope="module")
def mdp_dataset():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        d3rlpy = pytest.importorskip("d3rlpy", reason="d3rlpy is not there: it asks for gymnasium 1.0.0 itself")
    return d3rlpy.dataset.MDPDataset


def assert_same_episodes(data: offline.Data, dataset) -> None:
    episodes = list(data.episodes())
    assert len(episodes) == dataset.size()
    for own, given in zip(episodes, dataset.episodes, strict=True):
        np.testing.assert_array_equal(own.observations[None], given.observations)
        np.testing.assert_array_equal(own.actions, given.actions)
        np.testing.assert_array_equal(own.rewards, given.rewards[:, 0])
        assert own.terminations[-1] == given.terminated
    batch = dataset.sample_transition_batch(32)
    assert np.isfinite(batch.next_observations).all()


@pytest.mark.parametrize("truncate", [True, False])
def test_d3rlpy_reads_our_npz(mdp_dataset, truncate, tmp_path):
    data = rollouts(Target(truncate=truncate))
    with np.load(offline.to_npz(data, tmp_path / "demos.npz")) as file:
        dataset = mdp_dataset(
            observations=file["observations"],
            actions=file["actions"],
            rewards=file["rewards"],
            terminals=file["terminations"],
            timeouts=file["truncations"],
        )
    assert_same_episodes(data, dataset)


def test_d3rlpy_reads_our_minari(mdp_dataset):
    data = rollouts()
    episodes = list(offline.to_minari(data, "tests/target-v0"))
    dataset = mdp_dataset(
        observations=np.concatenate([episode.observations[:-1] for episode in episodes]),
        actions=np.concatenate([episode.actions for episode in episodes]),
        rewards=np.concatenate([episode.rewards for episode in episodes]),
        terminals=np.concatenate([episode.terminations for episode in episodes]),
        timeouts=np.concatenate([episode.truncations for episode in episodes]),
    )
    assert_same_episodes(data, dataset)


def test_d3rlpy_loads_our_minari_by_its_id(mdp_dataset):
    """One episode: d3rlpy 2.8.1 takes each last observation for the first one of the next episode."""
    from d3rlpy.datasets import get_minari

    model = SoftAC("MlpPolicy", "Pendulum-v1", buffer_size=300, seed=0, learning_starts=1000).learn(50)
    offline.to_minari(model, "tests/pendulum-v0", env="Pendulum-v1")
    dataset, env = get_minari("tests/pendulum-v0")
    assert env.spec.id == "Pendulum-v1"
    (episode,) = dataset.episodes
    np.testing.assert_array_equal(episode.observations[:50], model.replay_buffer.observations[:50, 0])
