"""Report of training runs: ``python -m sb3_softac.report RUN [RUN ...]`` writes a page that needs no network."""

from sb3_softac.report.learning_curve import write_learning_curve
from sb3_softac.report.load import find_runs, load_run
from sb3_softac.report.page import write_report
from sb3_softac.report.rules import Finding, findings
from sb3_softac.report.run import Evaluations, Run

__all__ = [
    "Evaluations",
    "Finding",
    "Run",
    "find_runs",
    "findings",
    "load_run",
    "write_learning_curve",
    "write_report",
]
