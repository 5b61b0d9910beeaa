"""What the comparison with `predict` finds, and what it lets pass."""

import numpy as np
import onnxruntime
import pytest
import torch as th
from gymnasium import spaces

from sb3_softac import SoftAC
from sb3_softac.export import DeployedPolicy, ExportError
from sb3_softac.exporting.check import TIE, largest_difference
from sb3_softac.exporting.inputs import sample
from tests.helpers import SMALL, DiscreteTarget, Target, zeroed


def run_by(deployed: DeployedPolicy, change=lambda actions: actions):
    """Runs the module itself in place of a file, and changes its actions."""

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with th.no_grad():
            return change(deployed(*(th.as_tensor(inputs[each.name]) for each in deployed.inputs)).numpy().copy())

    return run


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("env", [Target(action_space=spaces.Box(-2.0, 6.0, (2,))), DiscreteTarget()])
def test_the_module_itself_differs_by_nothing(env, deterministic):
    deployed = DeployedPolicy(SoftAC("MlpPolicy", env, **SMALL).policy, deterministic)
    assert largest_difference(deployed, None, run_by(deployed)) < 1e-6


def test_a_difference_is_a_part_of_the_range():
    env = Target(action_space=spaces.Box(-2.0, 6.0, (2,)))
    deployed = DeployedPolicy(SoftAC("MlpPolicy", env, **SMALL).policy)
    found = largest_difference(deployed, None, run_by(deployed, lambda actions: actions + 0.4))
    assert found == pytest.approx(0.05, abs=1e-4)


def test_a_difference_in_one_row_that_is_no_number_is_found():
    def change(actions: np.ndarray) -> np.ndarray:
        if len(actions) == 3:  # neither in the first batch nor in the last
            actions[1, 0] = np.nan
        return actions

    deployed = DeployedPolicy(SoftAC("MlpPolicy", Target(), **SMALL).policy)
    assert np.isnan(largest_difference(deployed, None, run_by(deployed, change)))


@pytest.mark.parametrize(("lead", "expected"), [(TIE / 10, 0.0), (TIE * 10, 1.0)])
def test_of_tied_actions_both_are_right(lead, expected):
    model = zeroed(SoftAC("MlpPolicy", DiscreteTarget(), **SMALL))
    model.actor.logits.bias.data.copy_(th.tensor([lead, 0.0, -3.0]))
    deployed = DeployedPolicy(model.policy)
    assert largest_difference(deployed, None, run_by(deployed, np.ones_like)) == expected


def test_an_action_that_is_not_tied_is_wrong_even_where_others_are():
    model = zeroed(SoftAC("MlpPolicy", Target(action_space=spaces.MultiDiscrete([2, 2])), **SMALL))
    model.actor.logits.bias.data.copy_(th.tensor([1.0, 0.0, 2.0, 0.0]))
    deployed = DeployedPolicy(model.policy)
    assert largest_difference(deployed, None, run_by(deployed, np.ones_like)) == 1.0


def test_actions_of_another_shape_are_refused():
    deployed = DeployedPolicy(SoftAC("MlpPolicy", Target(), **SMALL).policy)
    with pytest.raises(ExportError, match=r"actions of the shape \(1, 1\), `predict` \(1, 2\)"):
        largest_difference(deployed, None, run_by(deployed, lambda actions: actions[:, :1]))


def test_a_runtime_that_does_not_open_the_file(tmp_path, monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no kernel for Gemm")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(ExportError, match=r"onnxruntime does not run what was exported \(RuntimeError: no kernel for"):
        SoftAC("MlpPolicy", Target(), **SMALL).export_onnx(tmp_path / "agent.onnx")
    assert list(tmp_path.iterdir()) == []


def test_observations_without_bounds_stay_usual_numbers():
    low = np.array([-np.inf, -3e38, 0.0, -1.0], np.float32)
    space = spaces.Box(low, np.array([np.inf, 3e38, np.inf, 1.0], np.float32))
    values = sample(space, Target().action_space, None, 200, seed=0)["observation"]
    assert values.dtype == np.float32
    assert np.abs(values).max() < 20.0
    assert values[:, 2].min() >= 0.0
