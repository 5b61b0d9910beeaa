"""SingleCopyReplayBuffer: the batches are Stable-Baselines3's, the memory is half."""

import copy
import io
import pickle
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common import buffers as sb3_buffers
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_softac import SoftAC
from sb3_softac.buffers import SingleCopyReplayBuffer
from sb3_softac.buffers import storage as storage_module
from sb3_softac.buffers.storage import ObservationStore
from tests.helpers import SMALL, SMALL_DICT, Target, dict_space, parameters_of

VECTOR = spaces.Box(-1.0, 1.0, (3,))
OBSERVATIONS = {
    "float32": VECTOR,
    "float64": spaces.Box(-1.0, 1.0, (2, 3), np.float64),
    "image": spaces.Box(0, 255, (3, 5, 5), np.uint8),
    "large_image": spaces.Box(0, 255, (3, 160, 160), np.uint8),
    "uint16": spaces.Box(0, 9, (3,), np.uint16),
    "discrete": spaces.Discrete(7),
    "multi_discrete": spaces.MultiDiscrete([3, 4]),
    "multi_binary": spaces.MultiBinary(5),
    "dict": spaces.Dict({"image": spaces.Box(0, 255, (1, 4, 4), np.uint8), "vector": VECTOR, "n": spaces.Discrete(9)}),
}
ACTIONS = {
    "box": spaces.Box(-1.0, 1.0, (2,)),
    "box64": spaces.Box(-1.0, 1.0, (2,), np.float64),
    "discrete": spaces.Discrete(3),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
}


class Step(NamedTuple):
    """The arguments of `add()`."""

    obs: Any
    next_obs: Any
    action: np.ndarray
    reward: np.ndarray
    done: np.ndarray
    infos: list[dict[str, Any]]


class Stream:
    """Random steps of several environments as `learn()` stores them: after an end follows the first of the next.

    :param end: probability that an episode ends in a step; half of the ends are time limits
    """

    def __init__(self, observation: spaces.Space, action: spaces.Space, n_envs: int, end: float = 0.2) -> None:
        self._observation, self._action, self._n_envs, self._end = observation, action, n_envs, end
        self._random = np.random.default_rng(0)
        for space in (observation, action):
            space.seed(0)
        self._obs = self._observations()

    def _observations(self) -> Any:
        samples = [self._observation.sample() for _ in range(self._n_envs)]
        if isinstance(self._observation, spaces.Dict):
            return {key: np.stack([sample[key] for sample in samples]) for key in self._observation.spaces}
        return np.stack(samples)

    def restart(self) -> None:
        """What `learn()` does when it is called again: reset every environment."""
        self._obs = self._observations()

    def step(self) -> Step:
        obs, following, final = self._obs, self._observations(), self._observations()
        done = self._random.random(self._n_envs) < self._end
        truncated = done & (self._random.random(self._n_envs) < 0.5)
        next_obs = copy.deepcopy(following)
        pairs = [(next_obs[key], final[key]) for key in final] if isinstance(final, dict) else [(next_obs, final)]
        for array, ends in pairs:
            array[done] = ends[done]
        self._obs = following
        action = np.stack([self._action.sample() for _ in range(self._n_envs)])
        infos = [{"TimeLimit.truncated": bool(cut)} for cut in truncated]
        return Step(obs, next_obs, action, self._random.normal(size=self._n_envs), done, infos)


def add(step: Step, *buffers: ReplayBuffer) -> None:
    for buffer in buffers:
        buffer.add(*copy.deepcopy(step))  # Stable-Baselines3's changes dicts that it is given


def sampled(buffer: ReplayBuffer, seed: int, batch_size: int = 40, env: VecNormalize | None = None) -> Any:
    np.random.seed(seed)  # noqa: NPY002  # what the buffers draw with
    return buffer.sample(batch_size, env=env)


