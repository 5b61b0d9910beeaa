"""Every equation of ``losses.py``, ``distributional.py`` and ``stein.py`` stands once in the package, and is used."""

import ast
import functools
from pathlib import Path

import pytest

from sb3_softac.updates import distributional, losses, stein

EQUATIONS = [Path(module.__file__) for module in (losses, distributional, stein)]
PACKAGE = EQUATIONS[0].parents[1]
every_file = pytest.mark.parametrize("file", EQUATIONS, ids=lambda path: path.name)


def shape(expression: ast.expr) -> str:
    """An expression with its variables numbered in the order of appearance."""
    text, names = ast.dump(expression), {}
    for node in ast.walk(expression):
        if isinstance(node, ast.Name):
            text = text.replace(f"id='{node.id}'", f"id='v{names.setdefault(node.id, len(names))}'")
    return text


OPERATIONS = (ast.BinOp, ast.Call, ast.UnaryOp)


def is_formula(expression: ast.expr) -> bool:
    """Whether an expression has three operations or more."""
    return sum(isinstance(part, OPERATIONS) for part in ast.walk(expression)) >= 3


def formulas(source: str) -> dict[str, str]:
    """Names of functions by the shapes of the formulas that they return."""
    functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    returns = ((f.name, node.value) for f in functions for node in ast.walk(f) if isinstance(node, ast.Return))
    return {shape(value): name for name, value in returns if is_formula(value)}


@functools.cache
def shapes(source: str) -> list[str]:
    """Shapes of all formulas in a source."""
    expressions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.expr))
    return [shape(each) for each in expressions if is_formula(each)]


def copies(source: str, file: Path) -> list[str]:
    """Equations of a file whose formula stands in a source, whatever the names in it."""
    known = formulas(file.read_text())
    return [known[each] for each in shapes(source) if each in known]


@every_file
def test_no_equation_is_written_twice(file):
    assert sorted(copies(file.read_text(), file)) == sorted(formulas(file.read_text()).values())
    others = [path for path in PACKAGE.rglob("*.py") if path != file]
    assert {path.name: found for path in others if (found := copies(path.read_text(), file))} == {}


def test_a_copy_is_found_whatever_its_names():
    (file, *_) = EQUATIONS
    copy = "def value(p, qs, lp, a):\n    return (p * (qs - a * lp)).sum(dim=-1)\n"
    assert copies(copy, file) == ["soft_value"]
    assert copies(copy.replace("-", "+", 1), file) == []


@every_file
def test_every_equation_is_used(file):
    functions = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py") if path != file]
    used = {getattr(node, "attr", getattr(node, "id", None)) for tree in trees for node in ast.walk(tree)}
    assert functions - used == set()
