"""The numbers of the benchmarks of speed, on values and blocks that are known."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks._output import ratio_interval
from benchmarks._speed import pairs, stats
from benchmarks._speed.pairs import Plan


class Clockwork:
    """A worker whose every update or step takes the same seconds, and half of them of the CPU."""

    def __init__(self, name: str, seconds: float, calls: list[tuple[str, int]]) -> None:
        self._name, self._seconds, self._calls = name, seconds, calls

    def call(self, method: str, count: int) -> dict[str, float]:
        self._calls.append((self._name, count))
        return {"wall": count * self._seconds, "cpu": count * self._seconds / 2, "count": count}

    def close(self) -> None:
        pass


def alternate(plan: Plan, **seconds: float) -> tuple[dict[str, Any], list[tuple[str, int]]]:
    calls: list[tuple[str, int]] = []
    reference = Clockwork("reference", 0.01, calls)
    contenders = {name: Clockwork(name, each, calls) for name, each in seconds.items()}
    return pairs.alternate(contenders, reference, "updates", plan), calls


def test_the_interval_of_a_median_by_hand() -> None:
    # n = 10: 1 - 2 (1 + 10) / 1024 = 0.9785 for the second smallest and largest; the third has 0.8906.
    assert stats.coverage(10, 2) == pytest.approx(1 - 22 / 1024)
    assert stats.coverage(10, 3) == pytest.approx(1 - 112 / 1024)
    assert stats.median_interval([10, 1, 9, 2, 8, 3, 7, 4, 6, 5]) == (2, 9)


@pytest.mark.parametrize(("values", "interval"), [([3.0], (3, 3)), ([1, 2], (1, 2)), (range(6), (0, 5))])
def test_few_values_give_their_extremes(values: list[float], interval: tuple[float, float]) -> None:
    assert stats.median_interval(values) == interval


def test_a_summary_reads_from_the_middle_outwards() -> None:
    assert stats.summary([1, 2, 3, 4, 5]) == {"median": 3, "low": 1, "high": 5, "q1": 2, "q3": 4, "min": 1, "max": 5}
    assert ratio_interval({"median": 2, "low": 1.5, "high": 2.5}) == "2.00 [1.50, 2.50]"


def test_ratios_of_workers_that_differ_twofold() -> None:
    measured, calls = alternate(Plan(pairs=4, warmup_pairs=1, block_seconds=0.1), fast=0.005, slow=0.02)
    assert measured["block"] == 10
    fast, slow = measured["contenders"]["fast"], measured["contenders"]["slow"]
    assert fast["per_second"]["median"] == pytest.approx(200)
    assert fast["reference_per_second"]["median"] == pytest.approx(100)
    assert fast["ratio"]["median"] == fast["cpu_time_ratio"]["median"] == pytest.approx(2)
    assert slow["ratios"] == pytest.approx([0.5] * 4)
    assert fast["over"]["slow"]["median"] == pytest.approx(4)
    assert fast["pairs"] == 4
    order = [name for name, count in calls if count == 10]
    assert order[-8:] == ["fast", "reference", "slow", "reference", "reference", "fast", "reference", "slow"]


def test_a_block_is_as_long_as_asked_for() -> None:
    assert pairs.calibrate(Clockwork("reference", 0.001, []), "learn", 0.5) == 500
    assert pairs.calibrate(Clockwork("reference", 10.0, []), "learn", 0.5) == 1


def test_a_measurement_that_takes_too_long_ends_early() -> None:
    measured, _ = alternate(Plan(pairs=100, warmup_pairs=0, seconds=0.0), ours=0.01)
    assert measured["contenders"]["ours"]["pairs"] == 2
