"""Replay buffer of tensors: the transitions of Stable-Baselines3's buffers, without the host."""

import pickle

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_softac import offline
from sb3_softac.buffers import SingleCopyReplayBuffer, TensorReplayBuffer
from sb3_softac.buffers.first_look import first_rows
from tests.helpers import Target

BOX = spaces.Box(-1.0, 1.0, (3,))
DICT = spaces.Dict({"image": spaces.Box(0, 255, (1, 2, 2), np.uint8), "id": spaces.Discrete(5)})
ACTIONS = spaces.Box(-1.0, 1.0, (2,))
N_ENVS, N_ROWS = 3, 8


def steps(space, n_steps):
    """Transitions in numpy, with ends of both kinds."""
    rng = np.random.default_rng(0)
    space.seed(0)

    def observations():
        each = [space.sample() for _ in range(N_ENVS)]
        return {key: np.stack([one[key] for one in each]) for key in each[0]} if space is DICT else np.stack(each)

    for _ in range(n_steps):
        done = rng.random(N_ENVS) < 0.4
        infos = [{"TimeLimit.truncated": bool(rng.random() < 0.5 and each)} for each in done]
        action = rng.uniform(-1.0, 1.0, (N_ENVS, 2)).astype(np.float32)
        yield observations(), observations(), action, rng.normal(size=N_ENVS).astype(np.float32), done, infos


def filled(cls, space, n_added, **kwargs):
    buffer = cls(N_ROWS * N_ENVS, space, ACTIONS, "cpu", N_ENVS, **kwargs)
    for step in steps(space, n_added):
        buffer.add(*step)
    return buffer


