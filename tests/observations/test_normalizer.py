"""The normaliser of observations: its statistics are those of all rows, in any pieces, and its result is clipped."""

import copy

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd

from sb3_softac.networks import normalizer as module
from sb3_softac.networks.normalizer import ObservationNormalizer

BOX = spaces.Box(-1.0, 1.0, (2,))


def vector(*shape: int, **kwargs) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, **kwargs)


def rows(n_rows: int, shape: tuple[int, ...] = (3,), seed: int = 0) -> np.ndarray:
    scales = np.logspace(-3, 3, int(np.prod(shape))).reshape(shape)
    return ((np.random.default_rng(seed).normal(size=(n_rows, *shape)) + 2.0) * scales).astype(np.float32)


def fitted(space: spaces.Space, values, **kwargs) -> ObservationNormalizer:
    normalizer = ObservationNormalizer(space, BOX, **kwargs)
    normalizer.update(values)
    return normalizer


def test_before_the_first_update_nothing_changes_but_by_the_clip():
    normalizer = ObservationNormalizer(vector(3), BOX, clip=5.0)
    obs = th.tensor([[0.5, -3.0, 70.0]])
    th.testing.assert_close(normalizer(obs), th.tensor([[0.5, -3.0, 5.0]]))
    assert normalizer.count == 0


@pytest.mark.parametrize("shape", [(3,), (2, 3), ()])
@pytest.mark.parametrize("pieces", [1, 7, 500])
def test_statistics_are_those_of_all_rows_in_any_pieces(shape, pieces, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 40)
    values = rows(500, shape)
    normalizer = ObservationNormalizer(vector(*shape), BOX)
    reference = RunningMeanStd(epsilon=0.0, shape=shape)
    for piece in np.array_split(values, pieces):
        normalizer.update(piece)
        reference.update(piece.astype(np.float64))
    exact = values.astype(np.float64).reshape(500, -1)
    np.testing.assert_allclose(normalizer.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(normalizer.var, exact.var(axis=0), rtol=1e-9)
    np.testing.assert_allclose(normalizer.var, reference.var.ravel(), rtol=1e-9)
    assert normalizer.count == 500


def test_what_is_normalised_has_mean_zero_and_deviation_one():
    values = rows(1000)
    result = fitted(vector(3), values)(th.as_tensor(values))
    assert result.dtype is th.float32
    th.testing.assert_close(result.mean(dim=0), th.zeros(3), atol=1e-4, rtol=0)
    th.testing.assert_close(result.std(dim=0, correction=0), th.tensor([0.995, 1.0, 1.0]), atol=1e-3, rtol=0)


def test_numbers_far_from_zero_keep_their_digits():
    values = (1e6 + np.arange(200) % 20).astype(np.float32).reshape(-1, 1)
    result = fitted(vector(1), values)(th.as_tensor(values))
    exact = (values - values.mean(dtype=np.float64)) / values.std(dtype=np.float64)
    np.testing.assert_allclose(result, exact, atol=1e-5)


def test_a_constant_is_zero_and_what_leaves_it_is_clipped():
    normalizer = fitted(vector(2), np.full((50, 2), 0.1, np.float32))
    result = normalizer(th.tensor([[0.1, 0.3]]))
    th.testing.assert_close(result, th.tensor([[0.0, 10.0]]))


def test_whole_numbers_and_double_precision_are_taken():
    normalizer = fitted(vector(2), rows(10, (2,)))
    assert normalizer(th.zeros(1, 2, dtype=th.int64)).dtype is th.float32
    assert normalizer(th.zeros(1, 2, dtype=th.float64)).dtype is th.float64


# Dict


def goal_space() -> spaces.Dict:
    return spaces.Dict({"achieved_goal": vector(2), "desired_goal": vector(2), "observation": vector(3)})


def test_both_goals_share_their_statistics():
    achieved, desired = rows(40, (2,)), rows(40, (2,), seed=1) + 5.0
    obs = {"observation": rows(40), "achieved_goal": achieved, "desired_goal": desired}
    normalizer = fitted(goal_space(), obs)
    both = np.concatenate([achieved, desired]).astype(np.float64)
    result = normalizer({key: th.as_tensor(value) for key, value in obs.items()})
    for key in ("achieved_goal", "desired_goal"):
        expected = (obs[key] - both.mean(axis=0)) / np.sqrt(both.var(axis=0) + 1e-8)
        np.testing.assert_allclose(result[key], expected.clip(-10, 10), rtol=1e-4, atol=1e-5)
    assert normalizer.mean.shape == (5,)
    equal = th.ones(1, 2)  # the goal is reached, and still is after normalisation
    same = normalizer({"achieved_goal": equal, "desired_goal": equal, "observation": th.zeros(1, 3)})
    assert th.equal(same["achieved_goal"], same["desired_goal"])


def test_only_floats_of_a_dict_are_normalised():
    space = spaces.Dict(
        {
            "vector": vector(2),
            "image": spaces.Box(0, 255, (1, 36, 36), np.uint8),
            "float_image": spaces.Box(0.0, 1.0, (1, 36, 36)),
            "id": spaces.Discrete(3),
            "counts": spaces.Box(0, 9, (2,), np.int64),
            "action_mask": spaces.Box(0.0, 1.0, (3,)),
        }
    )
    normalizer = ObservationNormalizer(space, spaces.Discrete(3))
    assert normalizer.keys == ("vector",)
    obs = {key: th.as_tensor(np.array(each.sample())).unsqueeze(0) for key, each in space.spaces.items()}
    normalizer.update({"vector": rows(20, (2,))})
    result = normalizer(obs)
    assert {key for key in obs if result[key] is not obs[key]} == {"vector"}
    # With Box actions a key of that name is no mask.
    assert ObservationNormalizer(space, BOX).keys == ("action_mask", "vector")


# Files and copies


def test_statistics_are_loaded_in_place():
    one, other = fitted(vector(3), rows(20)), ObservationNormalizer(vector(3), BOX)
    places = [buffer.data_ptr() for buffer in other.buffers()]
    other.load_state_dict(one.state_dict())
    other.update(rows(5, seed=1))
    one.update(rows(5, seed=1))
    assert [buffer.data_ptr() for buffer in other.buffers()] == places
    assert all(th.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))
    assert list(one.state_dict()) == ["mean", "var", "count"]


