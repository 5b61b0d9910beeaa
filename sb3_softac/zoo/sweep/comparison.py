"""Comparison of the runs of a sweep: one table, and the page of :mod:`sb3_softac.report`."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from sb3_softac.saving import files

TABLE, PAGE = "table.csv", "report.html"
COLUMNS = ("environment", "algorithm", "seeds", "steps", "mean return", "low", "high")


def write(runs: Sequence[Path], folder: Path) -> None:
    """Write ``table.csv`` and the page ``report.html``, and print the table.

    :param runs: folders of the runs
    :param folder: of both files
    """
    from sb3_softac.report import find_runs, write_report
    from sb3_softac.report.groups import CONFIDENCE, evaluation_curve, grouped, training_curve

    rows = []
    for env, groups in grouped(find_runs(runs)).items():
        for group in groups:
            curve = evaluation_curve(group) or training_curve(group)
            seeds = len(group.runs)
            if curve is not None:
                last = [f"{float(each[-1]):.1f}" for each in (curve.mean, curve.low, curve.high)]
                rows.append([env, group.label, str(seeds), f"{int(curve.steps[-1])}", *last])
    print(_in_columns([list(COLUMNS), *rows]))
    print(f"low, high: {CONFIDENCE:.0%} interval over the seeds; of one seed, the spread of its last episodes.")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    files.write(folder / TABLE, lambda file: file.write(text.getvalue().encode()))
    print(f"Table: {folder / TABLE}\nReport: {write_report(runs, folder / PAGE, video=False)}")


def _in_columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
