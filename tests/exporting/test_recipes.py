"""The module that is exported goes into PyTorch's own formats, too."""

import subprocess
import sys

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_softac import SoftAC
from sb3_softac.export import DeployedPolicy
from tests.helpers import SMALL, SMALL_DICT, Target, dict_space

BOUNDS = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([1.0, 9.0], np.float32))
#: loads both formats with PyTorch alone, and prints their actions
PROGRAM = """
import sys, torch
x = torch.linspace(-1, 1, 12).view(4, 3)
with torch.no_grad():
    print(torch.export.load("agent.pt2").module()(x).flatten().tolist())
    print(torch.jit.load("agent.pt")(x).flatten().tolist())
assert "sb3_softac" not in sys.modules and "stable_baselines3" not in sys.modules
"""


def exported(deployed: DeployedPolicy) -> th.nn.Module:
    shapes = deployed.batch_axes(th.export.Dim("batch"))
    return th.export.export(deployed, deployed.example(), dynamic_shapes=shapes).module()


@pytest.mark.filterwarnings("ignore:.*jit:DeprecationWarning")
def test_files_that_pytorch_loads_alone(tmp_path):
    model = SoftAC("MlpPolicy", Target(action_space=BOUNDS), actor_tau=0.1, **SMALL).learn(30)
    deployed = DeployedPolicy(model.policy)
    shapes = deployed.batch_axes(th.export.Dim("batch"))
    program = th.export.export(deployed, deployed.example(), dynamic_shapes=shapes)
    th.export.save(program, tmp_path / "agent.pt2")
    th.jit.trace(deployed, deployed.example()).save(tmp_path / "agent.pt")
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    observations = th.linspace(-1, 1, 12).view(4, 3).numpy()
    expected = model.predict(observations, deterministic=True)[0].flatten()
    for line in done.stdout.splitlines():
        np.testing.assert_allclose(eval(line), expected, atol=1e-5)


@pytest.mark.parametrize("deterministic", [True, False])
def test_torch_export_of_a_dict(deterministic):
    model = SoftAC("MultiInputPolicy", Target(dict_space()), **SMALL_DICT)
    deployed = DeployedPolicy(model.policy, deterministic)
    run = exported(deployed)
    for rows in (1, 5):
        inputs = deployed.example(rows)
        assert len(inputs) == (2 if deterministic else 3)
        th.testing.assert_close(run(*inputs), deployed(*inputs))
        if deterministic:
            observation = dict(zip(("image", "vector"), (part.numpy() for part in inputs), strict=True))
            expected, _ = model.predict(observation, deterministic=True)
            np.testing.assert_allclose(run(*inputs).detach().numpy(), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*jit:DeprecationWarning")
def test_torchscript_of_a_mixture():
    model = SoftAC("MlpPolicy", Target(), **SMALL | {"policy_kwargs": {"net_arch": [16], "n_components": 3}}).learn(30)
    deployed = DeployedPolicy(model.policy)
    run = th.jit.trace(deployed, deployed.example())
    observations = np.random.default_rng(0).uniform(-1.0, 1.0, (6, 3)).astype(np.float32)
    expected, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(run(th.as_tensor(observations)).detach().numpy(), expected, atol=1e-5)
