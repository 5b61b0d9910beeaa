"""Joint actions, their strides, and the actor and critics on top of them."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor

from sb3_softac import SoftAC
from sb3_softac.networks.categorical_actor import CategoricalActor
from sb3_softac.networks.critics import DiscreteCritic, OneHotCritic
from sb3_softac.spaces import discrete_sizes, is_enumerable, joint_actions, joint_strides
from tests.helpers import Target, ready

OBSERVATIONS = spaces.Box(-1.0, 1.0, (3,))
SMALL = spaces.MultiDiscrete([2, 3])
LARGE = spaces.MultiDiscrete([10, 10, 10])


class MultiTarget(Target):
    """Reward for each factor whose id is 1."""

    def __init__(self, action_space: spaces.MultiDiscrete) -> None:
        super().__init__(truncate=True)
        self.action_space = action_space

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(np.mean(action == 1)), terminated, truncated, info


def make(network_class, space):
    th.manual_seed(0)
    return network_class(OBSERVATIONS, space, [8], FlattenExtractor(OBSERVATIONS), 3)


def test_rows_and_strides_of_joint_actions():
    assert joint_actions([2, 3]).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    rows = (joint_actions([2, 3, 4]) * joint_strides([2, 3, 4])).sum(dim=1)
    assert rows.tolist() == list(range(24))
    assert joint_actions([3]).tolist() == [[0], [1], [2]]


def test_which_spaces_are_enumerated():
    assert discrete_sizes(spaces.Discrete(5)) == [5]
    assert is_enumerable(spaces.Discrete(10_000))
    assert is_enumerable(SMALL)
    assert not is_enumerable(LARGE)


@pytest.mark.parametrize("space", [spaces.Discrete(4), SMALL], ids=str)
def test_exact_support_is_a_distribution_over_the_joint_actions(space):
    actor = make(CategoricalActor, space)
    obs = th.randn(5, 3)
    support = actor.support(obs)
    assert support.actions is None
    th.testing.assert_close(support.weight.sum(dim=1), th.ones(5))
    factors = actor.factor_log_probs(obs)
    for row, ids in enumerate(actor.joint_actions.tolist()):
        expected = sum(log_prob[:, i] for log_prob, i in zip(factors, ids, strict=True))
        th.testing.assert_close(support.log_pi[:, row], expected)


@pytest.mark.parametrize("space", [spaces.Discrete(4), SMALL, LARGE], ids=str)
def test_samples_follow_their_probabilities(space):
    actor = make(CategoricalActor, space)
    with th.no_grad():
        support = actor.score_support(th.ones(1, 3), 50_000)
        for f, log_prob in enumerate(actor.factor_log_probs(th.ones(1, 3))):
            frequency = support.actions[0, :, f].bincount(minlength=log_prob.shape[1]) / 50_000
            th.testing.assert_close(frequency, log_prob[0].exp(), atol=0.015, rtol=0)
    assert actor(th.ones(2, 3)).shape == (2, len(discrete_sizes(space)))


@pytest.mark.parametrize("space", [spaces.Discrete(4), SMALL], ids=str)
def test_enumerated_values_of_all_sampled_and_taken_actions_agree(space):
    critic = make(DiscreteCritic, space)
    obs, ids = th.randn(5, 3), joint_actions(discrete_sizes(space))
    q_NBA = critic.q_values(obs, None)
    assert q_NBA.shape == (2, 5, len(ids))
    th.testing.assert_close(critic.q_values(obs, ids.expand(5, -1, -1)), q_NBA)
    for row, action in enumerate(ids):
        th.testing.assert_close(critic.q_taken(obs, action.expand(5, -1)), q_NBA[:, :, row])


def test_one_hot_values_depend_on_every_factor():
    critic = make(OneHotCritic, LARGE)
    obs, ids = th.randn(5, 3), th.randint(10, (5, 7, 3))
    q_NBK = critic.q_values(obs, ids)
    assert q_NBK.shape == (2, 5, 7)
    for f in range(3):
        other = ids.clone()
        other[..., f] = (other[..., f] + 1) % 10
        assert not th.isclose(critic.q_values(obs, other), q_NBK).any()


@pytest.mark.parametrize("kwargs", [{}, {"variant": "v1"}, {"actor_gradient": "score_function"}], ids=str)
@pytest.mark.parametrize("space", [SMALL, LARGE], ids=str)
def test_multi_discrete_actions_train_save_and_load(space, kwargs, tmp_path):
    model = SoftAC(
        "MlpPolicy",
        MultiTarget(space),
        buffer_size=500,
        learning_starts=20,
        n_action_samples=4,
        policy_kwargs={"net_arch": [16]},
        seed=0,
        **kwargs,
    ).learn(40)
    assert model.target_entropy == pytest.approx(0.98 * np.log(space.nvec).sum())
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model")
    obs = np.zeros((3, 3), dtype=np.float32)
    actions, _ = loaded.predict(obs, deterministic=True)
    np.testing.assert_array_equal(actions, model.predict(obs, deterministic=True)[0])
    assert actions.shape == (3, len(space.nvec))
    assert space.contains(model.predict(obs[0])[0])


@pytest.mark.parametrize("space", [SMALL, LARGE], ids=str)
def test_multi_discrete_policy_finds_the_best_action_of_each_factor(space):
    model = SoftAC(
        "MlpPolicy",
        MultiTarget(space),
        ent_coef=0.01,
        gamma=0.0,
        learning_rate=3e-3,
        learning_starts=600,
        train_freq=300,
        gradient_steps=150,
        batch_size=128,
        n_action_samples=8,
        policy_kwargs={"net_arch": [64]},
        buffer_size=3000,
        seed=0,
    ).learn(1500)
    ready(model)
    assert model.predict(np.zeros(3, dtype=np.float32), deterministic=True)[0].tolist() == [1] * len(space.nvec)


@pytest.mark.parametrize("engine", ["eager", "fused", "traced"])
def test_joint_actions_that_are_too_many_to_list_are_learned_from_one_sample(engine):
    env = Target(action_space=spaces.MultiDiscrete([7] * 4))
    kwargs = {"policy_kwargs": {"net_arch": [16]}, "learning_starts": 10, "batch_size": 8, "buffer_size": 100}
    model = SoftAC("MlpPolicy", env, engine=engine, seed=0, **kwargs).learn(60)
    assert model.n_action_samples == 1
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
