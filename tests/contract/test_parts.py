"""Parts of newer recipes are computed alike by each engine, and are saved, loaded and exported."""

import copy
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_softac import SoftAC
from tests.configurations import DISCRETE_PARTS, PARTS
from tests.engines.replays import assert_same_training, early_graphs, make, n_graphs, replayed  # noqa: F401
from tests.helpers import Target, random_samples

CASES = [(case, "Box") for case in PARTS] + [(case, "Discrete") for case in DISCRETE_PARTS]
every_case = pytest.mark.parametrize(("case", "space"), CASES)
#: parts of networks, in which matrix products may be rounded
ROUNDED = ["unit norm, all, batch norm", "joint pass", "SimBa", "BRO", "FlashSAC", "XQC", "categorical", "quantile"]
#: parts of the actor, which is exported
OF_THE_ACTOR = ["squashed log std", "squashed log std, mixture", "SimBa", "BRO", "FlashSAC", "XQC"]
#: parts that together have every operation of all; the others take minutes and find the same
REPRESENTATIVE = [
    *OF_THE_ACTOR,
    "unit norm, all, batch norm",
    "joint pass, REDQ",
    "v1, joint pass",
    "decay of some layers",
]
REPRESENTATIVE += ["categorical", "HL-Gauss, score function", "quantile, five critics"]


def every_part() -> list:
    """All parts, of which those that are not representative are marked as slow."""
    return [pytest.param(case, marks=() if case in REPRESENTATIVE else pytest.mark.slow) for case in PARTS]


def env_of(space: str) -> Target:
    return Target() if space == "Box" else Target(action_space=spaces.Discrete(2))


def samples_of(space: str, n_batches: int) -> list:
    samples = random_samples(n_batches, batch_size=40, dtype=th.float64)
    if space == "Box":
        return samples
    return [batch._replace(actions=(batch.actions[:, :1] > 0).long()) for batch in samples]


@every_case
def test_one_autograd_node_computes_what_the_modules_do(case, space):
    models = [make(engine, env_of(space), **PARTS[case]) for engine in ("eager", "fused")]
    assert_same_training(*models, samples_of(space, 5), tolerance=1e-9)


@pytest.mark.usefixtures("early_graphs")
@pytest.mark.parametrize("engine", ["cuda_graph", "traced"])
@pytest.mark.parametrize("case", every_part())
def test_a_replayed_update_is_the_plain_one(case, engine):
    # Targets that move at every second step have two graphs. A trace of each takes seconds, a stand-in for CUDA's none.
    settings = {"tau": 0.5, "target_update_interval": 2 if engine == "cuda_graph" else 1, **PARTS[case]}
    plain, graph = make("eager", Target(), **settings), replayed(engine, **settings)
    assert_same_training(plain, graph, samples_of("Box", 16), tolerance=1e-8)
    has_phases = engine == "cuda_graph" and settings.get("target_networks", True)
    assert n_graphs(graph) >= (2 if has_phases else 1)


@pytest.mark.filterwarnings("ignore:`precision='bfloat16'` works on this CPU")
@pytest.mark.parametrize("case", ROUNDED)
def test_bfloat16_is_near_to_single_precision(case):
    kwargs = copy.deepcopy(PARTS[case])
    kwargs.setdefault("policy_kwargs", {})["net_arch"] = [80, 80]  # smaller layers stay as they are
    models = [make("fused", Target(), precision=each, **kwargs) for each in ("float32", "bfloat16")]
    models[1].policy.load_state_dict(models[0].policy.state_dict())
    batch = random_samples(1, batch_size=256, dtype=th.float32)[0]
    for exact, rounded in zip(*[_critics(model, batch.observations, batch.actions) for model in models], strict=True):
        assert 0.0 < (exact - rounded).norm() < 0.02 * exact.norm()


def _critics(model: SoftAC, obs: th.Tensor, action: th.Tensor) -> list[th.Tensor]:
    """Outputs of the critics, and the gradient of a loss of them."""
    outputs = model.critic.outputs_taken(obs, action)
    parameters = [each for each in model.critic.parameters() if each.requires_grad]
    gradients = th.autograd.grad((outputs - 1.0).square().mean(), parameters)
    return [outputs.detach(), th.cat([gradient.flatten() for gradient in gradients])]


@pytest.mark.parametrize("case", every_part())
def test_a_model_that_is_loaded_acts_and_learns_as_the_one_that_was_saved(case, tmp_path):
    kwargs: dict[str, Any] = {"batch_size": 16, "normalize_rewards": True, **PARTS[case]}
    model = make("auto", Target(), **kwargs).learn(30)
    model.save_checkpoint(tmp_path)
    one = SoftAC.load_checkpoint(tmp_path, Target(), device="cpu")
    th.testing.assert_close(one.policy.state_dict(), model.policy.state_dict(), rtol=0, atol=0)
    one.learn(15, reset_num_timesteps=False)
    other = SoftAC.load_checkpoint(tmp_path, Target(), device="cpu")
    other.learn(15, reset_num_timesteps=False)
    th.testing.assert_close(one.policy.state_dict(), other.policy.state_dict(), rtol=0, atol=0)
    assert all(value.isfinite().all() for value in one.policy.state_dict().values())
    observation = model.observation_space.sample()
    np.testing.assert_array_equal(*(each.predict(observation, deterministic=True)[0] for each in (one, other)))


@pytest.mark.parametrize(("case", "space"), [case for case in CASES if case[0] in OF_THE_ACTOR])
def test_an_actor_is_exported(case, space, tmp_path):
    pytest.importorskip("onnxruntime")
    model = make("auto", env_of(space), batch_size=16, **PARTS[case]).learn(30)
    assert model.export_onnx(tmp_path / "agent").path.is_file()
