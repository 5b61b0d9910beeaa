"""Runs of the zoo whose environments are in Ray actors."""

import os
import subprocess
import sys

import pytest
from stable_baselines3.common.monitor import load_results

from sb3_softac import SoftAC

TRAIN = ["--algo", "softac", "--env", "Pendulum-v1", "-n", "900", "--eval-freq", "-1", "--seed", "1"]
PARAMS = ["policy_kwargs:dict(net_arch=[8])", "learning_starts:50", "n_envs:2"]
PARAMS += ["vec_env_class:'sb3_softac.distributed.RayVecEnv'", "vec_env_kwargs:dict(envs_per_actor=2)"]


def told_by(*arguments: str, folder: os.PathLike[str]) -> str:
    command = [sys.executable, "-m", "sb3_softac.zoo", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def test_a_run_in_ray_actors_goes_on_from_its_checkpoint(tmp_path):
    pytest.importorskip("ray", reason="needs the extra `ray`")
    told_by("train", *TRAIN, "-f", "logs", "-params", *PARAMS, folder=tmp_path)
    run = tmp_path / "logs" / "softac" / "Pendulum-v1_1"
    assert len(load_results(str(run))) == 4
    told = told_by("resume", str(run), "-n", "1300", folder=tmp_path)
    assert "Going on from the checkpoint" in told
    assert SoftAC.load(run / "Pendulum-v1.zip").num_timesteps == 1300
