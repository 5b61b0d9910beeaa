"""TensorVecEnv as Stable-Baselines3 sees it, in numpy; and what it refuses."""

import copy
import pickle

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize

from sb3_softac import SoftAC
from sb3_softac.distributed import TensorStep, TensorVecEnv
from sb3_softac.distributed.tensor_examples import TensorCartPole, TensorPendulum
from tests.helpers import SMALL


class Scripted(TensorVecEnv):
    """Two environments that give what a test says."""

    def __init__(self, step=None, obs=None, observation_space=None, action_space=None):
        super().__init__(
            2, observation_space or spaces.Box(-1.0, 1.0, (3,)), action_space or spaces.Box(-1.0, 1.0, (1,))
        )
        self.result = step
        self.first = th.zeros(2, 3) if obs is None else obs

    def reset_tensors(self):
        return self.first

    def step_tensors(self, actions):
        return self.result


def step_with(**changed):
    none = th.zeros(2, dtype=th.bool)
    good = TensorStep(th.zeros(2, 3), th.zeros(2), none, none, th.zeros(2, 3))
    return good._replace(**changed)


def test_it_is_a_vec_env_of_numpy_arrays():
    env = TensorPendulum(3)
    obs = env.reset()
    assert isinstance(env, VecEnv)
    assert (type(obs), obs.shape, obs.dtype) == (np.ndarray, (3, 3), np.float32)
    obs, rewards, dones, infos = env.step(np.zeros((3, 1), np.float32))
    assert [type(each) for each in (obs, rewards, dones)] == [np.ndarray] * 3
    assert (rewards.dtype, dones.dtype, infos) == (np.float32, bool, [{}, {}, {}])


def test_infos_are_those_of_a_monitor_and_a_time_limit():
    env = TensorPendulum(2, max_episode_steps=2)
    env.reset()
    _, first, *_ = env.step(np.zeros((2, 1), np.float32))
    obs, second, dones, infos = env.step(np.zeros((2, 1), np.float32))
    assert dones.all()
    for index, info in enumerate(infos):
        assert info["TimeLimit.truncated"]
        assert info["episode"]["l"] == 2
        assert info["episode"]["r"] == pytest.approx(first[index] + second[index], rel=1e-6)
        assert not np.array_equal(info["terminal_observation"], obs[index])


def test_a_fall_is_no_time_limit():
    env = TensorCartPole(2)
    env.reset()
    env.state[1, 0] = 100.0
    *_, dones, infos = env.step(np.zeros(2, np.int64))
    assert dones.tolist() == [False, True]
    assert infos[0] == {}
    assert infos[1]["TimeLimit.truncated"] is False
    assert infos[1]["terminal_observation"][0] == pytest.approx(100.0, abs=0.1)


@pytest.mark.parametrize("wrap", [lambda env: env, VecMonitor])
def test_an_agent_is_evaluated(wrap):
    model = SoftAC("MlpPolicy", TensorPendulum(2), **SMALL)
    returns, lengths = evaluate_policy(
        model, wrap(TensorPendulum(2)), n_eval_episodes=4, return_episode_rewards=True, warn=False
    )
    assert lengths == [200] * 4
    assert all(each < 0.0 for each in returns)


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_other_algorithms_learn_from_it(algorithm):
    model = algorithm("MlpPolicy", TensorPendulum(2, max_episode_steps=20))
    steps = {"n_steps": 32} if algorithm is PPO else {"learning_starts": 10}
    vars(model).update(steps)
    model._setup_model()
    model.learn(100)
    assert model.ep_info_buffer[0]["l"] == 20


def test_attributes_and_methods_are_of_all_environments():
    env = TensorPendulum(3)
    assert env.get_attr("max_episode_steps") == [200] * 3
    assert env.get_attr("max_episode_steps", indices=[0]) == [200]
    assert env.env_method("get_attr", "mass", indices=1) == [[1.0] * 3]
    assert env.env_is_wrapped(VecMonitor) == [False] * 3
    assert not env.has_attr("no_such_attribute")
    env.set_attr("mass", 2.0)
    assert env.mass == 2.0
    with pytest.raises(ValueError, match="one simulator"):
        env.set_attr("mass", 3.0, indices=[0])


