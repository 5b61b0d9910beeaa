"""What does not fit is refused by name, before anything is stored."""

import re
import sys

import numpy as np
import pytest
from gymnasium import spaces

from sb3_softac import SoftAC, offline
from tests.helpers import SMALL, SMALL_DICT, DiscreteTarget, Target, dict_space, image_space

N = 8


@pytest.fixture(autouse=True)
def _datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def arrays(**changes) -> dict:
    given = {
        "observations": np.zeros((N, 3), np.float32),
        "next_observations": np.zeros((N, 3), np.float32),
        "actions": np.zeros((N, 2), np.float32),
        "rewards": np.zeros(N, np.float32),
        "terminations": np.zeros(N, bool),
        "truncations": np.zeros(N, bool),
    } | changes
    return {name: values for name, values in given.items() if values is not None}


def with_value(name: str, place: tuple, value: float) -> dict:
    values = arrays()[name].astype(np.float64)
    values[place] = value
    return {name: values}


@pytest.fixture(scope="module")
def model() -> SoftAC:
    return SoftAC("MlpPolicy", Target(), **SMALL)


WRONG = {
    "no actions": ({"actions": None}, "no 'actions', only"),
    "no ends": ({"terminations": None}, "no 'terminations'"),
    "neither next observations nor time limits": (
        {"next_observations": None, "truncations": None},
        "no 'next_observations'",
    ),
    "dones": ({"terminations": None, "dones": np.zeros(N)}, "'dones' does not say"),
    "ragged": ({"observations": [[0.0] * 3, [0.0]]}, "rows of different lengths"),
    "objects": ({"rewards": np.array([None] * N)}, "of object"),
    "lengths": ({"actions": np.zeros((N + 1, 2))}, f"{N + 1} rows of 'actions', but {N} rewards"),
    "last observations of episodes": ({"observations": np.zeros((N + 1, 3))}, "is a row of 'next_observations'"),
    "empty": ({name: values[:0] for name, values in arrays().items()}, "is empty"),
    "shape": ({"observations": np.zeros((N, 4)), "next_observations": np.zeros((N, 4))}, r"\(8, 4\).*\(8, 3\)"),
    "shape of actions": ({"actions": np.zeros((N, 3))}, r"actions have the shape \(8, 3\)"),
    "NaN": (with_value("observations", (2, 1), np.nan), r"observations, at \[2, 1\], have nan"),
    "infinite": (with_value("rewards", (3,), np.inf), r"rewards, at \[3\], have inf"),
    "NaN in actions": (with_value("actions", (1, 0), np.nan), r"actions, at \[1, 0\], have nan"),
    "out of bounds": (with_value("actions", (5, 1), 1.5), r"actions, at \[5, 1\], have 1.5.*clip_actions=True"),
    "Dict": (
        {"observations": {"a": np.zeros((N, 3))}, "next_observations": {"a": np.zeros((N, 3))}},
        r"the keys \['a'\], but the model's observations have no keys",
    ),
    "flags of two columns": ({"terminations": np.zeros((N, 2), bool)}, "terminations"),
    "actions by key": ({"actions": None, "actions/a": np.zeros((N, 2))}, "only observations may have keys"),
    "spaces that are none": ({"spaces": np.array("[]")}, "'spaces' that cannot be read"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays_are_named(model, name):
    changes, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        offline.fill_buffer(model, arrays(**changes))
    assert model.replay_buffer.size() == 0


def test_the_name_of_the_file_is_in_the_message(model, tmp_path):
    np.savez(tmp_path / "demos.npz", **arrays(actions=None))
    with pytest.raises(ValueError, match=r"demos.npz.*no 'actions'"):
        offline.fill_buffer(model, tmp_path / "demos.npz")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 broken"])
def test_files_that_are_none_are_named(model, content, tmp_path):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape("x.npz' is no .npz file")):
        offline.fill_buffer(model, tmp_path / "x.npz")


def test_ragged_arrays_of_a_file_are_not_unpickled(model, tmp_path):
    ragged = np.empty(N, object)
    ragged[:] = [[0.0] * (i + 1) for i in range(N)]
    np.savez(tmp_path / "x.npz", **arrays(observations=ragged))
    with pytest.raises(ValueError, match="ragged array"):
        offline.fill_buffer(model, tmp_path / "x.npz")


def test_a_missing_file(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        offline.fill_buffer(model, tmp_path / "missing.npz")


def test_a_missing_data_set_says_how_to_get_it(model):
    with pytest.raises(FileNotFoundError, match="minari download pen/human-v2"):
        offline.fill_buffer(model, "pen/human-v2")


@pytest.mark.parametrize("source", ["no id", "pen/human", 3, None, []])
def test_sources_that_are_none_are_named(model, source):
    with pytest.raises(ValueError, match="Minari data set"):
        offline.fill_buffer(model, source)


def test_actions_beyond_the_bounds_are_clipped_if_asked(model):
    other = SoftAC("MlpPolicy", Target(), **SMALL)
    offline.fill_buffer(other, arrays(**with_value("actions", (5, 1), 1.5)), clip_actions=True)
    assert other.replay_buffer.actions[5, 0].tolist() == [0.0, 1.0]


def test_actions_beyond_the_bounds_by_rounding_are_taken():
    other = SoftAC("MlpPolicy", Target(), **SMALL)
    offline.fill_buffer(other, arrays(**with_value("actions", (5, 1), 1.00001)))
    assert other.replay_buffer.actions[5, 0, 1] == 1.0


def test_a_minari_data_set_of_other_spaces(model):
    wide = Target(action_space=spaces.Box(-2.0, 2.0, (2,)))
    data = offline.collect(SoftAC("MlpPolicy", wide, **SMALL), wide, 20)
    dataset = offline.to_minari(data, "tests/wide-v0")
    with pytest.raises(ValueError, match=r"tests/wide-v0.*Box\(-2.0, 2.0.*but the model's of Box\(-1.0, 1.0"):
        offline.fill_buffer(model, dataset)
    goals = Target(dict_space())
    dataset = offline.to_minari(
        offline.collect(SoftAC("MultiInputPolicy", goals, **SMALL_DICT), goals, 20), "tests/dict-v0"
    )
    with pytest.raises(ValueError, match="the keys"):
        offline.fill_buffer(model, dataset)
    assert model.replay_buffer.size() == 0


def test_more_data_than_the_buffer_holds(model):
    many = {name: np.concatenate([values] * 100) for name, values in arrays().items()}
    with pytest.raises(ValueError, match="buffer_size=800"):
        offline.fill_buffer(model, many)


@pytest.mark.parametrize("actions", [np.full(N, 3), np.full(N, -1), np.zeros(N)])
def test_discrete_actions_that_are_none(actions):
    model = SoftAC("MlpPolicy", DiscreteTarget(), **SMALL)
    with pytest.raises(ValueError, match="its actions"):
        offline.fill_buffer(model, arrays(actions=actions))


def test_images_as_fractions_are_refused():
    model = SoftAC("CnnPolicy", Target(image_space()), **SMALL)
    images = np.zeros((N, 1, 36, 36), np.float32)
    with pytest.raises(ValueError, match="of float32, but the model's space"):
        offline.fill_buffer(model, arrays(observations=images, next_observations=images))


def test_data_sets_of_different_environments_are_not_joined():
    other = Target(action_space=spaces.Box(-2.0, 2.0, (2,)))
    pair = [offline.collect(SoftAC("MlpPolicy", env, **SMALL), env, 5) for env in (Target(), other)]
    with pytest.raises(ValueError, match="different environments"):
        offline.read(pair)


def test_without_minari_the_extra_is_named(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'sb3_softac[offline]'")):
        offline.fill_buffer(model, "pen/human-v2")
    with pytest.raises(ImportError, match=re.escape("pip install 'sb3_softac[offline]'")):
        offline.to_minari(model, "pen/human-v2")


# What is written


def test_nothing_is_written_of_nothing(model, tmp_path):
    with pytest.raises(ValueError, match="empty"):
        offline.to_npz(model, tmp_path / "x.npz")
    with pytest.raises(ValueError, match="empty"):
        offline.to_minari(model, "tests/x-v0")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_data_set_is_not_overwritten():
    offline.to_minari(
        arrays(), "tests/x-v0", observation_space=Target().observation_space, action_space=Target().action_space
    )
    with pytest.raises(ValueError, match="already"):
        offline.to_minari(arrays(), "tests/x-v0", env="Pendulum-v1")


def test_a_data_set_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="spaces"):
        offline.to_minari(arrays(), "tests/x-v0")
    with pytest.raises(TypeError):
        offline.to_minari(arrays(), "tests/x-v0", env="Pendulum-v1", no_argument=1)
    assert not (tmp_path / "minari" / "tests" / "x-v0").exists()
    with pytest.raises(ValueError, match="no id"):
        offline.to_minari(arrays(), "no_version")


# Environments that stand for spaces


def test_spaces_that_the_data_says():
    env = offline.spaces_env(offline.collect(SoftAC("MlpPolicy", DiscreteTarget(), **SMALL), DiscreteTarget(), 5))
    assert env.action_space == DiscreteTarget().action_space
    with pytest.raises(NotImplementedError, match="set_env"):
        env.step(0)


def test_spaces_that_are_guessed():
    env = offline.spaces_env(arrays())
    assert env.action_space == spaces.Box(-1.0, 1.0, (2,), np.float32)
    assert env.observation_space == spaces.Box(-np.inf, np.inf, (3,), np.float32)
    env = offline.spaces_env(
        arrays(
            actions=np.arange(N) % 4,
            **{
                "observations": {"image": np.zeros((N, 1, 36, 36), np.uint8), "vector": np.zeros((N, 2))},
                "next_observations": None,
            },
        )
    )
    assert env.action_space == spaces.Discrete(4)
    assert env.observation_space["image"] == image_space()


def test_spaces_that_cannot_be_guessed():
    with pytest.raises(ValueError, match="action_space"):
        offline.spaces_env(arrays(actions=np.full((N, 2), 3.0)))
    with pytest.raises(ValueError, match="needs a source"):
        offline.spaces_env()