def test_a_copy_has_its_own_statistics():
    one = fitted(vector(3), rows(20))
    other = copy.deepcopy(one)
    other.update(rows(20, seed=1) + 9.0)
    assert not th.equal(one.mean, other.mean)
    assert one.count == 20


def test_it_names_its_keys():
    assert repr(ObservationNormalizer(vector(3), BOX)) == "ObservationNormalizer(None, clip=10.0)"


# Refusals


@pytest.mark.parametrize(
    "space",
    [spaces.Discrete(4), spaces.Box(0, 255, (1, 36, 36), np.uint8), spaces.Dict({"id": spaces.MultiBinary(3)})],
    ids=str,
)
def test_a_space_without_floats_is_refused(space):
    with pytest.raises(ValueError, match=r"`normalize_obs=True` finds nothing to normalise in .*Pass False"):
        ObservationNormalizer(space, BOX)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 2)), r"must end in the shape \(3,\), but \(4, 2\) was given"),
        (np.array([[0.0, np.nan, 0.0]]), "must be finite, but hold nan"),
        ({"other": np.zeros((4, 3))}, "needs the observations, but there are none"),
    ],
)
def test_rows_that_do_not_fit_change_nothing(values, message):
    normalizer = fitted(vector(3), rows(20))
    before = copy.deepcopy(normalizer.state_dict())
    with pytest.raises(ValueError, match=message):
        normalizer.update(values)
    assert all(th.equal(value, before[name]) for name, value in normalizer.state_dict().items())


def test_keys_of_different_lengths_are_refused():
    obs = {"observation": rows(4), "achieved_goal": rows(4, (2,)), "desired_goal": rows(3, (2,))}
    with pytest.raises(ValueError, match=r"as many rows.*'desired_goal': 3"):
        fitted(goal_space(), obs)
