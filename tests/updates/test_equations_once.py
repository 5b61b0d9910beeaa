"""Every equation of ``losses.py`` stands once in the package, and is used."""

import ast
from pathlib import Path

from sb3_softac.updates import losses

LOSSES = Path(losses.__file__)
PACKAGE = LOSSES.parents[1]


def shape(expression: ast.expr) -> str:
    """An expression with its variables numbered in the order of appearance."""
    text, names = ast.dump(expression), {}
    for node in ast.walk(expression):
        if isinstance(node, ast.Name):
            text = text.replace(f"id='{node.id}'", f"id='v{names.setdefault(node.id, len(names))}'")
    return text


def formulas(source: str) -> dict[str, str]:
    """Names of functions by the shapes of the expressions that they return, if these have three operations or more."""
    functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    returns = ((f.name, node.value) for f in functions for node in ast.walk(f) if isinstance(node, ast.Return))
    operations = (ast.BinOp, ast.Call, ast.UnaryOp)
    return {shape(v): name for name, v in returns if sum(isinstance(part, operations) for part in ast.walk(v)) >= 3}


def copies(source: str) -> list[str]:
    """Equations of ``losses.py`` whose formula stands in a source, whatever the names in it."""
    known = formulas(LOSSES.read_text())
    return [
        known[s] for node in ast.walk(ast.parse(source)) if isinstance(node, ast.expr) and (s := shape(node)) in known
    ]


def test_no_equation_is_written_twice():
    assert sorted(copies(LOSSES.read_text())) == sorted(formulas(LOSSES.read_text()).values())
    others = [path for path in PACKAGE.rglob("*.py") if path != LOSSES]
    assert {path.name: found for path in others if (found := copies(path.read_text()))} == {}


def test_a_copy_is_found_whatever_its_names():
    assert copies("def value(p, qs, lp, a):\n    return (p * (qs - a * lp)).sum(dim=-1)\n") == ["soft_value"]
    assert copies("def value(p, qs, lp, a):\n    return (p * (qs + a * lp)).sum(dim=-1)\n") == []


def test_every_equation_is_used():
    functions = {node.name for node in ast.parse(LOSSES.read_text()).body if isinstance(node, ast.FunctionDef)}
    equations = {name for name in functions if not name.startswith("_")}  # the others check shapes
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py") if path != LOSSES]
    used = {getattr(node, "attr", getattr(node, "id", None)) for tree in trees for node in ast.walk(tree)}
    assert equations - used == set()
