"""Exported policies that sample: their noise is an input, and their actions are distributed as those of the model."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_softac import SoftAC
from sb3_softac.export import DeployedPolicy
from tests.helpers import SMALL, DiscreteTarget, Target

ROWS = 4000
MASKED = spaces.Dict({"action_mask": spaces.MultiBinary(5), "state": spaces.Box(-1.0, 1.0, (3,))})


def actions_of(deployed: DeployedPolicy, *observation: np.ndarray) -> np.ndarray:
    """Actions for one observation, by as much noise as there are rows."""
    generator = th.Generator().manual_seed(0)
    draw = {"normal": th.randn, "uniform": th.rand}
    noise = [
        draw[each.distribution](each.full_shape(ROWS), generator=generator)
        for each in deployed.inputs
        if each.distribution is not None
    ]
    with th.no_grad():
        return deployed(*(th.as_tensor(part).expand(ROWS, *part.shape) for part in observation), *noise).numpy()


@pytest.mark.parametrize("policy_kwargs", [{}, {"n_components": 3}], ids=["Gaussian", "mixture"])
def test_box_actions_are_distributed_as_those_of_predict(policy_kwargs):
    model = SoftAC("MlpPolicy", Target(), **SMALL | {"policy_kwargs": {"net_arch": [16], **policy_kwargs}}).learn(40)
    observation = np.array([0.1, -0.5, 0.9], np.float32)
    actions = actions_of(DeployedPolicy(model.policy, deterministic=False), observation)
    th.manual_seed(0)
    expected, _ = model.predict(np.tile(observation, (ROWS, 1)), deterministic=False)
    np.testing.assert_allclose(actions.mean(axis=0), expected.mean(axis=0), atol=0.05)
    quantiles = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(
        np.quantile(actions, quantiles, axis=0), np.quantile(expected, quantiles, axis=0), atol=0.1
    )


def test_discrete_actions_have_the_probabilities_of_the_policy():
    model = SoftAC("MlpPolicy", DiscreteTarget(), **SMALL).learn(40)
    model.actor.logits.bias.data.copy_(th.tensor([0.0, 1.0, -1.0]))
    observation = np.array([0.1, -0.5, 0.9], np.float32)
    actions = actions_of(DeployedPolicy(model.policy, deterministic=False), observation)
    probs = model.actor.log_probs(th.as_tensor(observation)[None]).exp()[0].detach().numpy()
    np.testing.assert_allclose(np.bincount(actions, minlength=3) / ROWS, probs, atol=0.03)


def test_forbidden_actions_are_never_taken():
    model = SoftAC("MultiInputPolicy", Target(MASKED, spaces.MultiDiscrete([2, 3])), **SMALL)
    mask, state = np.array([0, 1, 1, 0, 1], np.int8), np.zeros(3, np.float32)
    actions = actions_of(DeployedPolicy(model.policy, deterministic=False), mask, state)
    assert set(map(tuple, actions.tolist())) == {(1, 0), (1, 2)}


def test_the_noise_of_gsde_is_the_same_for_all_rows(tmp_path, session):
    model = SoftAC("MlpPolicy", Target(), use_sde=True, **SMALL)
    exported = model.export_onnx(tmp_path / "agent", deterministic=False)
    _, noise = exported.inputs
    assert (noise.shape, noise.has_batch) == ((16, 2), False)
    draw = np.random.default_rng(0).standard_normal(noise.shape).astype(np.float32)
    observations = np.random.default_rng(1).uniform(-1.0, 1.0, (5, 3)).astype(np.float32)
    actions = session(exported.path).run(None, {"observation": observations, "noise": draw})[0]
    model.actor.sde_noise.set_draws(th.as_tensor(draw), th.empty(0, 16, 2))
    np.testing.assert_allclose(actions, model.predict(observations)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("env", "policy_kwargs", "inputs"),
    [
        (DiscreteTarget(), {}, {"observation": (3,), "noise": (1, 3)}),
        (Target(), {"n_components": 4}, {"observation": (3,), "noise": (1, 4), "noise_1": (1, 2)}),
    ],
    ids=["Discrete", "mixture"],
)
def test_files_of_policies_that_sample(env, policy_kwargs, inputs, tmp_path, session):
    model = SoftAC("MlpPolicy", env, **SMALL | {"policy_kwargs": {"net_arch": [16], **policy_kwargs}}).learn(30)
    exported = model.export_onnx(tmp_path / "agent", deterministic=False)
    assert {each.name: each.shape for each in exported.inputs} == inputs
    rng = np.random.default_rng(0)
    values = {each.name: rng.random(each.full_shape(9), np.float32) for each in exported.inputs}
    actions = session(exported.path).run(None, values)[0]
    assert np.array_equal(session(exported.path).run(None, values)[0], actions)  # a function of its inputs
    with th.no_grad():
        expected = DeployedPolicy(model.policy, deterministic=False)(*map(th.as_tensor, values.values()))
    np.testing.assert_allclose(actions, expected, atol=1e-5)
