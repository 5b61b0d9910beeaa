"""What an environment gives and nothing can be learned from is refused before any of it is stored."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_softac import BadStepError, SoftAC
from sb3_softac.collecting.steps import StepCheck
from tests.helpers import SMALL, Simulator, Target, dict_space, image_space, parameters_of

BAD_AT = 25
#: of one `learn()`; two of them make fewer updates than come before one is recorded, which takes a second
STEPS = 30
NAN = float("nan")


class BadOnce(gym.Wrapper):
    """Changes the answer to one step.

    :param change: of observation, reward, terminated, truncated and info, in place
    :param at: the step of all steps
    """

    def __init__(self, env: gym.Env, change: Any, at: int = BAD_AT) -> None:
        super().__init__(env)
        self._change = change
        self._at = at
        self.total = self.resets = 0

    def reset(self, **kwargs):
        self.resets += 1
        return self.env.reset(**kwargs)

    def step(self, action):
        self.total += 1
        answer = list(self.env.step(action))
        if self.total == self._at:
            self._change(answer)
        return tuple(answer)


def put(place: int, value: Any) -> Any:
    def change(answer: list) -> None:
        answer[place] = value

    return change


def put_nan_into(key: str | None = None, value: float = NAN) -> Any:
    def change(answer: list) -> None:
        obs = answer[0] if key is None else answer[0][key]
        obs.flat[1] = value

    return change


def end_with(obs: Any) -> Any:
    def change(answer: list) -> None:
        answer[0], answer[2] = obs, True

    return change


def model_of(env: Any, **kwargs: Any) -> SoftAC:
    observation_space = env.observation_space
    policy = "MultiInputPolicy" if isinstance(observation_space, spaces.Dict) else "MlpPolicy"
    return SoftAC(policy, env, **({"seed": 0, "device": "cpu"} | SMALL | kwargs))


def assert_goes_on(model: SoftAC, *words: str, steps: int = STEPS) -> BadStepError:
    """Learning is refused at ``BAD_AT`` with these words, nothing of it is stored, and everything goes on."""
    n_envs = model.n_envs
    trained = []
    train = model.train

    def remember(*args: Any, **kwargs: Any) -> None:
        train(*args, **kwargs)
        trained.append(parameters_of(model))

    model.train = remember
    with pytest.raises(BadStepError) as caught:
        model.learn(steps)
    for word in (*words, "step", str(BAD_AT * n_envs)):
        assert word in str(caught.value)
    assert model.replay_buffer.pos == BAD_AT - 1
    for name, value in parameters_of(model).items():
        assert th.equal(value, trained[-1][name])
        assert value.isfinite().all()
    del model.train
    model.learn(steps, reset_num_timesteps=False)
    assert model.replay_buffer.pos == BAD_AT - 1 + steps // n_envs
    assert np.isfinite(model.replay_buffer.rewards).all()
    assert all(value.isfinite().all() for value in parameters_of(model).values())
    return caught.value


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf"), None])
def test_rewards(value, tmp_path):
    model = model_of(BadOnce(Target(), put(1, value)))
    assert_goes_on(model, "Environment 0", "reward", str(value).replace("-", ""))
    model.save(tmp_path / "agent")
    assert SoftAC.load(tmp_path / "agent", device="cpu").num_timesteps in (BAD_AT + STEPS - 1, BAD_AT + STEPS)


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_observations(value):
    env = BadOnce(Target(horizon=STEPS), put_nan_into(value=value))
    assert_goes_on(model_of(env), "Environment 0", "the observation, at [1],", str(value))
    assert env.resets == 3  # at the beginning, as learning went on, and at the end of that episode


def test_an_observation_that_is_none():
    assert_goes_on(model_of(BadOnce(Target(horizon=STEPS), put(0, None))), "Environment 0", "the observation")


def test_a_key_of_a_dict():
    env = BadOnce(Target(dict_space(), horizon=STEPS), put_nan_into("vector"))
    assert_goes_on(model_of(env), "Environment 0", "the observation['vector'], at [1],", "nan")


def test_a_key_that_is_missing():
    env = BadOnce(Target(dict_space(), horizon=STEPS), put(0, {"image": np.zeros((1, 36, 36), np.uint8)}))
    assert_goes_on(model_of(env), "Environment 0", "KeyError: 'vector'")


@pytest.mark.parametrize("shape", [(2,), (4,), (1, 3, 2)])
def test_another_shape_where_stable_baselines3_cannot_copy_it(shape):
    env = BadOnce(Target(horizon=STEPS), put(0, np.zeros(shape)))
    assert_goes_on(model_of(env), "Environment 0", "shape", "obs array")


@pytest.mark.parametrize("obs", [np.zeros(1), np.zeros((1, 3)), "three", np.array(["a", "b", "c"]), [0.0, NAN, 0.0]])
def test_last_observations_of_an_episode(obs):
    assert_goes_on(
        model_of(BadOnce(Target(horizon=STEPS), end_with(obs))), "Environment 0 ended an episode", "observation"
    )


def test_fractions_in_an_image():
    env = BadOnce(Target(image_space(), horizon=STEPS), end_with(np.full((1, 36, 36), 0.5)))
    assert_goes_on(model_of(env, policy_kwargs={"net_arch": [8]}), "at [0, 0, 0],", "0.5", "a whole number")


def test_an_info_that_is_no_dict():
    assert_goes_on(model_of(BadOnce(Target(horizon=STEPS), put(4, None))), "Environment 0", "info None")


def test_the_index_of_the_environment():
    def make(change: Any) -> Any:
        return lambda: BadOnce(Target(horizon=STEPS), change)

    envs = DummyVecEnv([make(lambda answer: None), make(put(1, NAN)), make(lambda answer: None)])
    assert_goes_on(model_of(envs), "Environment 1", "reward", steps=3 * STEPS)
    envs = DummyVecEnv([make(lambda answer: None), make(lambda answer: None), make(put(0, np.zeros(7)))])
    assert_goes_on(model_of(envs), "Environment 2", "shape", steps=3 * STEPS)


class BadSimulator(Simulator):
    """Changes its answer to one step."""

    def __init__(self, change: Any) -> None:
        super().__init__(as_lists=True)
        self._change = change
        self._total = 0

    def step_wait(self) -> Any:
        self._total += 1
        answer = list(super().step_wait())
        if self._total == BAD_AT:
            self._change(answer)
        return tuple(answer)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(0, np.zeros((3, 3))), ["shape (3, 3)", "(3, 2)"]),
        (put(0, None), ["observation", "None"]),
        (put(0, np.full((3, 2), "a")), ["observation", "must be numbers"]),
        (put(1, [0.0, None, 1.0]), ["Environment 1", "reward", "None"]),
        (put(1, [0.0, 1.0]), ["reward", "shape (2,)", "(3,)"]),
        (put(1, None), ["reward", "None"]),
        (put(2, [False] * 4), ["`dones`", "3 environment"]),
        (put(2, None), ["`dones`", "None"]),
        (put(3, [{}, {}]), ["`infos`", "3 environment"]),
        (put(3, [{}, {}, "info"]), ["Environment 2", "the info is 'info'"]),
    ],
)
def test_simulators_that_compute_many_environments(change, words):
    assert_goes_on(model_of(BadSimulator(change)), *words, steps=3 * STEPS)


def test_whatever_was_stored_by_simulators_still_is():
    check = StepCheck(spaces.Discrete(4), 2)
    check.check(np.array([0, 3]), np.array([[1.0], [2.0]]), 1)
    check.check(np.array([0.0, 3.0]), np.array([1, 2]), 1)  # whole numbers
    check.check([0, 3], np.array([True, False]), 1)
    StepCheck(spaces.Box(-1, 1, (2,)), 1).check(np.zeros((1, 2), np.float64), np.array([1.0], np.float16), 1)
    StepCheck(image_space(), 1).check(np.zeros((1, 1, 36, 36), np.int64), np.array([1.0]), 1)


def test_images_are_not_searched(monkeypatch):
    check = StepCheck(image_space(), 1)
    monkeypatch.setattr(np, "isfinite", None)
    assert check.check_observations(np.zeros((1, 1, 36, 36), np.uint8), 1) is None


@pytest.mark.parametrize("buffer_class", [None, ReplayBuffer])
@pytest.mark.parametrize("change", [put(1, NAN), put_nan_into(), end_with(np.array([0.0, NAN, 0.0]))])
def test_statistics_of_a_normalizer_are_as_before(change, buffer_class):
    envs = VecNormalize(DummyVecEnv([lambda: BadOnce(Target(horizon=STEPS), change)]))
    model = model_of(envs, replay_buffer_class=buffer_class)
    assert_goes_on(model, "Environment 0", "nan")
    for statistics in (envs.obs_rms, envs.ret_rms):
        assert np.isfinite(statistics.mean).all()
        assert np.isfinite(statistics.var).all()
    assert envs.ret_rms.count < BAD_AT + STEPS  # nothing of the bad step


class BadReset(Target):
    resets = 0

    def reset(self, **kwargs):
        self.resets += 1
        obs, info = super().reset(**kwargs)
        if self.resets == 1:
            obs[2] = NAN
        return obs, info


@pytest.mark.parametrize("normalizes", [False, True])
def test_the_first_observation(normalizes):
    envs: Any = DummyVecEnv([BadReset])
    model = model_of(VecNormalize(envs) if normalizes else envs)
    with pytest.raises(BadStepError, match=r"Environment 0 was reset .*at step 0, the observation, at \[2\], is nan"):
        model.learn(30)
    model.learn(30)
    assert model._n_updates > 0


def test_the_first_observation_of_another_shape():
    class Wide(Target):
        def reset(self, **kwargs):
            return np.zeros(5), {}

    with pytest.raises(BadStepError, match=r"Environment 0 .*shape \(5,\)"):
        model_of(Wide()).learn(30)


class CrashError(Exception):
    pass


def crash(answer: list) -> None:
    raise CrashError("out of memory")


def test_what_an_environment_raises_comes_through_and_learning_goes_on(tmp_path):
    env = BadOnce(Target(horizon=100), crash)
    model = model_of(env)
    with pytest.raises(CrashError, match="out of memory"):
        model.learn(100)
    assert model.replay_buffer.pos == BAD_AT - 1
    model.save(tmp_path / "agent")
    model.learn(50, reset_num_timesteps=False)
    assert model.replay_buffer.pos == BAD_AT + 49
    assert env.resets == 2
    # No transition leads from before the crash to after it.
    rows = np.array([BAD_AT - 2])
    before, after = model.replay_buffer.observations[rows[0]], model.replay_buffer.observations[rows[0] + 1]
    stored = model.replay_buffer._get_samples(rows).next_observations.numpy()
    assert not np.array_equal(stored, after)
    assert not np.array_equal(before, after)


def test_an_environments_own_value_error_is_not_changed():
    def refuse(answer: list) -> None:
        raise ValueError("no such joint")

    with pytest.raises(ValueError, match=r"^no such joint$") as caught:
        model_of(BadOnce(Target(), refuse)).learn(100)
    assert type(caught.value) is ValueError


def test_goals_of_hindsight_do_not_reach_beyond_a_bad_step():
    env = BadOnce(BitFlippingEnv(n_bits=4, continuous=True, max_steps=STEPS), put(1, NAN))
    model = model_of(env, replay_buffer_class=HerReplayBuffer)
    assert_goes_on(model, "reward", "nan")
    lengths = model.replay_buffer.ep_length[: BAD_AT - 1, 0]
    assert (lengths > 0).all()
    assert model.replay_buffer.timeouts[BAD_AT - 2, 0]