def all_of(buffer):
    """Every transition in order, from whatever buffer."""
    index = th.arange(buffer.size() * N_ENVS)
    if isinstance(buffer, TensorReplayBuffer):
        return buffer._gather(index)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(np.random, "randint", lambda *args, **kwargs: index.numpy() % N_ENVS)
        return buffer._get_samples(index.numpy() // N_ENVS)


@pytest.mark.parametrize("n_steps", [5, 8, 21], ids=["part", "full", "overwritten"])
@pytest.mark.parametrize(
    ("space", "cls", "kwargs"),
    [
        (BOX, ReplayBuffer, {}),
        (DICT, DictReplayBuffer, {}),
        (BOX, NStepReplayBuffer, {"n_steps": 3, "gamma": 0.9}),
        (BOX, NStepReplayBuffer, {"n_steps": 5, "gamma": 0.5}),
    ],
    ids=["Box", "Dict", "3 steps", "5 steps"],
)
def test_transitions_are_those_of_stable_baselines3(space, cls, kwargs, n_steps):
    ours, theirs = (all_of(filled(each, space, n_steps, **kwargs)) for each in (TensorReplayBuffer, cls))
    for name in ("observations", "actions", "next_observations", "dones", "rewards"):
        th.testing.assert_close(getattr(ours, name), getattr(theirs, name), check_dtype=name != "actions")
    if kwargs:
        th.testing.assert_close(ours.discounts, theirs.discounts)
    else:
        assert ours.discounts is None


def test_returns_of_two_steps_by_hand():
    buffer = TensorReplayBuffer(8, BOX, ACTIONS, "cpu", n_envs=2, n_steps=2, gamma=0.5)
    no = th.zeros(2, dtype=th.bool)
    fell, late = th.tensor([True, False]), th.tensor([False, True])
    for time, (done, timeout) in enumerate([(no, None), (fell | late, late), (no, None)]):
        reward = th.tensor([1.0, 10.0]) * (time + 1)
        buffer.add_tensors(
            th.full((2, 3), 1.0 * time), th.full((2, 3), time + 0.5), th.zeros(2, 2), reward, done, timeout
        )
    samples = all_of_pairs(buffer)
    assert samples.rewards[:, 0].tolist() == [2.0, 20.0, 2.0, 20.0, 3.0, 30.0]
    assert samples.dones[:, 0].tolist() == [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert samples.discounts[:, 0].tolist() == [0.25, 0.25, 0.5, 0.5, 0.5, 0.5]
    assert samples.next_observations[:, 0].tolist() == [1.5, 1.5, 1.5, 1.5, 2.5, 2.5]


def all_of_pairs(buffer):
    return buffer._gather(th.arange(buffer.size() * buffer.n_envs))


def test_episodes_that_are_broken_off_end_returns_but_keep_the_next_value():
    buffer = TensorReplayBuffer(8, BOX, ACTIONS, "cpu", n_envs=1, n_steps=3, gamma=0.5)
    buffer.end_episodes()  # of an empty one nothing happens
    step = (th.zeros(1, 3), th.zeros(1, 3), th.zeros(1, 2), th.ones(1), th.zeros(1, dtype=th.bool), None)
    buffer.add_tensors(*step)
    buffer.end_episodes()
    for _ in range(3):
        buffer.add_tensors(*step)
    samples = all_of_pairs(buffer)
    assert samples.rewards[:, 0].tolist() == [1.0, 1.75, 1.5, 1.0]
    assert samples.dones[:, 0].tolist() == [0.0] * 4
    assert samples.discounts[0, 0] == 0.5


def test_without_time_limits_every_end_is_terminal():
    buffer = filled(TensorReplayBuffer, BOX, 8, handle_timeout_termination=False)
    assert th.equal(all_of(buffer).dones[:, 0], buffer.dones.view(-1).float())


def test_batches_are_drawn_evenly_from_what_is_filled():
    buffer = filled(TensorReplayBuffer, BOX, 4)
    th.manual_seed(0)
    rewards = th.cat([batch.rewards for batch in buffer.sample_batches(30, 100)])
    values, counts = rewards.unique(return_counts=True)
    assert len(values) == 4 * N_ENVS
    assert counts.min() > 0.7 * 3000 / 12
    assert counts.max() < 1.3 * 3000 / 12


def test_many_batches_have_the_size_that_was_asked_for():
    buffer = filled(TensorReplayBuffer, BOX, 8)
    assert [len(batch.rewards) for batch in buffer.sample_batches(5, 7)] == [7] * 5


@pytest.mark.parametrize("space", [BOX, DICT], ids=["Box", "Dict"])
@pytest.mark.parametrize("n_steps", [5, 21], ids=["part", "overwritten"])
def test_a_pickle_brings_it_back(space, n_steps):
    buffer = filled(TensorReplayBuffer, space, n_steps, n_steps=2)
    again = pickle.loads(pickle.dumps(buffer))
    assert (again.pos, again.full, again.n_steps) == (buffer.pos, buffer.full, 2)
    for ours, theirs in zip(all_of(again), all_of(buffer), strict=True):
        th.testing.assert_close(ours, theirs)


def test_arrays_in_numpy_are_copies():
    buffer = filled(TensorReplayBuffer, BOX, 5)
    assert buffer.observations.shape == buffer.next_observations.shape == (N_ROWS, N_ENVS, 3)
    assert buffer.actions.shape == (N_ROWS, N_ENVS, 2)
    rows = first_rows(buffer, 4)
    assert [each.shape for each in (rows.rewards, rows.dones, rows.timeouts)] == [(4, N_ENVS)] * 3


@pytest.mark.parametrize("space", [BOX, DICT], ids=["Box", "Dict"])
@pytest.mark.parametrize("n_added", [5, 21], ids=["part", "overwritten"])
def test_its_steps_are_data_for_others(space, n_added):
    ours, theirs = (
        list(offline.read(filled(cls, space, n_added))) for cls in (TensorReplayBuffer, SingleCopyReplayBuffer)
    )
    assert len(ours) == len(theirs) > N_ENVS
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_equal(own.observations, other.observations)
        np.testing.assert_equal(own.next_observations, other.next_observations)
        assert np.array_equal(own.terminations, other.terminations)
        assert np.array_equal(own.truncations, other.truncations)


@pytest.mark.parametrize("field", [1, 3], ids=["next observation", "reward"])
def test_steps_of_a_broken_simulator_are_found_among_the_newest(field):
    buffer = filled(TensorReplayBuffer, BOX, 3)
    assert not buffer.has_broken_steps(3)
    step = list(next(steps(BOX, 1)))
    step[field] = step[field] * np.where(np.arange(N_ENVS) == 1, np.inf, 1.0).astype(np.float32).reshape(
        -1, *[1] * (step[field].ndim - 1)
    )
    buffer.add(*step)
    assert buffer.has_broken_steps(1)
    for later in steps(BOX, 2):
        buffer.add(*later)
    assert not buffer.has_broken_steps(2)
    assert buffer.has_broken_steps(100)


@pytest.mark.parametrize("field", [0, 2], ids=["observation", "action"])
def test_a_step_that_began_with_what_is_not_finite_is_not_the_simulators_fault(field):
    buffer = TensorReplayBuffer(8, BOX, ACTIONS, "cpu", n_envs=N_ENVS)
    step = list(next(steps(BOX, 1)))
    step[field] = step[field] * np.nan
    step[3] = step[3] * np.nan
    buffer.add(*step)
    assert not buffer.has_broken_steps(1)


def test_reset_removes_all():
    buffer = filled(TensorReplayBuffer, BOX, 5)
    buffer.reset()
    with pytest.raises(ValueError, match="The replay buffer is empty"):
        buffer.sample(4)


def test_it_moves_to_another_device():
    buffer = filled(TensorReplayBuffer, BOX, 5)
    buffer.device = "meta"
    assert {each.device.type for each in (buffer.rewards, buffer.dones, buffer._actions.data)} == {"meta"}


@pytest.mark.parametrize("kwargs", [{"storage": "host"}, {"optimize_memory_usage": True}])
def test_what_it_does_not_do_is_refused(kwargs):
    with pytest.raises(ValueError, match="keeps whole transitions on the device"):
        TensorReplayBuffer(8, BOX, ACTIONS, **kwargs)


def test_statistics_in_numpy_are_refused():
    buffer = filled(TensorReplayBuffer, BOX, 5)
    with pytest.raises(ValueError, match="`VecNormalize` cannot normalise"):
        buffer.sample(4, env=VecNormalize(DummyVecEnv([Target])))


def test_types_that_torch_lacks_are_refused():
    with pytest.raises(ValueError, match="cannot hold observations of uint16"):
        TensorReplayBuffer(8, spaces.Box(0, 9, (2,), np.uint16), ACTIONS)


def test_too_little_memory_says_which_argument(monkeypatch):
    def full(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(TensorReplayBuffer, "_rows", full)
    with pytest.raises(ValueError, match="`buffer_size=9` does not fit the memory of cpu: out of memory"):
        TensorReplayBuffer(9, BOX, ACTIONS, "cpu", N_ENVS)
