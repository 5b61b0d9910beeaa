"""Environments in Ray actors: the steps of a `DummyVecEnv`, and an actor that dies stops nothing."""

import os
import signal
import threading
import time
from contextlib import closing
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.monitor import Monitor, load_results
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_softac import SoftAC, WorkerError
from sb3_softac.distributed import RayVecEnv, memory
from sb3_softac.distributed.actors import Actor
from tests.helpers import SMALL, Target, dict_space

pytestmark = pytest.mark.usefixtures("_ray")


class Simulated(Target):
    """Reward is the number of the episode, and each call of `trouble()` is obeyed in the next step or reset."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  # as gymnasium has it
    render_mode = "rgb_array"

    def __init__(self, space: spaces.Space | None = None, horizon: int = 4, truncate: bool = True) -> None:
        super().__init__(space, horizon=horizon, truncate=truncate)
        self._trouble, self.told = "", None

    def trouble(self, what: str) -> str:
        self._trouble = what
        return what

    def _obey(self) -> None:
        what, self._trouble = self._trouble, ""
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "hang":
            time.sleep(600)
        elif what == "raise":
            raise ArithmeticError("a fault of the environment")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._obey()
        obs, _ = super().reset(seed=seed)
        return obs, {"seed": seed, "options": options}

    def step(self, action: np.ndarray) -> Any:
        self._obey()
        return super().step(action)

    def process(self) -> int:
        return os.getpid()

    def lock(self) -> Any:
        return threading.Lock()

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def render(self) -> np.ndarray:
        return np.full((4, 4, 3), self._step, np.uint8)


class Maker:
    """Makes an environment in an actor."""

    def __init__(self, *args: Any, monitor: str | None = None) -> None:
        self._args, self._monitor = args, monitor

    def __call__(self) -> gym.Env:
        return Monitor(Simulated(*deepcopy(self._args)), self._monitor)  # each has random numbers of its own


def kill(envs: RayVecEnv, env: int) -> None:
    """Kill the process of an environment, and wait until it is gone."""
    process = envs.env_method("process", indices=env)[0]
    os.kill(process, signal.SIGKILL)
    while os.path.exists(f"/proc/{process}"):
        time.sleep(0.01)


def actions(n_envs: int) -> np.ndarray:
    return np.full((n_envs, 2), 0.5, np.float32)


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal in values and in types; times of a monitor differ."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours.keys() - {"t"}:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, (list, tuple)):
        for each in zip(ours, theirs, strict=True):
            assert_same(*each)
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert type(ours) is type(theirs)
        assert ours == theirs


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("space", [None, dict_space()], ids=["box", "dict"])
def test_it_gives_what_a_dummy_vec_env_gives(space, is_shared, monkeypatch):
    if not is_shared:
        monkeypatch.delattr(memory.os, "memfd_create")
    makers = [Maker(space) for _ in range(3)]
    with closing(RayVecEnv(makers, envs_per_actor=2)) as envs:
        assert len(envs.remotes.actors) == 2
        assert_same_answers(envs, DummyVecEnv(makers))
        with pytest.raises(IndexError):
            envs.get_attr("told", indices=3)
    envs.close()  # is of no effect


def assert_same_answers(*both: VecEnv) -> None:
    for envs in both:
        envs.seed(7)
        envs.set_options({"level": 1})
    ours, theirs = both
    assert_same(ours.reset(), theirs.reset())
    assert_same(ours.reset_infos, theirs.reset_infos)
    for _ in range(9):
        assert_same(ours.step(actions(3)), theirs.step(actions(3)))
        assert_same(ours.reset_infos, theirs.reset_infos)
    for envs in both:
        envs.set_attr("told", {"a": 1}, indices=[2, 0])
    for asked in (
        lambda envs: envs.get_attr("told"),
        lambda envs: envs.env_method("trouble", "none", indices=-1),
        lambda envs: envs.env_method("trouble", what="none", indices=[2, 0, 2]),
        lambda envs: envs.env_is_wrapped(Monitor),
        lambda envs: envs.env_is_wrapped(gym.wrappers.TimeLimit, indices=[1]),
        lambda envs: (envs.has_attr("told"), envs.has_attr("untold")),
        lambda envs: (envs.get_images(), envs.render(), envs.render_mode),
        lambda envs: (envs.observation_space, envs.action_space, envs.num_envs),
    ):
        assert_same(asked(ours), asked(theirs))


@pytest.fixture
def pair():
    """Two environments in actors of their own."""
    envs = RayVecEnv([Maker(), Maker()], timeout=60.0)
    yield envs
    envs.close()


def be_impatient_once(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait three seconds for the next answer; to be started anew takes longer on a busy machine."""
    timeout, launch = actor.timeout, actor.launch

    def patiently() -> None:
        actor.timeout = timeout
        launch()

    actor.timeout = 3.0
    monkeypatch.setattr(actor, "launch", patiently)


