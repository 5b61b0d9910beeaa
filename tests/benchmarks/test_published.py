"""Published tables come out of the data beside them, and every script can be started."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks._learning.store import RESULTS
from benchmarks._speed import markdown

pytest.importorskip("rliable")
from benchmarks import actor_average, gradients

ROOT = RESULTS.parents[1]
TITLES = {"speed": "against sac", "cases": "each case against the plain path", "sweep": "sizes"}


def data(table: Path) -> dict[str, Any]:
    return json.loads(table.with_suffix(".json").read_text())


@pytest.mark.parametrize("table", [*RESULTS.glob("speed/[cs]*.md"), RESULTS / "intel" / "speed.md"], ids=str)
def test_tables_of_speed(table: Path) -> None:
    assert markdown.ratios(data(table), TITLES[table.stem]) == table.read_text()


@pytest.mark.parametrize("table", [*RESULTS.glob("actor_average/*.md")], ids=lambda table: table.stem)
def test_tables_of_averages_of_the_actor(table: Path) -> None:
    assert actor_average.report(data(table)) == table.read_text()


def test_the_table_of_gradients() -> None:
    table = RESULTS / "gradients" / "gradients.md"
    assert gradients.report(data(table)["rows"]) == table.read_text()


@pytest.mark.parametrize("script", [*RESULTS.parent.rglob("[!_]*.py")], ids=lambda script: script.stem)
def test_every_script_can_be_imported(script: Path) -> None:
    importlib.import_module(".".join(script.relative_to(ROOT).with_suffix("").parts))
