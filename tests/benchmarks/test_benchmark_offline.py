"""The benchmark of demonstrations."""

import json
import sys
from unittest.mock import patch

import pytest

from benchmarks import offline

FEW = {"teacher_steps": 250, "shown_steps": 220, "steps": 120, "updates": 1}
ARGUMENTS = {"batch_size": 8, "policy_kwargs": {"net_arch": [8], "layer_norm": True}}


@pytest.mark.usefixtures("torch_threads")
def test_every_way_is_measured_and_reported(tmp_path, monkeypatch):
    task = offline.TASKS[offline.SPARSE]._replace(arguments=ARGUMENTS, **FEW)
    monkeypatch.setattr(offline, "TASKS", {offline.SPARSE: task})
    monkeypatch.setattr(offline, "SEEDS", range(2))
    with patch.object(sys, "argv", ["offline", "--out", str(tmp_path)]):
        offline.main()
    result = json.loads((tmp_path / "UprightPendulum-v0.json").read_text())
    assert [(row["way"], row["seed"]) for row in result["rows"]] == [(way, k) for k in (0, 1) for way in task.ways]
    assert all([step for step, _ in row["curve"]] == [30, 60, 90, 120] for row in result["rows"])
    assert result["shown"]["episodes"] == 1
    assert offline.report(result) == (tmp_path / "UprightPendulum-v0.md").read_text()


def test_intervals_are_those_of_student():
    assert offline.with_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == "3.0 [1.0, 5.0]"  # 2.776 * 1.581 / sqrt(5) = 1.963
    assert offline.with_interval([2.0]) == "2.0"


@pytest.mark.parametrize("table", [*offline.RESULTS.glob("*.md")], ids=lambda table: table.stem)
def test_tables_come_out_of_the_data_beside_them(table):
    assert offline.report(json.loads(table.with_suffix(".json").read_text())) == table.read_text()