@pytest.mark.parametrize("what", ["die", "hang"])
def test_an_actor_that_is_lost_in_a_step(pair, what, monkeypatch):
    pair.seed(3)
    pair.set_attr("told", "this", indices=1)
    first = pair.reset()
    pair.env_method("trouble", what, indices=1)
    if what == "hang":
        be_impatient_once(pair.remotes.actors[1], monkeypatch)
    how = "died: .*" if what == "die" else r"did not answer within 3 seconds \(`timeout`\)"
    with pytest.warns(UserWarning, match=rf"Actor 1 of 2 \(environment 1\) {how}.* started anew \(1 of 10\)"):
        obs, rewards, dones, infos = pair.step(actions(2))
    assert dones.tolist() == [False, True]
    assert rewards[0] < 0.0 == rewards[1]
    assert infos[1].keys() == {"TimeLimit.truncated", "terminal_observation", "lost_step"}
    assert infos[1]["TimeLimit.truncated"]
    np.testing.assert_array_equal(infos[1]["terminal_observation"], first[1])
    assert pair.reset_infos[1] == {"seed": 4 + 2, "options": None}
    assert pair.get_attr("told") == [None, "this"]
    assert not np.array_equal(obs[1], first[1])
    for step in range(2, 5):  # of the other environment, whose episode goes on
        _, _, dones, infos = pair.step(actions(2))
        assert dones.tolist() == [step == 4, False]
        assert "lost_step" not in infos[1]


def test_an_actor_that_dies_when_asked_or_reset(pair):
    pair.reset()
    before, *_ = pair.step(actions(2))
    kill(pair, 0)
    with pytest.warns(UserWarning, match="Actor 0 of 2.*died"):
        assert pair.env_method("render", indices=0)[0].max() == 0
    _, _, dones, infos = pair.step(actions(2))
    np.testing.assert_array_equal(infos[0]["terminal_observation"], before[0])
    assert dones.tolist() == [True, False]
    pair.env_method("trouble", "die", indices=0)
    with pytest.warns(UserWarning, match=r"started anew \(2 of 10\)"):
        pair.reset()
    assert pair.step(actions(2))[2].tolist() == [False, False]  # a reset ends an episode by itself


def test_a_limit_of_restarts():
    envs = RayVecEnv([Maker(), Maker()], max_restarts=1, envs_per_actor=2)
    with (
        pytest.warns(UserWarning, match=r"died.*started anew \(1 of 1\)"),
        pytest.raises(WorkerError, match=r"Actor 0 of 1 \(environments 0 to 1\) died: .*`max_restarts`.*set_env"),
    ):
        envs.env_method("die")
    envs.close()
    with pytest.raises(WorkerError):
        envs.reset()


