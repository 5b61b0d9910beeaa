"""The table of compatibility says what the sessions of the noxfile found."""

import csv
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ["subject", "versions", "result", "seconds", "date"]


@pytest.fixture(scope="module")
def noxfile():
    return runpy.run_path(str(ROOT / "noxfile.py"))


@pytest.fixture
def table(noxfile) -> list[dict[str, str]]:
    with noxfile["RESULTS"].open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_environment_has_been_trained_on(noxfile, table):
    done = {row["subject"]: row["result"] for row in table}
    names = [name for _, _, environments in noxfile["ENVIRONMENTS"].values() for name in environments]
    assert {name: done.get(name) for name in names} == dict.fromkeys(names, f"trained {noxfile['STEPS']} steps")


def test_the_tests_have_passed_with_the_oldest_and_the_newest(noxfile, table):
    results = [row["result"] for row in table if row["subject"].startswith("tests, Python 3.11")]
    assert len(results) == len(noxfile["RESOLUTION"])
    assert [result for result in results if "passed" not in result or "failed" in result] == []


def test_a_new_row_takes_the_place_of_the_old_one(noxfile, tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    monkeypatch.setitem(noxfile["write_row"].__globals__, "RESULTS", path)
    for subject, result in (("b", "failed"), ("a", "failed"), ("b", "passed")):
        noxfile["write_row"](dict.fromkeys(COLUMNS, "") | {"subject": subject, "result": result})
    assert path.read_text(encoding="utf-8").splitlines() == [",".join(COLUMNS), "a,,failed,,", "b,,passed,,"]


def test_the_tests_of_the_sessions_exist(noxfile):
    assert [name for name in noxfile["TESTS"] if not (ROOT / name).exists()] == []
