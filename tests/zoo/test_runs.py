"""Runs of the zoo save checkpoints, end with one when they are asked to, and go on from it to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.monitor import load_results

from sb3_softac import SoftAC
from sb3_softac.zoo import runs

TRAIN = ["--algo", "softac", "--env", "Pendulum-v1", "-n", "700", "--eval-freq", "150", "--seed", "1"]
TRAIN += [
    "--eval-episodes",
    "1",
    "--num-threads",
    "1",
    "-params",
    "policy_kwargs:dict(net_arch=[8])",
    "learning_starts:50",
]


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
    whole, run = (tmp_path / name / "softac" / "Pendulum-v1_1" for name in ("whole", "parts"))
    stopped = start("train", *TRAIN, "-f", str(tmp_path / "parts"))
    deadline = time.monotonic() + 60
    monitor = run / "0.monitor.csv"
    while time.monotonic() < deadline and not (monitor.is_file() and monitor.read_text().count("\n") > 2):
        time.sleep(0.02)  # until the first episode of 200 steps has ended
    stopped.send_signal(signal.SIGTERM)
    told = finished(stopped)
    assert "Saved a checkpoint at" in told
    (newest,) = (run / "checkpoints").glob("agent_*.zip")
    assert 200 <= int(newest.stem.removeprefix("agent_")) < 700

    told = finished(start("resume", str(run)))
    assert f"Going on from the checkpoint {newest}" in told
    one, other = (SoftAC.load(folder / "Pendulum-v1.zip") for folder in (whole, run))
    assert (one.num_timesteps, one._n_updates) == (other.num_timesteps, other._n_updates)
    th.testing.assert_close(one.policy.state_dict(), other.policy.state_dict(), rtol=0.0, atol=0.0)
    # Its logs are those of a run that did not stop, too.
    assert [path.name for path in run.parent.iterdir() if path.is_dir()] == ["Pendulum-v1_1"]
    for name in ("timesteps", "results", "ep_lengths"):
        np.testing.assert_array_equal(*(np.load(folder / "evaluations.npz")[name] for folder in (whole, run)))
    assert load_results(str(run))[["r", "l"]].equals(load_results(str(whole))[["r", "l"]])
    assert "trained_agent\n    - ''\n" in (run / "Pendulum-v1" / "args.yml").read_text()
    best_one, best_other = (SoftAC.load(folder / "best_model.zip").policy.state_dict() for folder in (whole, run))
    th.testing.assert_close(best_one, best_other, rtol=0.0, atol=0.0)

    told = finished(start("resume", str(run)))  # there is nothing left to do
    assert f"The run {run} is finished: it has learned for 700 steps, and 700 are asked for" in told
    assert f"resume {run} -n 1400" in told
    assert [path.name for path in run.parent.iterdir() if path.is_dir()] == ["Pendulum-v1_1"]


def test_the_command_line_of_a_run_is_taken_again_with_its_newest_checkpoint(tmp_path):
    folder = tmp_path / "checkpoints"
    with pytest.raises(ValueError, match="has no checkpoint"):
        runs.arguments_to_resume([str(tmp_path)])
    model = SoftAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, learning_starts=100)
    for _ in range(2):
        model.learn(10, reset_num_timesteps=False).save_checkpoint(folder)
    given = ["--algo", "softac", "-i", "old.zip", "-n", "700", "--eval-freq", "-1", "-params", "tau:0.1"]
    (folder / "command.json").write_text(json.dumps(given))
    agent = str(folder / "agent_00000020.zip")
    others = ["--algo", "softac", "--eval-freq", "-1", "-params", "tau:0.1"]
    assert runs.arguments_to_resume([str(tmp_path)]) == [*given[:2], *given[4:], "-i", agent]
    assert runs.arguments_to_resume([str(tmp_path), "-n", "900"]) == [*others, "-n", "900", "-i", agent]


def test_episodes_after_the_checkpoint_are_played_once_more(tmp_path):
    monitor = tmp_path / "0.monitor.csv"
    head = '#{"t_start": 1000.0, "env_id": "None"}\nr,l,t\n'
    monitor.write_text(head + "-1.0,10,5.0\n-2.0,10,6.0\n-3.0,10,7.5\n-4.0,1")
    runs._set_aside(monitor, 20, 1007.0)
    assert not monitor.exists()
    assert (tmp_path / "0.until_00000020.monitor.csv").read_text() == head + "-1.0,10,5.0\n-2.0,10,6.0\n"
    for content in ("", head, head + "-3.0,10,7.5\n"):
        monitor.write_text(content)
        runs._set_aside(monitor, 20, 1007.0)
        assert [path.name for path in tmp_path.iterdir()] == ["0.until_00000020.monitor.csv"]


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    process = start("resume", str(Path(tmp_path) / "nothing"))
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "nothing' has no checkpoint" in told
