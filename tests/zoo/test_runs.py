"""Runs of the zoo save checkpoints, end with one when they are asked to, and go on from it to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch as th

from sb3_softac import SoftAC
from sb3_softac.zoo import runs

TRAIN = ["--algo", "softac", "--env", "Pendulum-v1", "-n", "700", "--eval-freq", "-1", "--seed", "1"]
TRAIN += ["--num-threads", "1", "-params", "policy_kwargs:dict(net_arch=[8])", "learning_starts:50"]


def start(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "sb3_softac.zoo", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finished(process: subprocess.Popen) -> str:
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told[-3000:]
    return told


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of POSIX")
def test_a_run_that_is_asked_to_end_goes_on_to_the_bit(tmp_path):
    finished(start("train", *TRAIN, "-f", str(tmp_path / "whole")))
    stopped = start("train", *TRAIN, "-f", str(tmp_path / "parts"))
    monitor = tmp_path / "parts" / "softac" / "Pendulum-v1_1" / "0.monitor.csv"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (monitor.is_file() and monitor.read_text().count("\n") > 2):
        time.sleep(0.02)  # until the first episode of 200 steps has ended
    stopped.send_signal(signal.SIGTERM)
    told = finished(stopped)
    assert "Saved a checkpoint at" in told
    run = tmp_path / "parts" / "softac" / "Pendulum-v1_1"
    (manifest,) = (run / "checkpoints").glob("step_*.json")
    assert 200 <= int(manifest.stem.removeprefix("step_")) < 700
    told = finished(start("resume", str(run)))
    assert f"Going on from the checkpoint {manifest}" in told
    whole = SoftAC.load(tmp_path / "whole" / "softac" / "Pendulum-v1_1" / "Pendulum-v1.zip")
    parts = SoftAC.load(tmp_path / "parts" / "softac" / "Pendulum-v1_2" / "Pendulum-v1.zip")
    assert (parts.num_timesteps, parts._n_updates) == (whole.num_timesteps, whole._n_updates)
    th.testing.assert_close(parts.policy.state_dict(), whole.policy.state_dict(), rtol=0.0, atol=0.0)


def test_the_command_line_of_a_run_is_taken_again_with_its_newest_checkpoint(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(ValueError, match="has no checkpoint"):
        runs.arguments_to_resume(tmp_path)
    (folder / "command.json").write_text(json.dumps(["--algo", "softac", "-i", "old.zip", "-params", "tau:0.1"]))
    for step in (100, 2000):
        (folder / f"step_{step:08d}.json").touch()
    agent = str(folder / "agent_00002000.zip")
    assert runs.arguments_to_resume(tmp_path) == ["--algo", "softac", "-params", "tau:0.1", "-i", agent]


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    process = start("resume", str(Path(tmp_path) / "nothing"))
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "nothing' has no checkpoint" in told