def assert_same_samples(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    for name, value, expected in zip(ours._fields, ours, theirs, strict=True):
        if expected is None:
            assert value is None
            continue
        leaves = (
            [(value[key], expected[key]) for key in expected] if isinstance(expected, dict) else [(value, expected)]
        )
        for tensor, other in leaves:
            assert tensor.dtype == other.dtype, name
            assert tensor.shape == other.shape, name
            assert tensor.is_contiguous()
            assert th.equal(tensor, other), name


def buffer_pair(
    observation: spaces.Space, action: spaces.Space = ACTIONS["box"], n_envs: int = 2, rows: int = 7, **kwargs: Any
) -> tuple[SingleCopyReplayBuffer, ReplayBuffer]:
    storage = kwargs.pop("storage", "host")
    theirs_class = DictReplayBuffer if isinstance(observation, spaces.Dict) else ReplayBuffer
    theirs_class = NStepReplayBuffer if "n_steps" in kwargs else theirs_class
    common = (rows * n_envs, observation, action, "cpu", n_envs)
    return SingleCopyReplayBuffer(*common, storage=storage, **kwargs), theirs_class(*common, **kwargs)


def assert_same_while_filled(ours: SingleCopyReplayBuffer, theirs: ReplayBuffer, stream: Stream, steps: int) -> None:
    for step in range(steps):
        add(stream.step(), ours, theirs)
        assert (ours.pos, ours.full, ours.size()) == (theirs.pos, theirs.full, theirs.size())
        assert_same_samples(sampled(ours, step), sampled(theirs, step))


# The batches are those of Stable-Baselines3


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_same_batches_for_every_observation_space(observation, n_envs):
    space = OBSERVATIONS[observation]
    ours, theirs = buffer_pair(space, n_envs=n_envs)
    assert_same_while_filled(ours, theirs, Stream(space, ACTIONS["box"], n_envs), 23)
    arrays = ours.observations if isinstance(space, spaces.Dict) else {"": ours.observations}
    expected = theirs.observations if isinstance(space, spaces.Dict) else {"": theirs.observations}
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, expected[key])
    np.testing.assert_array_equal(ours.actions, theirs.actions)


@pytest.mark.parametrize("action", ACTIONS)
def test_same_batches_for_every_action_space(action):
    ours, theirs = buffer_pair(VECTOR, ACTIONS[action])
    assert_same_while_filled(ours, theirs, Stream(VECTOR, ACTIONS[action], 2), 23)


@pytest.mark.parametrize("rows", [1, 2, 3, 50])
@pytest.mark.parametrize("end", [0.0, 0.5, 1.0])
def test_same_batches_for_every_capacity_and_length_of_episodes(rows, end):
    ours, theirs = buffer_pair(VECTOR, n_envs=3, rows=rows)
    assert_same_while_filled(ours, theirs, Stream(VECTOR, ACTIONS["box"], 3, end), 2 * rows + 9)


@pytest.mark.parametrize("storage", ["host", "device"])
@pytest.mark.parametrize("observation", ["float32", "dict"])
def test_same_batches_if_the_environments_are_reset_in_between(observation, storage):
    ours, theirs = buffer_pair(OBSERVATIONS[observation], storage=storage)
    stream = Stream(OBSERVATIONS[observation], ACTIONS["box"], 2)
    for steps in (2, 1, 3, 1, 1, 8):
        assert_same_while_filled(ours, theirs, stream, steps)
        stream.restart()


@pytest.mark.parametrize("handle", [True, False])
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("n_steps", [2, 3, 9])
def test_same_n_step_returns(n_steps, n_envs, handle):
    kwargs = {"n_steps": n_steps, "gamma": 0.9, "handle_timeout_termination": handle}
    ours, theirs = buffer_pair(VECTOR, n_envs=n_envs, **kwargs)
    assert_same_while_filled(ours, theirs, Stream(VECTOR, ACTIONS["box"], n_envs), 30)


def test_n_step_returns_of_dicts_are_those_of_their_parts():
    ours = SingleCopyReplayBuffer(14, OBSERVATIONS["dict"], ACTIONS["box"], "cpu", 2, n_steps=3, gamma=0.9)
    theirs = NStepReplayBuffer(14, VECTOR, ACTIONS["box"], "cpu", 2, n_steps=3, gamma=0.9)
    stream = Stream(OBSERVATIONS["dict"], ACTIONS["box"], 2)
    for seed in range(30):
        step = stream.step()
        add(step, ours)
        add(step._replace(obs=step.obs["vector"], next_obs=step.next_obs["vector"]), theirs)
        samples = sampled(ours, seed)
        vectors = {name: getattr(samples, name)["vector"] for name in ("observations", "next_observations")}
        part = sb3_buffers.ReplayBufferSamples(**samples._asdict() | vectors)
        assert_same_samples(part, sampled(theirs, seed))


