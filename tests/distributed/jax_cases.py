"""Environments of JAX, whose arrays become tensors without a copy; `test_tensor_jax.py` runs these tests."""

import sys
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.distributed import JaxVecEnv
from tests.helpers import SMALL


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """State of one environment, as Brax and MuJoCo Playground have it."""

    obs: Any
    reward: Any
    done: Any


class Walk:
    """A walk on a line that begins near 0, moves by the action, and is over beyond 1."""

    action_size = 1

    def __init__(self, in_dict: bool = False) -> None:
        self._in_dict = in_dict

    def _state(self, place: Any) -> State:
        obs = {"place": place, "twice": 2.0 * place} if self._in_dict else place
        return State(obs, -jnp.abs(place[0]), (jnp.abs(place[0]) > 1.0).astype(jnp.float32))

    def reset(self, key: Any) -> State:
        return self._state(jax.random.uniform(key, (1,), minval=-0.1, maxval=0.1))

    def step(self, state: State, action: Any) -> State:
        place = state.obs["place"] if self._in_dict else state.obs
        return replace(state, **vars(self._state(place + action)))


def test_steps_are_those_of_the_function():
    env = JaxVecEnv(Walk(), 3, max_episode_steps=2, action_low=-2.0, action_high=2.0)
    first = env.reset_tensors().clone()
    actions = th.tensor([[0.5], [2.0], [-0.25]])
    step = env.step_tensors(actions)
    assert th.allclose(step.final_obs, first + actions)
    assert th.allclose(step.rewards, -(first + actions).abs()[:, 0])
    assert (step.terminated.tolist(), step.truncated.tolist()) == ([False, True, False], [False] * 3)
    assert th.equal(step.obs[[0, 2]], step.final_obs[[0, 2]])
    assert abs(float(step.obs[1])) <= 0.1
    step = env.step_tensors(th.zeros(3, 1))
    assert step.truncated.tolist() == [True, False, True]  # the one in the middle has begun anew
    assert (step.obs[[0, 2]].abs() <= 0.1).all()


def test_new_episodes_differ():
    env = JaxVecEnv(Walk(), 64, max_episode_steps=1)
    states = [env.reset_tensors().clone(), *(env.step_tensors(th.zeros(64, 1)).obs.clone() for _ in range(2))]
    assert len({float(each) for each in th.cat(states)}) > 180


def test_a_seed_gives_the_same_states():
    first, second, other = (JaxVecEnv(Walk(), 4) for _ in range(3))
    for env, seed in ((first, 5), (second, 5), (other, 6)):
        env.seed(seed)
    assert th.equal(first.reset_tensors(), second.reset_tensors())
    assert not th.equal(first.reset_tensors(), other.reset_tensors())


def test_without_a_limit_there_is_no_time_limit():
    env = JaxVecEnv(Walk(), 2, max_episode_steps=None)
    assert env.step_tensors(th.zeros(2, 1)).truncated is None


@pytest.mark.parametrize("in_dict", [False, True], ids=["Box", "Dict"])
def test_an_agent_learns_from_it(in_dict):
    env = JaxVecEnv(Walk(in_dict), 4, max_episode_steps=10)
    model = SoftAC("auto", env, **SMALL).learn(200)
    assert model._n_updates > 0
    assert all(each["l"] <= 10 for each in model.ep_info_buffer)


def test_without_jax_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax.dlpack", None)
    with pytest.raises(ImportError, match=r"pip install 'sb3_softac\[jax\]'"):
        JaxVecEnv(Walk(), 2)


def test_an_agent_learns_from_brax():
    envs = pytest.importorskip("brax.envs", reason="needs brax", exc_type=ImportError)
    env = JaxVecEnv(envs.get_environment("inverted_pendulum", backend="spring"), 4, max_episode_steps=50)
    model = SoftAC("MlpPolicy", env, **SMALL).learn(400)
    assert model._n_updates > 0
    assert all(1 < each["l"] <= 50 for each in model.ep_info_buffer)