def test_errors_of_an_environment_are_raised_here(pair):
    pair.reset()
    pair.env_method("trouble", "raise", indices=1)
    with pytest.raises(ArithmeticError, match="a fault of the environment") as caught:
        pair.step(actions(2))
    assert isinstance(caught.value.__cause__, WorkerError)
    assert "Actor 1 of 2 (environment 1)" in str(caught.value.__cause__)
    assert "_obey" in str(caught.value.__cause__)
    with pytest.raises(AttributeError, match="untold"):
        pair.get_attr("untold")
    with pytest.raises(TypeError, match="cannot pickle"):
        pair.env_method("lock")
    pair.reset()
    assert pair.step(actions(2))[2].tolist() == [False, False]


def test_an_answer_that_was_not_waited_for(pair):
    pair.seed(0)
    pair.reset()
    pair.step_async(actions(2))
    pair.seed(0)
    first = pair.reset()
    theirs = DummyVecEnv([Maker(), Maker()])
    theirs.seed(0)
    np.testing.assert_array_equal(first, theirs.reset())
    assert_same(pair.step(actions(2)), theirs.step(actions(2)))


@pytest.mark.parametrize("algorithm", [SAC, PPO])
def test_algorithms_learn(pair, algorithm):
    own = {"n_steps": 32, "batch_size": 16, "device": "cpu"} if algorithm is PPO else SMALL
    model = algorithm("MlpPolicy", pair, seed=0, **own)
    before = model.policy.state_dict()["log_std" if algorithm is PPO else "actor.mu.weight"].clone()
    model.learn(64)
    after = model.policy.state_dict()["log_std" if algorithm is PPO else "actor.mu.weight"]
    assert model.num_timesteps == 64
    assert not before.equal(after)


def test_a_lost_step_is_not_learned(pair):
    model = SoftAC("MlpPolicy", pair, seed=0, device="cpu", **SMALL)
    model.learn(20)
    pair.env_method("trouble", "die", indices=1)
    with pytest.warns(UserWarning, match="started anew"):
        model.learn(20, reset_num_timesteps=False)
    buffer = model.replay_buffer
    rewards = -np.square(buffer.actions[: buffer.pos]).mean(axis=2)
    np.testing.assert_allclose(buffer.rewards[: buffer.pos], rewards, rtol=1e-5)  # a lost one would have 0


def test_the_monitor_keeps_its_episodes(tmp_path):
    envs = RayVecEnv([Maker(monitor=str(tmp_path / "0"))])
    envs.reset()
    for _ in range(8):
        envs.step(actions(1))
    envs.env_method("trouble", "die")
    with pytest.warns(UserWarning, match="started anew"):
        envs.step(actions(1))
    for _ in range(4):
        envs.step(actions(1))
    envs.close()
    assert load_results(str(tmp_path))["l"].tolist() == [4, 4, 4]


def raising() -> gym.Env:
    raise ArithmeticError("cannot be made")


def dying() -> gym.Env:
    os._exit(7)


def other() -> gym.Env:
    return Target(spaces.Box(-1.0, 1.0, (5,)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (raising, ArithmeticError, "cannot be made"),
        (dying, WorkerError, r"Actor 1 of 2 \(environment 1\) died: .*; all were ended"),
        (other, ValueError, r"Actor 1 of 2 \(environment 1\) has the spaces .*\(5,\)"),
    ],
)
def test_environments_that_cannot_be_used(make, error, message):
    with pytest.raises(error, match=message):
        RayVecEnv([Maker(), make])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"envs_per_actor": 0}, "`envs_per_actor` must be a whole number of at least 1, but 0 was given"),
        ({"timeout": 0}, "`timeout`"),
        ({"max_restarts": -1}, "`max_restarts`"),
        ({"env_fns": []}, "`env_fns` is empty"),
        ({"env_fns": [Maker(), threading.Lock().acquire]}, "makes environment 1 cannot be sent to an actor"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        RayVecEnv(**({"env_fns": [Maker()]} | arguments))


def test_resources_that_nobody_has():
    with pytest.raises(WorkerError, match=r"Actor 0 of 1 .*within 2 seconds.*resources"):
        RayVecEnv([Maker()], timeout=2.0, actor_options={"num_gpus": 3})
