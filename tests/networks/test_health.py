"""Health of networks: dead units, effective rank and norms, by hand and on whole agents."""

import math

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_softac import SoftAC
from sb3_softac.networks.health import dead_units, effective_rank, health, hidden_layers
from tests.helpers import DiscreteTarget, Target, image_space, random_samples, ready


def test_hidden_layers_are_those_after_an_activation():
    network = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.ReLU(), nn.Linear(2, 1))
    (layer,) = hidden_layers(network, th.tensor([[1.0, 2.0]]))
    assert th.equal(layer, network[:3](th.tensor([[1.0, 2.0]])))


def test_dead_units_by_hand():
    first = th.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])  # means 0, 0.5, 1: the first is dead
    second = th.tensor([[1e-4], [1e-4]])  # small, as its whole layer
    assert dead_units([first, second]) == pytest.approx(1 / 4)
    assert dead_units([th.zeros(4, 2)]) == 1.0


def test_effective_rank_by_hand():
    assert effective_rank(th.ones(5, 3)) == 1
    assert effective_rank(th.eye(4)) == 4
    assert effective_rank(th.diag(th.tensor([1.0, 0.5, 1e-3]))) == 2
    assert effective_rank(th.zeros(3, 3)) >= 1


@pytest.mark.parametrize("variant", ["v1", "v2"])
@pytest.mark.parametrize("env", [Target(), DiscreteTarget(), Target(image_space())], ids=["Box", "Discrete", "image"])
def test_health_of_whole_agents(variant: str, env):
    policy = "CnnPolicy" if len(env.observation_space.shape) == 3 else "MlpPolicy"
    model = ready(SoftAC(policy, env, variant=variant, policy_kwargs={"net_arch": [6]}, seed=0, buffer_size=10))
    model.policy.set_training_mode(False)
    obs, _ = model.policy.obs_to_tensor(np.stack([env.observation_space.sample() for _ in range(8)]))
    action = th.zeros(8, 1, dtype=th.long) if isinstance(env, DiscreteTarget) else th.zeros(8, 2)
    found = health(model.policy.networks(), obs, action)
    names = {"actor", "critic"} | ({"value"} if variant == "v1" else set())
    measures = ("dead_units", "effective_rank", "weight_norm")
    assert found.keys() == {f"{measure}_{name}" for measure in measures for name in names}
    assert all(0 <= found[f"dead_units_{name}"] <= 1 for name in names)
    assert all(1 <= found[f"effective_rank_{name}"] <= 6 for name in names)
    weights = [weight.detach() for network in model.critic.q_networks for weight in network.parameters()]
    squares = sum(float(weight.square().sum()) for weight in weights)
    assert found["weight_norm_critic"] == pytest.approx(math.sqrt(squares), rel=1e-5)


def test_units_that_were_killed_are_found_and_networks_without_hidden_layers_have_none():
    model = ready(SoftAC("MlpPolicy", Target(), policy_kwargs={"net_arch": [8]}, seed=0, buffer_size=10))
    with th.no_grad():
        for network in model.critic.q_networks:
            network[0].bias[:4] = -100.0
    batch = random_samples(1)[0]
    model.policy.set_training_mode(False)
    assert health(model.policy.networks(), batch.observations, batch.actions)["dead_units_critic"] >= 0.5

    bare = ready(SoftAC("MlpPolicy", Target(), policy_kwargs={"net_arch": []}, seed=0, buffer_size=10))
    assert health(bare.policy.networks(), batch.observations, batch.actions).keys() == {"weight_norm_critic"}
