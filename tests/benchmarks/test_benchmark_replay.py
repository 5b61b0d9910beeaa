"""The benchmark of the replay buffer."""

import itertools
import sys

import pytest

from benchmarks import replay
from benchmarks._speed.pairs import Plan


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(replay, "TRANSITIONS", dict.fromkeys(replay.SPACES, 600))


def test_steps_are_episodes_with_time_limits():
    made = replay.steps(replay.SPACES["17 numbers"], 2, 3 * replay.EPISODE)
    assert sum(step[4].sum() for step in made) == 6
    for step, following in itertools.pairwise(made):
        assert ((step[1] != following[0]).any(axis=1) == step[4]).all()
        assert [info["TimeLimit.truncated"] for info in step[5]] == step[4].tolist()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_counts_each_observation_once_or_twice():
    ours, theirs = (replay.memory(buffer, "4 x 84 x 84 bytes") for buffer in ("ours", "theirs"))
    image = 4 * 84 * 84
    assert theirs["array_bytes"] == pytest.approx(2 * 600 * image, rel=0.01)
    assert 600 * image < ours["array_bytes"] < 680 * image  # with spare slots
    assert set(ours["resident_growth"]) == {"made", "half full", "full"}


@pytest.mark.parametrize("timing", [timing for timing in replay.TIMINGS if timing.n_envs < 8], ids=str)
def test_every_timing_gives_a_ratio(timing):
    row = replay.measure(timing, Plan(pairs=2, warmup_pairs=0, block_seconds=0.01))
    assert row["ratio"]["median"] > 0
    assert len(row["ratios"]) == 2


def test_table_has_a_row_for_each_measurement():
    row = {"array_bytes": 4e6, "resident_growth": {"made": 1e6, "half full": 2e6, "full": 3e6}}
    rate = {"median": 1e5}
    speeds = {"per_second": rate, "reference_per_second": rate}
    result = {
        "settings": {"transitions": replay.TRANSITIONS},
        "memory": {"17 numbers": {"ours": row, "theirs": row | {"array_bytes": 8e6}}},
        "time": [replay.TIMINGS[0]._asdict() | speeds | {"ratio": {"median": 1.5, "q1": 1.25, "q3": 2.0}}],
    }
    lines = replay.report(result).splitlines()
    assert "| 17 numbers | 600 | ours | 4.0 (0.500) | 1.0 | 2.0 | 3.0 (1.000) |" in lines
    assert "| add | 17 numbers | 1 | 10.0 | 10.0 | 1.50 (1.25 to 2.00) |" in lines
