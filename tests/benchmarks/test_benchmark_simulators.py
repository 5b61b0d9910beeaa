"""The benchmark of environments in Ray actors."""

import json

import numpy as np
import pytest

from benchmarks import simulators
from benchmarks._studies import report


def test_a_step_lasts_as_long_as_it_is_to():
    for works in (True, False):
        env = simulators.Lasting(works)
        env.milliseconds = 20.0
        assert min(simulators.seconds_a_step(lambda env=env: env.step(np.zeros(6)), blocks=2)) >= 0.02


def test_least_time_and_overhead_of_a_kind():
    cases = {2: {"here": (simulators.DummyVecEnv, 1)}}
    rows = simulators.measure_envs(cases, works=False, quick=True)
    assert [(row["milliseconds"], row["least"]) for row in rows] == [(0, 0.0), (1, 0.002), (10, 0.02)]
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) >= row["least"] for row in rows)


@pytest.mark.parametrize("table", [*simulators.RESULTS.glob("*.md")], ids=lambda table: table.stem)
def test_tables_come_out_of_the_data_beside_them(table):
    study = simulators.STUDIES[table.stem]
    assert report(study, json.loads(table.with_suffix(".json").read_text())) == table.read_text()
