"""Studies that a command line names: each is measured, and written as JSON and as a table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch as th

from benchmarks import _machine
from benchmarks._output import Columns, publish, table


class Study(NamedTuple):
    """A promise, and how it is measured.

    :param title: the promise
    :param measure: measures it; its first argument is True for a quick look
    :param columns: of the table, from a row of ``summary``
    :param notes: how it was measured
    :param summary: rows of the table, from those of the result
    """

    title: str
    measure: Callable[..., Any]
    columns: Columns
    notes: str
    summary: Callable[[list[Any]], list[Any]] = list


def report(study: Study, result: dict[str, Any]) -> str:
    """The rows in Markdown."""
    machine, versions = result["machine"], result["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = f"# {study.title}\n\n{table(study.columns, study.summary(result['rows']))}\n{study.notes}\n"
    return f"{text}\n- Machine: {machine['cpu']}.\n- Versions: {named}.\n"


def parse(description: str | None, studies: dict[str, Study], results: Path) -> argparse.Namespace:
    """Read the command line: ``studies``, ``quick`` and ``out``. Torch has one thread from then on.

    :param description: of the command
    :param studies: by name
    :param results: folder of the results; with ``--quick`` they go into a folder of that name in ``logs``
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", choices=studies, metavar="STUDY", help=", ".join(studies))
    parser.add_argument("--quick", action="store_true", help="fewer of everything, into logs/")
    parser.add_argument("--out", type=Path, help="folder of the results")
    options = parser.parse_args()
    options.out = options.out or (Path("logs") / results.name if options.quick else results)
    th.set_num_threads(1)
    return options


def write(study: Study, stem: Path, rows: list[Any]) -> None:
    """Write what was measured as JSON and as a table.

    :param study: that was measured
    :param stem: path of the files, without suffix
    :param rows: of the result
    """
    result = {"rows": rows, "machine": _machine.machine(), "versions": _machine.versions()}
    publish(stem, result, report(study, result))


def run(description: str | None, studies: dict[str, Study], results: Path) -> None:
    """Run the studies that the command line names; see :func:`parse` for the parameters."""
    options = parse(description, studies, results)
    for name in options.studies:
        write(studies[name], options.out / name, studies[name].measure(options.quick))


def go_on(description: str | None, studies: dict[str, Study], results: Path) -> None:
    """Run the studies that the command line names; see :func:`parse` for the parameters.

    Each goes on from the rows that are there. ``measure`` is given them, and yields them after each that is new.
    """
    options = parse(description, studies, results)
    for name in options.studies:
        stored = (options.out / name).with_suffix(".json")
        rows = json.loads(stored.read_text())["rows"] if stored.exists() else []
        for done in studies[name].measure(options.quick, rows):
            write(studies[name], options.out / name, done)
