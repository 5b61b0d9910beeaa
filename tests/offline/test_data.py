"""Steps and data sets of them: where episodes end, and which next observations are known."""

import numpy as np
import pytest

from sb3_softac.offline import Data, read
from sb3_softac.offline.steps import make_steps


def arrays(n_steps=6, **changes) -> dict:
    """An episode whose observation is the number of the step."""
    numbers = np.arange(n_steps, dtype=np.float32)[:, None]
    given = {
        "observations": {None: numbers},
        "next_observations": {None: numbers + 1},
        "actions": np.zeros((n_steps, 1), np.float32),
        "rewards": np.arange(n_steps, dtype=np.float32),
        "terminations": np.zeros(n_steps, bool),
        "truncations": np.zeros(n_steps, bool),
    }
    return given | changes


def flags(n_steps, *true) -> np.ndarray:
    return np.isin(np.arange(n_steps), true)


def test_the_last_step_of_the_data_is_broken_off():
    steps = make_steps(arrays())
    assert steps.truncations.tolist() == [False] * 5 + [True]
    assert not steps.terminations.any()


def test_a_terminal_last_step_stays_terminal():
    steps = make_steps(arrays(terminations=flags(6, 5)))
    assert steps.terminations[-1]
    assert not steps.truncations.any()


def test_a_state_that_is_both_is_terminal():
    steps = make_steps(arrays(terminations=flags(6, 2), truncations=flags(6, 2)))
    assert steps.terminations[2]
    assert not steps.truncations[2]


def test_a_gap_between_observations_is_an_end():
    numbers = np.array([0, 1, 10, 11, 12, 30], np.float32)[:, None]
    steps = make_steps(arrays(observations={None: numbers}, next_observations={None: numbers + 1}))
    assert np.flatnonzero(steps.truncations).tolist() == [1, 4, 5]


def test_equal_nan_is_no_gap():
    numbers = np.array([0, np.nan, 2, 3, 4, 5], np.float32)[:, None]
    following = np.array([np.nan, 2, 3, 4, 5, 6], np.float32)[:, None]
    steps = make_steps(arrays(observations={None: numbers}, next_observations={None: following}))
    assert np.flatnonzero(steps.truncations).tolist() == [5]


def test_without_next_observations_they_are_the_following_ones():
    """D4RL's form. What follows a time limit is not known, so that its step is left out."""
    given = arrays(8, next_observations=None, terminations=flags(8, 2), truncations=flags(8, 5))
    steps = make_steps(given)
    assert steps.observations[None].ravel().tolist() == [0, 1, 2, 3, 4, 6]
    assert steps.next_observations[None].ravel().tolist() == [1, 2, 2, 4, 5, 7]
    assert np.flatnonzero(steps.terminations).tolist() == [2]
    assert np.flatnonzero(steps.truncations).tolist() == [4, 5]
    assert steps.rewards.tolist() == [0, 1, 2, 3, 4, 6]


def test_episodes_of_one_step_without_a_next_observation():
    given = arrays(4, next_observations=None, terminations=flags(4, 1), truncations=flags(4, 0, 2, 3))
    steps = make_steps(given)
    assert steps.observations[None].ravel().tolist() == [1]
    assert steps.terminations.tolist() == [True]


@pytest.fixture
def data() -> Data:
    return read(
        {
            "observations": np.arange(6.0)[:, None],
            "next_observations": np.arange(1.0, 7.0)[:, None],
            "actions": np.zeros((6, 1)),
            "rewards": np.arange(6.0),
            "terminations": flags(6, 1),
            "truncations": flags(6, 3),
        }
    )


def test_episodes_and_their_returns(data):
    assert [episode.n_steps for episode in data.episodes()] == [2, 2, 2]
    assert data.returns().tolist() == [1, 5, 9]
    assert data.n_steps == 6


def test_episodes_are_filtered_each_time_anew(data):
    good = data.filtered(lambda episode: episode.rewards.sum() > 2)
    assert good.returns().tolist() == good.returns().tolist() == [5, 9]
    assert "filtered" in repr(good)


def test_a_part_ends_an_episode(data):
    (part,) = data.part(3, 5)
    assert part.rewards.tolist() == [3, 4]
    assert part.truncations.tolist() == [True, True]
    assert [block.n_steps for block in read([data, data]).part(5, 8)] == [1, 2]
