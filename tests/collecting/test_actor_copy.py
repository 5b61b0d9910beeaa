"""A copy of the actor acts as the actor itself would."""

from unittest.mock import patch

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

from sb3_softac import SoftAC
from sb3_softac.collecting.actor_copy import ActorCopy
from sb3_softac.collecting.explore import Explorer
from tests.helpers import SMALL, Target, dict_space, image_space

NETWORKS = {"net_arch": [16, 16]}


@pytest.mark.parametrize(
    ("space", "arguments"),
    [
        (None, {}),
        (None, {"variant": "v1"}),
        (None, {"policy_kwargs": NETWORKS | {"batch_norm": True}}),
        (None, {"policy_kwargs": NETWORKS | {"n_components": 3}}),
        (spaces.Discrete(3), {}),
    ],
)
def test_learning_is_the_same(space, arguments):
    def learned(copied: bool) -> list[th.Tensor]:
        model = SoftAC("MlpPolicy", Target(action_space=space), seed=0, train_freq=4, **{**SMALL, **arguments})
        if copied:
            model.explorer.actor_copy = ActorCopy(model.actor)
        model.learn(60)
        return list(model.policy.parameters())

    for ours, reference in zip(learned(True), learned(False), strict=True):
        assert th.equal(ours, reference)


def test_follows_whatever_changes_the_weights_and_nothing_else():
    model = SoftAC("MlpPolicy", Target(), seed=0, **SMALL).learn(30)
    other = SoftAC("MlpPolicy", Target(), seed=1, **SMALL)
    copy, obs = ActorCopy(model.actor), th.rand(5, 3)

    def check(n_transfers: int) -> None:
        with patch.object(ActorCopy, "_follow", autospec=True, side_effect=ActorCopy._follow) as follow:
            for _ in range(2):
                assert th.equal(copy.up_to_date(model._n_updates)(obs, True), model.actor(obs, True))
        assert follow.call_count == n_transfers

    check(1)
    check(0)
    model.train(1, 16)
    check(1)
    model.set_parameters(other.get_parameters())
    check(1)
    with th.no_grad():
        model.actor.mu.bias.add_(1.0)
    check(1)
    model._n_updates += 1  # all that a replayed CUDA graph changes on the host
    check(1)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"train_freq": 4}, True),
        ({"train_freq": (1, "episode")}, True),
        ({"train_freq": 3}, False),
        ({"train_freq": 4, "use_sde": True}, False),
        ({"train_freq": 4, "env": Target(dict_space()), "policy": "MultiInputPolicy"}, False),
        ({"train_freq": 4, "env": Target(image_space()), "policy": "CnnPolicy"}, False),
        ({"train_freq": 4, "env": make_vec_env(Target, 20)}, False),
    ],
)
def test_pays_for_several_steps_of_a_small_network(arguments, expected):
    model = SoftAC(**{"policy": "MlpPolicy", "env": Target(), "buffer_size": 500, **arguments})
    assert model.explorer.actor_copy is None, "nothing to gain on a CPU"
    with patch.object(type(model.actor), "device", th.device("cuda")):
        assert (Explorer(model.policy, model.train_freq, model.n_envs).actor_copy is not None) is expected


def test_checkpoints_do_not_hold_it(tmp_path):
    model = SoftAC("MlpPolicy", Target(), seed=0, **SMALL)
    model.explorer.actor_copy = ActorCopy(model.actor)
    model.save(tmp_path / "model.zip")
    assert SoftAC.load(tmp_path / "model.zip").explorer.actor_copy is None


def test_another_head_explores():
    model = SoftAC("MlpPolicy", Target(), seed=0, train_freq=4, **SMALL)
    model.explorer.actor_copy = ActorCopy(model.actor)
    model.learn(40)
    model.actor.mu = th.nn.Linear(16, 2)
    with th.no_grad():
        model.actor.mu.weight.zero_()
        model.actor.mu.bias.fill_(9.0)
    model.actor.optimizer = th.optim.Adam(model.actor.parameters(), lr=0.0)
    model.learn(20, reset_num_timesteps=False)
    assert model.replay_buffer.actions[41:60].min() > 0.99
