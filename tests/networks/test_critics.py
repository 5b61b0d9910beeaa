"""Values of K actions equal values of one action K times, in every form."""

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic as ReferenceCritic
from stable_baselines3.common.torch_layers import FlattenExtractor

from sb3_softac.networks.critics import ContinuousCritic

OBSERVATIONS = spaces.Box(-1.0, 1.0, (3,))
ACTIONS = spaces.Box(-1.0, 1.0, (2,))


def make_critic(critic_class=ContinuousCritic, **kwargs):
    th.manual_seed(0)
    extractor = FlattenExtractor(OBSERVATIONS)
    return critic_class(OBSERVATIONS, ACTIONS, [8], extractor, 3, share_features_extractor=False, **kwargs)


@pytest.mark.parametrize("n_critics", [1, 2, 5])
def test_q_values_of_each_action_alone(n_critics):
    critic = make_critic(n_critics=n_critics)
    obs, actions = th.randn(7, 3), th.rand(7, 4, 2)
    q_NBK = critic.q_values(obs, actions)
    assert q_NBK.shape == (n_critics, 7, 4)
    for k in range(4):
        th.testing.assert_close(q_NBK[:, :, k], critic.q_taken(obs, actions[:, k]))


def test_forward_equals_stable_baselines3():
    ours, theirs = make_critic(), make_critic(ReferenceCritic)
    ours.load_state_dict(theirs.state_dict())
    obs, actions = th.randn(7, 3), th.rand(7, 2)
    for q_ours, q_theirs in zip(ours(obs, actions), theirs(obs, actions), strict=True):
        assert q_ours.shape == (7, 1)
        th.testing.assert_close(q_ours, q_theirs)


def test_shared_features_carry_no_gradient():
    extractor = th.nn.Linear(3, 3)
    extractor.features_dim = 3
    critic = ContinuousCritic(OBSERVATIONS, ACTIONS, [8], extractor, 3, share_features_extractor=True)
    critic.q_taken(th.randn(7, 3), th.rand(7, 2)).sum().backward()
    assert extractor.weight.grad is None
    assert critic.q_networks[0][0].weight.grad is not None
