"""Parts of a model that a user puts in the place of others: training, acting and saving go on with the new ones."""

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_softac import SoftAC
from sb3_softac.engines.traced import TraceCapture
from tests.helpers import SMALL, Target

ENGINES = ["eager", "fused", "traced"]
OBSERVATIONS = np.random.default_rng(0).uniform(-1, 1, (40, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def early_graphs(monkeypatch):
    monkeypatch.setattr(TraceCapture, "warm_ups", 3)


def trained(engine: str, n_steps: int = 30, **kwargs) -> SoftAC:
    return SoftAC("MlpPolicy", Target(), engine=engine, seed=0, **SMALL | kwargs).learn(n_steps)


def go_on(model: SoftAC, n_steps: int = 20) -> SoftAC:
    return model.learn(n_steps, reset_num_timesteps=False)


def actor_optimizer(model: SoftAC) -> th.optim.Optimizer:
    return th.optim.Adam(model.actor.parameters(), lr=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_optimizer(engine: str):
    model = trained(engine)
    model.critic.optimizer = th.optim.Adam(model.critic.parameters(), lr=1e-3)
    go_on(model)
    states = model.critic.optimizer.state.values()
    assert [float(state["step"]) for state in states] == [20.0] * len(list(model.critic.parameters()))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_state_of_an_optimizer(engine: str):
    model = trained(engine)
    model.critic.optimizer.state.clear()
    go_on(model)
    assert {float(state["step"]) for state in model.critic.optimizer.state.values()} == {20.0}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_temperature_that_is_fixed(engine: str):
    model = trained(engine, ent_coef=0.5)
    model.ent_coef_tensor = th.tensor(0.01)
    model.train(1, 8)
    assert model.logger.name_to_value["train/ent_coef"] == pytest.approx(0.01)
    assert model.temperature.alpha().item() == pytest.approx(0.01)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_temperature_that_is_learned(engine: str):
    model = trained(engine)
    model.log_ent_coef = th.tensor([-3.0], requires_grad=True)
    model.ent_coef_optimizer = th.optim.Adam([model.log_ent_coef], lr=1e-3)
    model.train(1, 8)
    assert model.logger.name_to_value["train/ent_coef"] == pytest.approx(np.exp(-3.0))
    assert model.log_ent_coef.item() != -3.0
    model.log_ent_coef.data = th.tensor([-4.0])
    model.train(1, 8)
    assert model.logger.name_to_value["train/ent_coef"] == pytest.approx(np.exp(-4.0))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_temperature_that_is_frozen_and_bounds_of_it(engine: str):
    model = trained(engine)
    model.log_ent_coef.requires_grad_(False)
    before = model.log_ent_coef.item()
    go_on(model)
    assert model.log_ent_coef.item() == before
    model.log_ent_coef.requires_grad_(True)
    model.ent_coef_bounds = (1e-3, 0.2)
    go_on(model)
    assert model.log_ent_coef.exp().item() <= 0.2 + 1e-6


@pytest.mark.parametrize("engine", ENGINES)
def test_counts_of_an_optimizer_when_layers_are_frozen_and_freed_again(engine: str):
    model = SoftAC("MlpPolicy", Target(), engine=engine, seed=0, **SMALL)
    layer = model.critic.q_networks[0][0]
    for is_trained in (False, True, False):
        layer.requires_grad_(is_trained)
        go_on(model, 40)
    counts = [int(model.critic.optimizer.state[parameter]["step"]) for parameter in model.critic.parameters()]
    assert sorted(set(counts)) == [40, 120 - 16]
    assert counts.count(40) == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_a_layer_and_a_head(engine: str):
    model = trained(engine)
    model.actor.latent_pi[0] = nn.Linear(3, 16)
    model.actor.mu = nn.Linear(16, 2)
    model.actor.optimizer = actor_optimizer(model)
    before = [parameter.clone() for parameter in model.actor.parameters()]
    go_on(model)
    assert not any(map(th.equal, before, model.actor.parameters()))
    one_by_one = np.stack([model.predict(row, deterministic=True)[0] for row in OBSERVATIONS])
    np.testing.assert_allclose(model.predict(OBSERVATIONS, deterministic=True)[0], one_by_one, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_hidden_layers(engine: str):
    model = trained(engine)
    model.actor.latent_pi = nn.Sequential(nn.Linear(3, 16), nn.ELU())
    model.actor.optimizer = actor_optimizer(model)
    before = model.actor.latent_pi[0].weight.clone()
    go_on(model)
    assert not th.equal(model.actor.latent_pi[0].weight, before)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n_steps", [0, 30])
def test_a_features_extractor(engine: str, n_steps: int):
    model = trained(engine, n_steps)
    model.actor.features_extractor = nn.Sequential(nn.Flatten(), nn.Linear(3, 3), nn.Dropout(0.5))
    model.actor.optimizer = actor_optimizer(model)
    before = model.actor.features_extractor[1].weight.clone()
    actions = [model.predict(OBSERVATIONS[0], deterministic=True)[0] for _ in range(3)]
    np.testing.assert_array_equal(actions, actions[:1] * 3)  # dropout is off
    go_on(model, 40)
    assert model.actor.features_extractor[2].training
    assert not th.equal(model.actor.features_extractor[1].weight, before)
    actions = [model.predict(OBSERVATIONS[0], deterministic=True)[0] for _ in range(3)]
    np.testing.assert_array_equal(actions, actions[:1] * 3)


def test_an_average_goes_on_where_a_critic_is_replaced():
    model = trained("fused", actor_tau=0.001)
    average = model.policy.actor_average
    before = [parameter.clone() for parameter in average.parameters()]
    model.critic.features_extractor = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    model.critic.optimizer = th.optim.Adam(model.critic.parameters())
    model.predict(OBSERVATIONS, deterministic=True)
    assert model.policy.actor_average is average
    assert all(map(th.equal, before, average.parameters()))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("is_deep", [False, True])
def test_an_average_begins_anew_at_another_head(engine: str, is_deep: bool):
    head = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 2)) if is_deep else nn.Linear(16, 2)
    model = trained(engine, actor_tau=0.001)
    model.actor.mu = head
    model.actor.optimizer = actor_optimizer(model)
    actions, _ = model.predict(OBSERVATIONS, deterministic=True)
    with th.no_grad():
        np.testing.assert_allclose(actions, model.actor(th.as_tensor(OBSERVATIONS), True).numpy(), atol=1e-6)
    go_on(model)
    average = dict(model.policy.actor_average.named_parameters())
    for name, parameter in model.actor.named_parameters():
        assert not th.equal(average[name], parameter), name
        th.testing.assert_close(average[name], parameter, rtol=0, atol=0.05)
