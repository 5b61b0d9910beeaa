"""The studies of training beside the environments: what they measure, and their tables."""

from __future__ import annotations

import json
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from benchmarks import overlap
from benchmarks._output import table
from benchmarks._speed.pairs import Plan
from benchmarks._studies import report
from tests.helpers import SMALL

QUICK = Plan(pairs=2, warmup_pairs=0, block_seconds=0.1)


def test_a_step_is_slow_when_it_is_told_so():
    env = overlap.Slow(gym.make(overlap.ENV))
    env.reset(seed=0)
    env.waits, env.computes = 0.02, 0.01
    wall, used = time.perf_counter(), time.thread_time()
    env.step(np.zeros(1, np.float32))
    assert time.perf_counter() - wall >= 0.03
    assert 0.01 <= time.thread_time() - used < 0.03


def test_the_speed_of_one_case(monkeypatch):
    monkeypatch.setattr(overlap, "WARMUP", 30)
    row = overlap.speed("this process", "waits 5 ms", QUICK, **SMALL)
    assert 5 < row["step_alone"] < row["off"]
    assert row["update_alone"] > 0
    assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
    assert "waits 5 ms" in table(overlap.STUDIES["speed"].columns, [row])


@pytest.mark.parametrize("rollout", overlap.ROLLOUTS)
def test_both_kinds_of_agents_learn_as_often(rollout):
    counts = []
    for each in (False, True):
        env = overlap.runs.vec(lambda: gym.make(overlap.ENV))(1)
        model = overlap.agent(rollout, each, env, seed=0).learn(320)
        assert model.overlap is each
        counts.append(model._n_updates)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("published", [*overlap.RESULTS.glob("*.md")], ids=lambda each: each.stem)
def test_published_tables_come_out_of_their_data(published: Path):
    result = json.loads(published.with_suffix(".json").read_text())
    assert report(overlap.STUDIES[published.stem], result) == published.read_text()