@pytest.mark.parametrize("handle", [True, False])
def test_time_limits_are_terminal_only_if_asked_for(handle):
    ours, theirs = buffer_pair(VECTOR, handle_timeout_termination=handle)
    stream = Stream(VECTOR, ACTIONS["box"], 2, end=0.5)
    assert_same_while_filled(ours, theirs, stream, 20)
    truncated = ours.timeouts.astype(bool)
    assert truncated.any() == handle
    assert not sampled(ours, 0, 500).dones.flatten().all()


@pytest.mark.parametrize("observation", ["float64", "dict"])
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("storage", ["host", "device"])
def test_same_normalisation(observation, n_steps, storage):
    if observation == "dict":
        space = spaces.Dict({key: OBSERVATIONS["dict"][key] for key in ("image", "vector")})
    else:
        space = OBSERVATIONS[observation]
    if n_steps > 1 and observation == "dict":
        pytest.skip("Stable-Baselines3 has no n-step returns for Dict observations")
    kwargs = {"n_steps": n_steps} if n_steps > 1 else {}
    ours, theirs = buffer_pair(space, storage=storage, **kwargs)
    keys = ["vector"] if observation == "dict" else None
    env = VecNormalize(make_vec_env(lambda: Target(space), 2), norm_obs_keys=keys)
    env.reset()
    for _ in range(20):
        env.step(np.zeros((2, 2)))
    stream = Stream(space, ACTIONS["box"], 2)
    for seed in range(20):
        add(stream.step(), ours, theirs)
        assert_same_samples(sampled(ours, seed, env=env), sampled(theirs, seed, env=env))


@pytest.mark.parametrize("observation", ["float32", "image", "discrete", "dict"])
def test_storage_on_the_device_returns_the_same(observation):
    """On a CPU too, the rows are then torch's, as they are on a GPU."""
    space = OBSERVATIONS[observation]
    ours, theirs = buffer_pair(space, storage="device")
    assert all(isinstance(store.rows.data, th.Tensor) for store in ours._stores.values())
    assert_same_while_filled(ours, theirs, Stream(space, ACTIONS["box"], 2), 25)


