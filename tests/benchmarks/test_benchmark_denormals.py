"""The benchmark of denormal numbers."""

import json
import sys
from unittest.mock import patch

import pytest
import torch as th

from benchmarks import denormals


def test_the_share_of_denormal_numbers():
    assert denormals.share_of_denormals([th.tensor([[0.0, 1e-40], [1.0, -1e-45]]), th.ones(4)]) == 0.25


@pytest.mark.skipif(not th.set_flush_denormal(False), reason="this CPU cannot take denormal numbers for zero")
def test_both_agents_are_measured(tmp_path):
    with patch.object(sys, "argv", ["denormals", "--steps", "110", "--pairs", "1", "--out", str(tmp_path)]):
        denormals.main()
    assert th.tensor([1e-40]).mul(0.5).item() != 0  # as it was
    agents = json.loads((tmp_path / "denormals.json").read_text())["agents"]
    assert agents.keys() == denormals.AGENTS.keys()
    assert all(row["ratio"]["median"] > 0 for row in agents.values())
    assert (tmp_path / "denormals.md").read_text().count("%") >= 4
