"""The study of what the diagnostics cost."""

from benchmarks import diagnostics
from benchmarks._output import table


def test_the_cost_of_diagnostics_is_a_ratio_with_an_interval(monkeypatch):
    name = "Pendulum-v1, networks of 16, batches of 16"
    monkeypatch.setattr(diagnostics, "CASES", {name: diagnostics.CASES[name]})
    (row,) = diagnostics.measure(pairs=2)
    for each in ("basic", "full"):
        assert 0.2 < row[each]["low"] <= row[each]["median"] <= row[each]["high"] < 5
    assert name in table(diagnostics.STUDIES["cost"].columns, [row])
