"""How much code each variant has of its own, and which equations it shares with the others.

    python -m benchmarks.code_size

Trains every variant for a moment and notes which functions of ``updates/losses.py`` ran; counts lines of code, without
blank lines, comments and docstrings; and looks through the package for an equation that is written twice.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sb3_softac
from benchmarks._output import Columns, grid, table, write_atomically
from sb3_softac import SoftAC
from sb3_softac.updates import losses

RESULTS = Path(__file__).resolve().parent / "results" / "code_size.md"
PACKAGE = Path(sb3_softac.__file__).resolve().parent
LOSSES = Path(losses.__file__).resolve()

BOX, DISCRETE = "Pendulum-v1", "CartPole-v1"
SCORE = {"actor_gradient": "score_function", "n_action_samples": 2}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "v1": (BOX, {"variant": "v1"}),
    "v2": (BOX, {}),
    "v1, Discrete": (DISCRETE, {"variant": "v1"}),
    "v2, Discrete": (DISCRETE, {}),
    "v2, mixture": (BOX, {"policy_kwargs": {"n_components": 2}}),
    "v2, score function": (BOX, SCORE),
    "its leave-one-out": (BOX, SCORE | {"baseline": "leave_one_out"}),
    "v2, REDQ": (BOX, {"policy_kwargs": {"n_critics": 3}, "n_target_critics": 2}),
    "options of Discrete": (DISCRETE, {"q_reduction": "mean", "q_target_clip": 0.5}),
}
# What exists for one variant alone: a file, or classes and functions of a file.
OWN: dict[str, dict[str, tuple[str, ...]]] = {
    "v1": {
        "updates/v1.py": (),
        "updates/factory.py": ("_make_v1",),
        "updates/actor_gradient.py": ("state_value",),
        "updates/losses.py": ("value_loss",),
        "networks/critics.py": ("ValueNetwork",),
    },
    "v2": {"updates/v2.py": (), "updates/factory.py": ("_make_v2",), "updates/losses.py": ("clipped_critic_loss",)},
    "Discrete and MultiDiscrete": {
        "networks/categorical_actor.py": (),
        "networks/discrete.py": (),
        "networks/critics.py": ("DiscreteCritic", "OneHotCritic"),
        "networks/distributions.py": ("masked_log_softmax",),
        "updates/losses.py": ("mean_q",),
    },
    "action masks of the environment": {"wrappers.py": ()},
    "score function": {
        "updates/actor_gradient.py": ("ScoreFunction", "no_baseline", "leave_one_out", "estimated_state_value"),
        "updates/factory.py": ("_make_baseline",),
        "updates/losses.py": ("score_function_actor_loss", "leave_one_out_baseline"),
    },
    "mixture": {"networks/mixture_actor.py": (), "networks/distributions.py": ("mixture_log_prob",)},
}


def main() -> None:
    """Write `code_size.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    text = report({name: losses_used(env, **kwargs) for name, (env, kwargs) in VARIANTS.items()})
    write_atomically(out, text)
    print(text)


def losses_used(env: str, **kwargs: Any) -> set[str]:
    """Names of the functions of ``losses.py`` that run while an agent trains.

    :param env: Gymnasium id
    :param kwargs: arguments of SoftAC
    """
    policy_kwargs = {"net_arch": [8], **kwargs.pop("policy_kwargs", {})}
    small = {"learning_starts": 8, "batch_size": 8, "buffer_size": 100, "policy_kwargs": policy_kwargs}
    model = SoftAC("MlpPolicy", env, seed=0, device="cpu", **small, **kwargs)
    seen: set[str] = set()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename == str(LOSSES):
            seen.add(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        model.learn(10)
    finally:
        sys.setprofile(before)
    return seen & set(definitions(LOSSES))


def definitions(path: Path) -> dict[str, ast.AST]:
    """Classes and functions at the top of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}


def code_lines(path: Path) -> set[int]:
    """Numbers of the lines with code: no blank ones, comments or docstrings."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    with tokenize.open(path) as stream:
        tokens = [token for token in tokenize.generate_tokens(stream.readline) if token.type not in skipped]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        first = getattr(node, "body", [None])
        if isinstance(first, list) and first and _is_docstring(first[0]):
            lines -= set(range(first[0].lineno, first[0].end_lineno + 1))
    return lines


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def count(path: Path, names: tuple[str, ...] = ()) -> int:
    """Lines of code of a file, or of some of its classes and functions.

    :raises ValueError: a name that the file does not define
    """
    lines, found = code_lines(path), definitions(path)
    missing = set(names) - set(found)
    if missing:
        raise ValueError(f"{path.name} does not define {', '.join(sorted(missing))}; bring OWN up to date.")
    if not names:
        return len(lines)
    return sum(len(lines & set(range(found[n].lineno, found[n].end_lineno + 1))) for n in names)  # type: ignore[attr-defined]


def written_twice(files: list[Path] | None = None) -> list[str]:
    """Equations of ``losses.py`` whose formula stands elsewhere, too, whatever the names in it.

    :param files: where to look; without it, the whole package
    """
    formulas = {
        shape(node.value): name
        for name, definition in definitions(LOSSES).items()
        for node in ast.walk(definition)
        if isinstance(node, ast.Return) and node.value is not None and _operations(node.value) >= 3
    }
    found = []
    for path in files or sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = formulas.get(shape(node)) if isinstance(node, ast.expr) else None
            if name and not _is_own(path, name, node):
                found.append(f"{name}: {path.name}, line {node.lineno}")  # type: ignore[attr-defined]
    return found


def shape(node: ast.AST) -> str:
    """An expression with its variables numbered in the order of appearance."""
    numbers: dict[str, int] = {}

    def rename(match: ast.AST) -> ast.AST:
        if isinstance(match, ast.Name):
            return ast.Name(f"v{numbers.setdefault(match.id, len(numbers))}", ast.Load())
        return type(match)(**{key: _each(value, rename) for key, value in ast.iter_fields(match)})

    return ast.dump(rename(node))


def _each(value: Any, function: Callable[[ast.AST], ast.AST]) -> Any:
    if isinstance(value, list):
        return [_each(item, function) for item in value]
    return function(value) if isinstance(value, ast.AST) else value


def _operations(node: ast.AST) -> int:
    return sum(isinstance(part, (ast.BinOp, ast.Call, ast.UnaryOp)) for part in ast.walk(node))


def _is_own(path: Path, name: str, node: Any) -> bool:
    definition: Any = definitions(path).get(name) if path == LOSSES else None
    return definition is not None and definition.lineno <= node.lineno <= definition.end_lineno


def report(used: dict[str, set[str]]) -> str:
    """The tables.

    :param used: by variant, the functions of ``losses.py`` that it runs
    """
    return "\n".join([*_losses_table(used), *_own_table(), *_duplicates()]) + "\n"


def _losses_table(used: dict[str, set[str]]) -> Iterator[str]:
    names = list(definitions(LOSSES))
    yield "# Lines of code\n\nWithout blank lines, comments and docstrings. Made by `python -m benchmarks.code_size`.\n"
    yield f"## The equations: `updates/losses.py`, {count(LOSSES)} lines\n"
    yield "A cross: this variant ran the function while it trained.\n"
    marks = {name: ["x" if name in functions else "" for functions in used.values()] for name in names}
    yield grid(("", "lines", *used), ((f"`{name}`", count(LOSSES, (name,)), *marks[name]) for name in names))


def _lines_of(places: dict[str, tuple[str, ...]]) -> int:
    return sum(count(PACKAGE / file, names) for file, names in places.items())


def _where(places: dict[str, tuple[str, ...]]) -> str:
    return "; ".join(file + (f" ({', '.join(names)})" if names else "") for file, names in places.items())


OWN_COLUMNS: Columns = (
    ("", lambda item: item[0]),
    ("lines", lambda item: _lines_of(item[1])),
    ("where", lambda item: _where(item[1])),
)


def _own_table() -> Iterator[str]:
    total = sum(count(path) for path in PACKAGE.rglob("*.py"))
    yield f"## What a variant has of its own, of {total} lines in the package\n"
    yield table(OWN_COLUMNS, OWN.items())


def _duplicates() -> Iterator[str]:
    yield "## Equations written twice\n"
    twice = written_twice()
    yield from [f"- {line}" for line in twice] or ["None."]


if __name__ == "__main__":
    main()