@pytest.mark.gpu
@pytest.mark.skipif(not th.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("storage", ["host", "device"])
@pytest.mark.parametrize("observation", ["float32", "image", "dict"])
def test_on_a_gpu(observation, storage):
    space = OBSERVATIONS[observation]
    theirs_class = DictReplayBuffer if observation == "dict" else ReplayBuffer
    ours = SingleCopyReplayBuffer(14, space, ACTIONS["box"], "cuda", 2, storage=storage)
    theirs = theirs_class(14, space, ACTIONS["box"], "cuda", 2)
    assert_same_while_filled(ours, theirs, Stream(space, ACTIONS["box"], 2), 25)
    assert sampled(ours, 0).actions.is_cuda
    again = pickle.loads(pickle.dumps(ours))
    assert_same_samples(sampled(again, 0), sampled(ours, 0))


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("observation", ["float32", "dict"])
def test_several_batches_are_those_of_repeated_calls(observation, n_envs, n_steps):
    ours = SingleCopyReplayBuffer(60, OBSERVATIONS[observation], ACTIONS["box"], "cpu", n_envs, n_steps=n_steps)
    stream = Stream(OBSERVATIONS[observation], ACTIONS["box"], n_envs)
    for _ in range(25):
        add(stream.step(), ours)
    np.random.seed(3)  # noqa: NPY002
    one_by_one = [ours.sample(8) for _ in range(5)]
    np.random.seed(3)  # noqa: NPY002
    together = list(ours.sample_batches(5, 8))
    assert len(together) == 5
    for ours_, theirs_ in zip(together, one_by_one, strict=True):
        assert_same_samples(ours_, theirs_)
    assert list(ours.sample_batches(0, 8)) == []


def test_batches_are_copies():
    ours, _ = buffer_pair(VECTOR)
    stream = Stream(VECTOR, ACTIONS["box"], 2)
    add(stream.step(), ours)
    batch = sampled(ours, 0)
    for tensor in batch[:5]:
        tensor.fill_(5.0)
    assert sampled(ours, 0).observations.max() <= 1.0
    assert sampled(ours, 0).next_observations.max() <= 1.0


# Next observations


def next_observations(buffer: SingleCopyReplayBuffer) -> list[float]:
    """Of each row in turn; one environment, observations of one number."""
    return buffer._get_samples(np.arange(buffer.size())).next_observations.flatten().tolist()


def add_numbers(buffer: SingleCopyReplayBuffer, *transitions: tuple[float, float]) -> None:
    for obs, next_obs in transitions:
        buffer.add(np.array([[obs]]), np.array([[next_obs]]), np.zeros((1, 2)), np.zeros(1), np.zeros(1, bool), [{}])


def number_buffer(rows: int, **kwargs: Any) -> SingleCopyReplayBuffer:
    return SingleCopyReplayBuffer(rows, spaces.Box(-100.0, 100.0, (1,)), ACTIONS["box"], "cpu", **kwargs)


def test_every_transition_of_a_full_buffer_can_be_sampled():
    buffer = number_buffer(4)
    add_numbers(buffer, (0, 1), (1, 2), (2, 3), (3, 4))
    assert next_observations(buffer) == [1, 2, 3, 4]
    add_numbers(buffer, (4, 5))
    assert next_observations(buffer) == [5, 2, 3, 4]


def test_a_restart_that_no_done_announces_is_noticed():
    buffer = number_buffer(10)
    add_numbers(buffer, (0, 1), (1, 2), (50, 51), (51, 52))
    assert next_observations(buffer) == [1, 2, 51, 52]


def test_n_step_returns_end_at_a_restart():
    buffer = number_buffer(10, n_steps=4, gamma=0.5)
    add_numbers(buffer, (0, 1), (1, 2), (50, 51), (51, 52))
    samples = buffer._get_samples(np.arange(4))
    assert samples.next_observations.flatten().tolist() == [2, 2, 52, 52]
    assert samples.discounts.flatten().tolist() == [0.25, 0.5, 0.25, 0.5]


def test_nan_equals_nan():
    buffer = number_buffer(10)
    add_numbers(buffer, (0, np.nan), (np.nan, 2), (2, 3))
    assert buffer._slots.in_use == 1
    np.testing.assert_array_equal(next_observations(buffer), [np.nan, 2, 3])


@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("shape", [(1,), (7,), (4, 4), (16,)], ids=str)
def test_both_ways_to_compare_find_the_same_difference(shape, limit, monkeypatch):
    monkeypatch.setattr(storage_module, "BYTES_TO_COMPARE_AT_ONCE", limit)
    store = ObservationStore(5, 3, shape, np.uint8, None)
    obs = np.random.default_rng(0).integers(0, 255, (3, *shape), dtype=np.uint8)
    store.add_next(obs)
    assert store.add(0, obs) is None
    obs[1, -1] += 1
    assert store.add(1, obs).tolist() == [False, True, False]


@pytest.mark.parametrize("storage", ["host", "device"])
def test_slots_are_recycled(storage):
    """As many as there are ends of episodes among the transitions that are held, however long it runs."""
    n_envs, rows = 2, 10
    ours, theirs = buffer_pair(VECTOR, n_envs=n_envs, rows=rows, storage=storage)
    stream = Stream(VECTOR, ACTIONS["box"], n_envs, end=0.3)
    held = []
    for _ in range(400):
        add(stream.step(), ours, theirs)
        held.append(int(theirs.dones.sum()))
    assert ours._slots.in_use <= n_envs + max(held) + 1
    assert len(ours._slots._free) == ours._slots.in_use - int((ours._slots.table > 0).sum())
    assert_same_samples(sampled(ours, 0), sampled(theirs, 0))


def test_never_more_slots_than_transitions():
    ours, theirs = buffer_pair(VECTOR, n_envs=2, rows=100)
    assert_same_while_filled(ours, theirs, Stream(VECTOR, ACTIONS["box"], 2, end=1.0), 250)
    assert len(ours._stores[None].slots) <= 2 * 100 + 2


# Life of a buffer


def test_reset_forgets_everything():
    ours, theirs = buffer_pair(VECTOR)
    stream = Stream(VECTOR, ACTIONS["box"], 2)
    for _ in range(2):
        for buffer in (ours, theirs):
            buffer.reset()
        assert ours.size() == 0
        assert_same_while_filled(ours, theirs, stream, 20)


def test_extend_adds_step_by_step():
    ours, theirs = buffer_pair(VECTOR)
    stream = Stream(VECTOR, ACTIONS["box"], 2)
    columns = list(zip(*(stream.step() for _ in range(9)), strict=True))
    for buffer in (ours, theirs):
        buffer.extend(*columns)
    assert_same_samples(sampled(ours, 0), sampled(theirs, 0))


def test_extend_with_the_arrays_of_another_buffer():
    """Time limits are then arrays of one number."""
    source = SoftAC("MlpPolicy", Target(truncate=True), **SMALL | {"buffer_size": 30}).learn(35).replay_buffer
    infos = [[{"TimeLimit.truncated": truncated}] for truncated in source.timeouts]
    again = SingleCopyReplayBuffer(30, source.observation_space, source.action_space, "cpu")
    again.extend(source.observations, source.observations, source.actions, source.rewards, source.dones, infos)
    np.testing.assert_array_equal(again.timeouts, source.timeouts)
    assert source.timeouts.sum() == 3


@pytest.mark.parametrize("storage", ["host", "device"])
@pytest.mark.parametrize("observation", ["float32", "dict"])
@pytest.mark.parametrize("steps", [0, 4, 19])
def test_a_pickled_buffer_goes_on_as_if_nothing_had_happened(steps, observation, storage):
    space = OBSERVATIONS[observation]
    ours, theirs = buffer_pair(space, storage=storage)
    stream = Stream(space, ACTIONS["box"], 2)
    for _ in range(steps):
        add(stream.step(), ours, theirs)
    again = pickle.loads(pickle.dumps(ours))
    assert again.storage == storage
    assert_same_while_filled(again, theirs, stream, 20)


def test_a_pickle_holds_only_what_is_filled():
    buffer = SingleCopyReplayBuffer(1_000_000, VECTOR, ACTIONS["box"], "cpu")
    stream = Stream(VECTOR, ACTIONS["box"], 1)
    for _ in range(100):
        add(stream.step(), buffer)
    assert len(pickle.dumps(buffer)) < 20_000


def test_moving_to_a_device_takes_the_rows_along():
    ours, theirs = buffer_pair(VECTOR, storage="device")
    stream = Stream(VECTOR, ACTIONS["box"], 2)
    add(stream.step(), ours, theirs)
    ours.device = "cpu"
    assert ours.device == th.device("cpu")
    assert_same_while_filled(ours, theirs, stream, 12)


def test_empty_buffer():
    with pytest.raises(ValueError, match=r"empty.*add transitions"):
        number_buffer(5).sample(3)
    with pytest.raises(ValueError, match="empty"):
        next(number_buffer(5).sample_batches(2, 3))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"optimize_memory_usage": True}, "always stores an observation once"),
        ({"storage": "gpu"}, r"`storage` must be one of \['device', 'host'\], but 'gpu'"),
        ({"n_steps": 0}, "`n_steps` must be a whole number of at least 1"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        number_buffer(5, **kwargs)


def test_types_that_torch_cannot_index_stay_on_the_host():
    with pytest.raises(ValueError, match=r"uint16.*storage='host'"):
        SingleCopyReplayBuffer(5, OBSERVATIONS["uint16"], ACTIONS["box"], "cpu", storage="device")


# Memory


def test_images_take_half_the_memory():
    image = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    ours, theirs = buffer_pair(image, n_envs=1, rows=300)
    stream = Stream(image, ACTIONS["box"], 1, end=0.02)
    for _ in range(700):
        add(stream.step(), ours)
    expected = theirs.observations.nbytes + theirs.next_observations.nbytes
    taken = ours.host_bytes() + sum(len(store.slots) * 4 * 84 * 84 for store in ours._stores.values())
    # With so small a capacity the spare slots are seen: SPARE_SLOTS of them, whatever the capacity.
    assert taken - storage_module.SPARE_SLOTS * 4 * 84 * 84 < 0.55 * expected


def test_capacity_takes_no_memory_before_it_is_used():
    resident = pytest.importorskip("resource").getrusage
    before = resident(0).ru_maxrss  # KiB on Linux, bytes elsewhere: either way an upper bound
    buffer = SingleCopyReplayBuffer(200_000, spaces.Box(0, 255, (4, 84, 84), np.uint8), ACTIONS["box"], "cpu")
    assert buffer.host_bytes() > 5e9
    stream = Stream(buffer.observation_space, ACTIONS["box"], 1)
    for _ in range(20):
        add(stream.step(), buffer)
    assert resident(0).ru_maxrss - before < 50_000 * (1 if resident(0).ru_maxrss < 1e8 else 1024)


def test_a_warning_if_the_full_buffer_would_not_fit(monkeypatch):
    class Psutil:
        @staticmethod
        def virtual_memory():
            return type("Memory", (), {"available": 1e6})

    monkeypatch.setattr(sb3_buffers, "psutil", Psutil)
    number_buffer(10_000)
    with pytest.warns(UserWarning, match="does not have apparently enough memory"):
        number_buffer(100_000)


# In SoftAC


def make_model(**kwargs: Any) -> SoftAC:
    policy = "MultiInputPolicy" if kwargs.pop("dict", False) else "MlpPolicy"
    env = kwargs.pop("env", None) or Target(dict_space() if policy == "MultiInputPolicy" else None, truncate=True)
    small = SMALL_DICT if policy == "MultiInputPolicy" else SMALL
    return SoftAC(policy, env, **small | {"seed": 0} | kwargs)


@pytest.mark.parametrize(
    ("kwargs", "theirs"),
    [
        ({}, {"replay_buffer_class": ReplayBuffer}),
        (
            {"n_steps": 3},
            {"replay_buffer_class": NStepReplayBuffer, "replay_buffer_kwargs": {"n_steps": 3, "gamma": 0.99}},
        ),
        ({"dict": True}, {"dict": True, "replay_buffer_class": DictReplayBuffer}),
    ],
    ids=["box", "n_steps", "dict"],
)
@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("normalise", [False, True])
def test_learning_is_the_same_to_the_last_bit(kwargs, theirs, n_envs, normalise):
    def learned(**arguments: Any) -> tuple[SoftAC, dict[str, th.Tensor]]:
        space = dict_space() if "dict" in arguments else None
        env = make_vec_env(lambda: Target(space, truncate=True), n_envs, seed=0)
        if normalise:
            env = VecNormalize(env, norm_obs_keys=["vector"] if space else None)
        model = make_model(env=env, buffer_size=30, **arguments).learn(40)
        return model, parameters_of(model.learn(24))  # and again, from a reset

    ours, our_parameters = learned(**kwargs)
    _, expected = learned(**theirs)
    assert isinstance(ours.replay_buffer, SingleCopyReplayBuffer)
    assert ours.replay_buffer.timeouts.any()
    assert ours.replay_buffer.full
    for name, value in our_parameters.items():
        assert th.equal(value, expected[name]), name


def test_n_step_returns_of_dicts():
    model = make_model(dict=True, n_steps=3, gamma=0.5).learn(60)
    discounts = model.replay_buffer.sample(100).discounts
    assert set(discounts.flatten().tolist()) == {0.5, 0.25, 0.125}


def test_arguments_reach_the_buffer():
    model = make_model(replay_buffer_kwargs={"storage": "device", "handle_timeout_termination": False})
    assert model.replay_buffer.storage == "device"
    assert not model.replay_buffer.handle_timeout_termination
    named = make_model(replay_buffer_class=SingleCopyReplayBuffer, n_steps=4)
    assert named.replay_buffer.n_steps == 4


@pytest.mark.parametrize(
    "chosen",
    [
        {"replay_buffer_class": ReplayBuffer},
        {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
    ],
    ids=["class", "optimize_memory_usage"],
)
def test_what_the_user_chose_stays(chosen, tmp_path):
    model = make_model(**chosen)
    assert type(model.replay_buffer) is ReplayBuffer
    model.save(tmp_path / "model")
    assert type(SoftAC.load(tmp_path / "model", env=Target()).replay_buffer) is ReplayBuffer


def test_checkpoints_of_either_buffer_load_as_the_other(tmp_path):
    make_model().save(tmp_path / "ours")
    assert type(SoftAC.load(tmp_path / "ours", env=Target()).replay_buffer) is SingleCopyReplayBuffer
    other = SoftAC.load(tmp_path / "ours", env=Target(), replay_buffer_class=ReplayBuffer)
    assert type(other.replay_buffer) is ReplayBuffer
    other.save(tmp_path / "theirs")
    back = SoftAC.load(tmp_path / "theirs", env=Target(), replay_buffer_class=None)
    assert type(back.replay_buffer) is SingleCopyReplayBuffer
    back.learn(30)


@pytest.mark.parametrize("theirs", [ReplayBuffer, SingleCopyReplayBuffer])
def test_saved_buffers_of_either_class_are_loaded(theirs):
    source = make_model(replay_buffer_class=theirs).learn(30)
    file = io.BytesIO()
    source.save_replay_buffer(file)
    file.seek(0)
    model = make_model()
    model.load_replay_buffer(file)
    assert type(model.replay_buffer) is theirs
    assert_same_samples(sampled(model.replay_buffer, 0), sampled(source.replay_buffer, 0))
    model.learn(30)
    assert model.replay_buffer.size() == 60


def test_a_loaded_buffer_keeps_the_end_of_what_was_collected_before():
    model = make_model(env=Target(horizon=1000)).learn(30)
    last = model.replay_buffer._get_samples(np.array([29])).next_observations
    file = io.BytesIO()
    model.save_replay_buffer(file)
    file.seek(0)
    other = make_model(env=Target(horizon=1000))
    other.load_replay_buffer(file)
    other.learn(10)
    samples = other.replay_buffer._get_samples(np.array([29, 30]))
    assert th.equal(samples.next_observations[:1], last)
    assert not th.equal(samples.observations[1:], last)


@pytest.mark.parametrize(
    ("space", "n_envs", "shape"),
    [
        (spaces.Box(0, 255, (3, 4, 4), np.uint8), 1, (1, 4, 4, 3)),
        (spaces.Box(-1.0, 1.0, (2, 3)), 1, (1, 3, 2)),
        (VECTOR, 2, (3, 2)),
    ],
)
def test_observations_in_another_layout_are_refused_and_not_reshaped(space, n_envs, shape):
    buffer = SingleCopyReplayBuffer(10, space, ACTIONS["box"], n_envs=n_envs)
    obs = np.zeros(shape, space.dtype)
    with pytest.raises(ValueError, match="broadcast"):
        buffer.add(obs, obs, np.zeros((n_envs, 2)), np.zeros(n_envs), np.zeros(n_envs), [{}] * n_envs)


def test_observations_may_be_lists_and_parts_of_them_empty():
    buffer = SingleCopyReplayBuffer(10, VECTOR, ACTIONS["box"])
    buffer.add([[0.1, 0.2, 0.3]], [[0.4, 0.5, 0.6]], np.zeros((1, 2)), np.zeros(1), np.zeros(1), [{}])
    np.testing.assert_allclose(buffer.sample(1).next_observations, [[0.4, 0.5, 0.6]])
    space = spaces.Dict({"x": VECTOR, "nothing": spaces.Box(-1.0, 1.0, (0,))})
    model = SoftAC("MultiInputPolicy", Target(space), seed=0, **SMALL).learn(30)
    assert model.replay_buffer.sample(4).observations["nothing"].shape == (4, 0)


def test_a_subclass_has_returns_of_several_steps_too():
    class Own(SingleCopyReplayBuffer):
        """Nothing else."""

    model = SoftAC("MlpPolicy", Target(), n_steps=3, replay_buffer_class=Own, seed=0, **SMALL).learn(40)
    assert model.replay_buffer.n_steps == model.n_steps == 3


def test_a_buffer_that_writes_into_the_next_observation_changes_only_what_it_stores():
    class Blinded(ReplayBuffer):
        """Stores zeros."""

        def add(self, obs, next_obs, action, reward, done, infos):
            next_obs[:] = 0.0
            super().add(obs, next_obs, action, reward, done, infos)

    model = SoftAC("MlpPolicy", Target(), replay_buffer_class=Blinded, seed=0, **SMALL).learn(25)
    assert not model.replay_buffer.next_observations[:25].any()
    assert model._last_obs.any()


@pytest.mark.parametrize("name", ["sample", "_get_samples"])
@pytest.mark.parametrize("gradient_steps", [1, 8])
def test_a_buffer_that_samples_by_its_own_code_is_asked_for_each_batch(name: str, gradient_steps: int):
    calls = []

    class Own(SingleCopyReplayBuffer):
        """Counts."""

    def counted(self, *args, **kwargs):
        calls.append(name)
        return getattr(SingleCopyReplayBuffer, name)(self, *args, **kwargs)

    setattr(Own, name, counted)
    kwargs = {"train_freq": gradient_steps, "gradient_steps": gradient_steps, "replay_buffer_class": Own, "seed": 0}
    model = SoftAC("MlpPolicy", Target(), **SMALL | kwargs).learn(56)
    assert model._n_updates == len(calls) == 40
