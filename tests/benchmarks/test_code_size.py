"""The equations are shared: what the benchmark of code size measures, held as a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import code_size


@pytest.fixture(scope="module")
def used() -> dict[str, set[str]]:
    return {name: code_size.losses_used(env, **kwargs) for name, (env, kwargs) in code_size.VARIANTS.items()}


def test_every_variant_shares_the_value_the_entropy_and_the_target(used: dict[str, set[str]]) -> None:
    for functions in used.values():
        assert {"soft_value", "entropy", "td_target"} <= functions
    assert used["v2"] == used["v2, Discrete"] == used["v2, mixture"]
    assert used["v1"] == used["v1, Discrete"]
    assert used["v1"] - used["v2"] == {"value_loss"}
    assert used["v2, score function"] - used["v2"] == {"score_function_actor_loss"}


def test_every_equation_is_used(used: dict[str, set[str]]) -> None:
    masked = {"masked_target_entropy"}  # where actions are
    assert set().union(masked, *used.values()) == set(code_size.definitions(code_size.LOSSES))


def test_no_equation_is_written_twice() -> None:
    assert code_size.written_twice() == []


def test_a_copy_is_found_whatever_its_names(tmp_path: Path) -> None:
    copy = tmp_path / "copy.py"
    copy.write_text("def value(p, qs, lp, a):\n    return (p * (qs - a * lp)).sum(dim=-1)\n")
    assert code_size.written_twice([copy]) == ["soft_value: copy.py, line 2"]
    copy.write_text("def value(p, qs, lp, a):\n    return (p * (qs + a * lp)).sum(dim=-1)\n")
    assert code_size.written_twice([copy]) == []


def test_lines_of_code_are_counted_without_comments_blank_lines_and_docstrings(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text(
        '"""Module.\n\nMore."""\n\n# comment\nX = (1,\n     2)\n\n\ndef f():\n    """Doc."""\n    return X  # why\n'
    )
    assert code_size.count(source) == 4
    assert code_size.count(source, ("f",)) == 2
    with pytest.raises(ValueError, match="does not define g"):
        code_size.count(source, ("g",))
