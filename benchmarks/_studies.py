"""Studies that a command line names: each is measured, and written as JSON and as a table."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch as th

from benchmarks import _machine
from benchmarks._output import Columns, publish, table


class Study(NamedTuple):
    """A promise, and how it is measured.

    :param title: the promise
    :param measure: measures it; True for a quick look
    :param columns: of the table, from a row of the result
    :param notes: how it was measured
    """

    title: str
    measure: Callable[[bool], list[Any]]
    columns: Columns
    notes: str


def report(study: Study, result: dict[str, Any]) -> str:
    """The rows in Markdown."""
    machine, versions = result["machine"], result["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = f"# {study.title}\n\n{table(study.columns, result['rows'])}\n{study.notes}\n"
    return f"{text}\n- Machine: {machine['cpu']}.\n- Versions: {named}.\n"


def run(description: str | None, studies: dict[str, Study], results: Path) -> None:
    """Run the studies that the command line names.

    :param description: of the command
    :param studies: by name
    :param results: folder of the results; with ``--quick`` they go into a folder of that name in ``logs``
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", choices=studies, metavar="STUDY", help=", ".join(studies))
    parser.add_argument("--quick", action="store_true", help="fewer of everything, into logs/")
    parser.add_argument("--out", type=Path, help="folder of the results")
    options = parser.parse_args()
    th.set_num_threads(1)
    for name in options.studies:
        result = {
            "rows": studies[name].measure(options.quick),
            "machine": _machine.machine(),
            "versions": _machine.versions(),
        }
        out = options.out or (Path("logs") / results.name if options.quick else results)
        publish(out / name, result, report(studies[name], result))