def test_normalised_by_numpy_it_learns_as_any_other():
    with pytest.warns(UserWarning, match="`VecNormalize` computes in numpy"):
        model = SoftAC("MlpPolicy", VecNormalize(TensorPendulum(2)), **SMALL).learn(100)
    assert model._n_updates > 0


# What it refuses


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"obs": th.zeros(3, 3)}, r"`obs` must have the shape \(2, 3\).*it has \(3, 3\)"),
        ({"obs": th.zeros(2, 3, dtype=th.float64)}, "`obs` must be torch.float32, as the observation space says"),
        ({"obs": np.zeros((2, 3), np.float32)}, "`obs` must be a tensor, but it is a ndarray"),
        ({"obs": th.zeros(2, 3, device="meta")}, "`obs` is on meta, but the environment says"),
        ({"final_obs": th.zeros(2, 4)}, r"`final_obs` must have the shape \(2, 3\)"),
        ({"rewards": th.zeros(2, 1)}, r"`rewards` must have the shape \(2,\)"),
        ({"rewards": th.zeros(2, dtype=th.long)}, "`rewards` must be a float, but it is torch.int64"),
        ({"terminated": th.zeros(2)}, "`terminated` must be torch.bool, but it is torch.float32"),
        ({"truncated": th.zeros(2, dtype=th.uint8)}, "`truncated` must be torch.bool"),
        ({"truncated": th.zeros(2, dtype=th.bool, device="meta")}, "`truncated` is on meta"),
    ],
)
@pytest.mark.parametrize("collects", [True, False], ids=["on the device", "in numpy"])
def test_a_bad_tensor_is_named(changed, words, collects):
    env = Scripted(step_with(**changed))
    env.reset()

    def step():
        return SoftAC("MlpPolicy", env, **SMALL).learn(10) if collects else env.step(np.zeros((2, 1), np.float32))

    with pytest.raises(ValueError, match=words):
        step()


def test_a_step_of_another_type_is_refused():
    env = Scripted((th.zeros(2, 3), th.zeros(2), th.zeros(2), {}))
    with pytest.raises(ValueError, match="must return a `TensorStep`, but it returned a tuple"):
        SoftAC("MlpPolicy", env, **SMALL).learn(10)


def test_keys_of_a_dict_are_compared():
    space = spaces.Dict({"a": spaces.Box(-1.0, 1.0, (3,)), "b": spaces.Box(-1.0, 1.0, (1,))})
    with pytest.raises(ValueError, match=r"dict with the keys \['a', 'b'\], but it is \['a'\]"):
        Scripted(obs={"a": th.zeros(2, 3)}, observation_space=space).reset()
    with pytest.raises(ValueError, match="but it is a Tensor"):
        Scripted(observation_space=space).reset()


def test_actions_without_bounds_are_refused():
    with pytest.raises(ValueError, match="finite bounds"):
        Scripted(action_space=spaces.Box(-np.inf, np.inf, (1,)))


def test_no_environments_are_refused():
    with pytest.raises(ValueError, match="num_envs"):
        TensorPendulum(0)


def test_copies_go_on_as_the_original():
    env = TensorPendulum(2)
    env.seed(0)
    env.reset()
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    obs = env.reset()
    assert all(np.array_equal(obs, each.reset()) for each in copies)


def test_a_reward_that_is_not_a_number_is_left_to_the_agent():
    over = th.ones(2, dtype=th.bool)
    env = Scripted(step_with(rewards=th.full((2,), th.nan), terminated=over))
    env.reset()
    *_, infos = env.step(np.zeros((2, 1), np.float32))
    assert [np.isnan(info["episode"]["r"]) for info in infos] == [True, True]
