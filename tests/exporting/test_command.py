"""`python -m sb3_softac.export`, on the file of an agent and on the folder of a run of rl_zoo3."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_softac import SoftAC
from sb3_softac.export import find_agent, find_normalization, main
from tests.helpers import SMALL, Target

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "deploy_onnx.py"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_an_agent_and_its_deployment(tmp_path, capsys):
    model = SoftAC("MlpPolicy", Target(), **SMALL)
    model.save(tmp_path / "agent.zip")
    main([str(tmp_path / "agent")])
    path = tmp_path / "agent.onnx"
    output = capsys.readouterr().out
    for line in (
        f"Agent: {tmp_path / 'agent.zip'}\n",
        f"Exported: {path} (",
        "opset 18)",
        "input   observation: float32",
    ):
        assert line in output
    assert "largest difference from predict: " in output

    done = subprocess.run(
        [sys.executable, EXAMPLE, path, "[0.1, -0.2, 0.3]"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": ""},
    )
    expected, _ = model.predict(np.array([0.1, -0.2, 0.3], np.float32), deterministic=True)
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-5)


def test_the_example_needs_two_packages():
    imports = [node for node in ast.walk(ast.parse(EXAMPLE.read_text())) if isinstance(node, ast.Import)]
    names = {alias.name for node in imports for alias in node.names}
    assert names - {"json", "sys"} == {"numpy", "onnxruntime"}


def test_the_folder_of_a_run(tmp_path, capsys, session):
    env = VecNormalize(DummyVecEnv([Target]))
    env.obs_rms.mean = np.array([3.0, 2.0, 1.0])
    model = SoftAC("MlpPolicy", env, **SMALL)
    touch(tmp_path, "Target-v0/args.yml")
    model.save(tmp_path / "Target-v0.zip")
    env.save(tmp_path / "Target-v0" / "vecnormalize.pkl")

    with pytest.raises(SystemExit) as refused:
        main([str(tmp_path)])
    assert refused.value.code == 1
    refusal = capsys.readouterr().err
    assert "vecnormalize.pkl' cannot be read: it holds pickled objects" in refusal
    assert refusal.endswith("The option of this command is --allow-pickle\n")
    assert not list(tmp_path.rglob("*.onnx"))

    path = tmp_path / "exported" / "agent.onnx"
    main([str(tmp_path), "--allow-pickle", "--stochastic", "--opset", "19", "-o", str(path)])
    assert f"observations normalised by {tmp_path / 'Target-v0' / 'vecnormalize.pkl'}" in capsys.readouterr().out
    opened = session(path)
    assert [each.name for each in opened.get_inputs()] == ["observation", "noise"]
    observations = np.array([[3.5, 2.5, 0.5]], np.float32)
    actions = opened.run(None, {"observation": observations, "noise": np.zeros((1, 2), np.float32)})[0]
    expected, _ = model.predict(env.normalize_obs(observations), deterministic=True)
    np.testing.assert_allclose(actions, expected, atol=1e-5)

    main([str(tmp_path), "--no-vec-normalize"])
    plain = session(tmp_path / "Target-v0.onnx").run(None, {"observation": observations})[0]
    np.testing.assert_allclose(plain, model.predict(observations, deterministic=True)[0], atol=1e-5)


def test_the_best_agent_of_a_run_comes_first(tmp_path):
    touch(tmp_path, "Hopper-v5.zip", "Hopper-v5/args.yml", "Hopper-v5/vecnormalize.pkl", "rl_model_500_steps.zip")
    assert find_agent(tmp_path) == tmp_path / "Hopper-v5.zip"
    touch(tmp_path, "best_model.zip")
    assert find_agent(tmp_path) == tmp_path / "best_model.zip"
    assert find_normalization(tmp_path / "best_model.zip") == tmp_path / "Hopper-v5" / "vecnormalize.pkl"
    touch(tmp_path, "vecnormalize.pkl")
    assert find_normalization(tmp_path / "best_model.zip") == tmp_path / "vecnormalize.pkl"


def test_statistics_of_other_agents_are_left_alone(tmp_path):
    touch(tmp_path, "agent.zip", "other/vecnormalize.pkl")
    assert find_normalization(tmp_path / "agent.zip") is None
    touch(tmp_path, "A-v0/args.yml", "A-v0/vecnormalize.pkl", "B-v0/args.yml", "B-v0/vecnormalize.pkl")
    with pytest.raises(ValueError, match=r"may belong to .*; pass --vec-normalize FILE"):
        find_normalization(tmp_path / "agent.zip")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no .*is it the folder of one run"),
        (["rl_model_500_steps.zip"], "name one of rl_model_500_steps.zip"),
        (None, "is neither a file nor a folder"),
    ],
)
def test_a_folder_that_is_no_run(names, message, tmp_path):
    touch(tmp_path, *names or [])
    with pytest.raises(ValueError, match=message):
        find_agent(tmp_path / "missing" if names is None else tmp_path)


def test_a_file_that_is_no_agent(tmp_path, capsys):
    (tmp_path / "agent.zip").write_bytes(b"no zip")
    with pytest.raises(SystemExit) as refused:
        main([str(tmp_path / "agent.zip")])
    assert refused.value.code == 1
    assert "error: The file" in capsys.readouterr().err
    assert not (tmp_path / "agent.onnx").exists()
