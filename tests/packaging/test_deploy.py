"""An agent of the zoo leaves for an environment that has onnxruntime and numpy, and nothing of ours."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.packaging
ROOT = Path(__file__).resolve().parents[2]
OBSERVATION = [0.8, -0.6, 0.5]


def test_an_exported_agent_acts_elsewhere(wheel, tmp_path):
    (run,) = (wheel.work / "logs" / "softac").glob("Pendulum-v1_1")
    output = wheel.run("-m", "sb3_softac.export", run, "-o", tmp_path / "agent.onnx")
    assert f"Agent: {run / 'best_model.zip'}" in output
    assert "largest difference from predict" in output

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    subprocess.run([python, "-m", "pip", "-q", "install", "-c", constraints, "onnxruntime"], check=True)
    for name in ("torch", "stable_baselines3", "sb3_softac", "onnx"):
        assert subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode == 1
    command = [python, ROOT / "examples" / "deploy_onnx.py", tmp_path / "agent.onnx", json.dumps(OBSERVATION)]
    action = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    program = f"""
import numpy as np
from sb3_softac import SoftAC
model = SoftAC.load({str(run / "best_model.zip")!r})
print(model.predict(np.array({OBSERVATION}, np.float32), deterministic=True)[0][0])
"""
    np.testing.assert_allclose(action, [float(wheel.run("-c", program).split()[-1])], atol=1e-5)
