"""The benchmark of averages of the actor."""

import json
import sys
from itertools import product
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch as th

from benchmarks import actor_average
from benchmarks._learning import training
from benchmarks._learning.settings import RunSettings
from sb3_softac import SoftAC

pytest.importorskip("rl_zoo3")

SMALL = {"policy": "MlpPolicy", "policy_kwargs": "dict(net_arch=[8])", "batch_size": 8, "learning_starts": 20}


@pytest.fixture(autouse=True)
def torch_threads() -> object:
    """The benchmark sets the number of its process, which is the tests' own here."""
    before = th.get_num_threads()
    yield
    th.set_num_threads(before)


@pytest.mark.parametrize("policy_delay", [1, 3])
def test_its_averages_are_those_of_the_algorithm(policy_delay):
    hyperparams = SMALL | {"policy_delay": policy_delay}
    run = RunSettings("Pendulum-v1", "softac", 0, 60, hyperparams, eval_every=50, eval_episodes=1, final_episodes=1)
    env, eval_env, arguments = training.prepare(run)
    averages = actor_average.Averages([0.1], run, eval_env)
    SoftAC(env=env, seed=0, device="cpu", **arguments).learn(60, callback=averages)
    model = SoftAC(env=env, seed=0, device="cpu", **arguments, actor_tau=0.1).learn(60)
    theirs = averages.actors["0.1"].state_dict()
    for name, value in model.policy.actor_average.state_dict().items():
        th.testing.assert_close(value, theirs[name])


def run(*arguments: str) -> None:
    """The command, on few steps of a small network."""
    small = ["--env", "Pendulum-v1", "--steps", "400", "--eval-every", "200", "--final-episodes", "2"]
    small += ["--set", "policy_kwargs=dict(net_arch=[8])"]
    with patch.object(sys, "argv", ["actor_average", *small, *arguments]):
        actor_average.main()


def test_runs_are_kept_and_others_are_refused(tmp_path, capsys):
    out = ("--out", str(tmp_path))
    run(*out, "--taus", "0.5", "--seeds", "0")
    first = json.loads((tmp_path / "Pendulum-v1.json").read_text())["rows"]
    with patch.object(actor_average, "train", wraps=actor_average.train) as train:
        run(*out, "--taus", "0.5", "--seeds", "0", "1")
    assert [call.args[0].seed for call in train.call_args_list] == [1]
    rows = json.loads((tmp_path / "Pendulum-v1.json").read_text())["rows"]
    assert rows[: len(first)] == first
    assert {(row["seed"], row["step"], row["tau"]) for row in rows} == set(
        product((0, 1), (200, 400), ("actor", "0.5"))
    )
    (tmp_path / "Pendulum-v1.md").unlink()
    run(*out, "--taus", "0.5", "--seeds", "0")  # trains nothing, and reports on all
    report = (tmp_path / "Pendulum-v1.md").read_text()
    assert "seeds 0, 1, 400 steps" in report
    assert report in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"Pendulum-v1.json holds runs with other settings: give a --label"):
        run(*out, "--taus", "0.25", "--seeds", "0")
    assert json.loads((tmp_path / "Pendulum-v1.json").read_text())["rows"] == rows


def test_the_summary_has_each_quarter_of_all_seeds():
    rows = [(0, 15, "actor", 99.0), (0, 16, "actor", -5.0), (0, 20, "actor", 1.0), (1, 20, "actor", 7.0)]
    table = actor_average.summary(pd.DataFrame([*rows, (0, 20, "0.1", 7.0)], columns=["seed", "step", "tau", "mean"]))
    assert table["quarter"].tolist() == [3, 4, 4]
    assert table["tau"].tolist() == ["actor", "actor", "0.1"]
    assert table["mean"].tolist() == [99.0, 1.0, 7.0]
    assert table["min"].tolist() == [99.0, -5.0, 7.0]
    assert table["std"].tolist() == [pytest.approx(np.nan, nan_ok=True), 6.0, pytest.approx(np.nan, nan_ok=True)]
