"""The benchmark of simulators on the device, and of plans."""

import json
import sys
from unittest.mock import patch

import pytest

from benchmarks import _studies, gpu, tensors
from sb3_softac.distributed import planning


@pytest.mark.usefixtures("torch_threads")
def test_every_study_is_measured_and_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "RESULTS", tmp_path)
    with patch.object(sys, "argv", ["tensors", "collecting", "updates", "--quick", "--out", str(tmp_path)]):
        _studies.run(None, tensors.STUDIES, tmp_path)
    collected, updated = (
        json.loads((tmp_path / f"{name}.json").read_text())["rows"] for name in ("collecting", "updates")
    )
    assert {(row["n_envs"], row["actions"]) for row in collected} == {
        (n, net) for n in (1, 100) for net in tensors.NETS
    }
    assert all(row["device_us"][0] > 0.0 and row["numpy_us"][0] > 0.0 for row in collected)
    assert [(row["net"], row["batch_size"]) for row in updated] == [("64 x 2", 256), ("256 x 2", 256)]
    assert updated[1]["ms"][0] > updated[0]["ms"][0]


def test_plans_come_from_the_other_results(tmp_path):
    collected = [{"n_envs": n, "actions": "256 x 2", "device_us": [9.0, 10.0, 30.0]} for n in tensors.SIZES]
    updated = [{"net": "256 x 2", "batch_size": 2048, "ms": [100.0], "flop": 5e9}]
    for name, rows in (("collecting", collected), ("updates", updated)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"rows": rows}))
    row = next(
        each
        for each in tensors.planned(False, tmp_path)
        if (each["n_envs"], each["simulator"], each["learner"]) == (1000, "slow, 5 ms", "this core")
    )
    # A round: 5 s of the simulators beside 1000 * 10 us + 2 * 100 ms of the learner.
    assert (row["transitions_per_second"], row["learner_busy"]) == (200.0, 0.042)
    assert (row["bottleneck"], row["next_bottleneck"]) == (planning.SIMULATORS, planning.UPDATES)
    assert (row["actors"], row["updates_per_step"]) == (24, 49)


@pytest.mark.usefixtures("torch_threads")
def test_the_measurement_of_a_gpu_has_a_line_for_a_simulator(monkeypatch):
    monkeypatch.setattr(tensors, "SECONDS", 0.01)
    monkeypatch.setattr(tensors, "ROUNDS", 1)
    row = gpu.simulator(10, "cpu")
    content = {"equality": {}, "acting": {}, "not_done": [], "points": {}, "tensors": {10: row}}
    assert f"- A simulator of 10 environments: {row['device_us']:.3f} us a transition on the device" in gpu.tables(
        content
    )


@pytest.mark.parametrize("table", [*tensors.RESULTS.glob("*.md")], ids=lambda table: table.stem)
def test_tables_come_out_of_the_data_beside_them(table):
    result = json.loads(table.with_suffix(".json").read_text())
    assert _studies.report(tensors.STUDIES[table.stem], result) == table.read_text()
