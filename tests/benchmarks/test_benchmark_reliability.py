"""Each study of reliability in its quick form keeps its promise, and writes a table."""

import json
import shutil
import sys
from unittest.mock import patch

import pytest

from benchmarks import reliability
from benchmarks._reliability import checks, cost, crashes, kills, soak
from benchmarks._studies import run


def result_of(study: str, tmp_path) -> list:
    with patch.object(sys, "argv", ["reliability", study, "--quick", "--out", str(tmp_path)]):
        run(reliability.__doc__, reliability.STUDIES, tmp_path)
    assert (tmp_path / f"{study}.md").read_text().startswith(f"# {reliability.STUDIES[study].title}")
    return json.loads((tmp_path / f"{study}.json").read_text())["rows"]


def test_runs_go_on_to_the_bit(tmp_path):
    (row,) = result_of("resume", tmp_path)
    assert row["said_exact"] == row["equal"] == row["stops"] == 4


@pytest.mark.parametrize("study", ["arguments", "files"])
def test_bad_input_is_refused(study, tmp_path):
    (row,) = result_of(study, tmp_path)
    assert row["tried"] == 50
    assert row["wrong"] == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_kill_at_a_call_leaves_a_whole_file():
    (row,) = crashes.measure(("save_checkpoint",), ("kill -9",), last=4)
    assert row["broken"] == 0
    assert row["old"] + row["new"] == row["calls"] == 4
    assert min(row["old"], row["new"]) > 0


def test_a_kill_loses_at_most_an_interval(tmp_path):
    (row,) = result_of("kills", tmp_path)
    assert row["damaged"] == 0
    assert row["lost_most"] <= kills.EVERY + 1


def test_memory_is_looked_at():
    row = soak.main(2000)
    assert row["steps"] == 2000
    assert min(row["mib"]) > 50


def test_a_checkpoint_writes_less_the_second_time():
    row = cost.main(cost.SOFTAC, 10_000)
    assert row["incremental"]["mib"] > 0
    assert row["full"]["mib"] > 1


def test_checks_are_timed_where_they_stand(monkeypatch):
    monkeypatch.setattr(checks, "CASES", {"small": {"n_envs": 2, "arguments": checks.SMALL}})
    monkeypatch.setattr(checks, "STEPS", 50)
    case = checks.measure("Pendulum-v1", 1)["small"]
    assert case["ratio"]["median"] > 0
    assert 0 < case["parts"]["_step_check"] < case["step_microseconds"]
    assert case["parts"]["_watch"] > 0


def test_without_checks_nothing_is_looked_at():
    model = checks.make("Pendulum-v1", checks.CASES["networks of 16, batches of 16"], has_checks=False)
    assert model._n_updates > 0
    assert not model._watch._batches
    assert not model._watch._good
