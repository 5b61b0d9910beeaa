"""Docstrings name their subject in the first word: a reader looks them up one by one, and not in the order of the file.

That public modules, classes and functions have a docstring is what ruff checks (rules D100 to D104).
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "sb3_softac"
WITHOUT_SUBJECT = re.compile(r"\W*(What|Those|These|The same|It|Whose|Where|As|How)\b")


def docstrings(source: str) -> Iterator[tuple[str, str]]:
    """Name and docstring of the module and of each of its classes and functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield getattr(node, "name", "module"), ast.get_docstring(node) or ""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_name_their_subject_first(path):
    found = [
        f"{name}: {text.splitlines()[0]}"
        for name, text in docstrings(path.read_text(encoding="utf-8"))
        if WITHOUT_SUBJECT.match(text)
    ]
    assert found == []


@pytest.mark.parametrize("first", ["What a graph holds.", "The same, detached.", "``As`` before.", "It steps."])
def test_sentences_without_a_subject_are_found(first):
    (name, text), *_ = docstrings(f'"""{first}"""')
    assert name == "module"
    assert WITHOUT_SUBJECT.match(text)


@pytest.mark.parametrize("first", ["Items of a batch.", "Assign slots.", "The sameness of two graphs."])
def test_sentences_with_a_subject_are_left_alone(first):
    assert not WITHOUT_SUBJECT.match(first)
