"""Output of measurements: files that are there whole or not at all, and tables in Markdown."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Columns = tuple[tuple[str, Callable[[Any], object]], ...]  #: of a table: the title and the cell of each


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def publish(stem: Path, result: dict[str, Any], text: str) -> None:
    """Write a result as JSON and as Markdown, and print the latter."""
    write_atomically(stem.with_suffix(".json"), json.dumps(result, indent=2) + "\n")
    write_atomically(stem.with_suffix(".md"), text)
    print(text)


def table(columns: Columns, rows: Iterable[Any]) -> str:
    """A table, from the title and the cell of each column."""
    return grid([title for title, _ in columns], ([cell(row) for _, cell in columns] for row in rows))


def grid(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table, from its cells."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *([str(cell) for cell in row] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def number(value: float, digits: int = 1) -> str:
    """A number as it reads in a table; ``-`` where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def bound(value: float, is_bound: bool) -> str:
    """A ratio, with a sign if it is this or less."""
    return f"<= {number(value, 2)}" if is_bound else number(value, 2)


def ratio_interval(ratio: dict[str, float]) -> str:
    """The median of ratios with its interval."""
    return interval(ratio["median"], ratio["low"], ratio["high"], 2)


def interval(value: float, low: float, high: float, digits: int = 1) -> str:
    """A value with its interval."""
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"
