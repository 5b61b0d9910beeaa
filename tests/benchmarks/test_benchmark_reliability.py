"""The benchmark of what it costs to be safe."""

import json
import sys
from unittest.mock import patch

from benchmarks import reliability


def test_checks_are_timed_where_they_stand(tmp_path, monkeypatch):
    monkeypatch.setattr(reliability, "CASES", {"small": {"n_envs": 2, "arguments": reliability.SMALL}})
    monkeypatch.setattr(reliability, "STEPS", 50)
    with patch.object(sys, "argv", ["reliability", "cost-of-checks", "--pairs", "1", "--out", str(tmp_path)]):
        reliability.main()
    case = json.loads((tmp_path / "reliability_checks.json").read_text())["cases"]["small"]
    assert case["ratio"]["median"] > 0
    assert 0 < case["parts"]["_step_check"] < case["step_microseconds"]
    assert case["parts"]["_watch"] > 0
    assert "| small |" in (tmp_path / "reliability_checks.md").read_text()


def test_without_checks_nothing_is_looked_at():
    model = reliability.make("Pendulum-v1", reliability.CASES["networks of 16, batches of 16"], has_checks=False)
    assert model._n_updates > 0
    assert not model._watch._batches
    assert not model._watch._good
