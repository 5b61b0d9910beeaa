"""A few cells of a large table of options that find what the whole table would: a covering array."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any


def covering(cells: Sequence[tuple[Any, ...]], strength: int = 2) -> list[tuple[Any, ...]]:
    """Some of the cells, so that all values that stand together in any cell stand together in one of these.

    Most faults need two options to show, few need three: D. R. Kuhn, D. R. Wallace, A. M. Gallo, "Software fault
    interactions and implications for software testing", 2004.

    :param cells: all that are allowed, a value for each option
    :param strength: how many values stand together: 2 for pairs
    """
    groups = {cell: set(combinations(enumerate(cell), strength)) for cell in cells}
    missing, chosen = set().union(*groups.values()), []
    while missing:
        chosen.append(max(cells, key=lambda cell: len(groups[cell] & missing)))
        missing -= groups[chosen[-1]]
    return chosen
