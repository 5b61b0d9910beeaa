"""Which module imports which, from floor to floor and never in a circle; and what every test is like."""

import ast
import itertools
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import sb3_softac

ROOT = Path(__file__).resolve().parents[1]
#: The rooms of the package, from the top floor down: folders, and modules that stand alone. A room imports from floors
#: below its own, and from nothing beside itself.
FLOORS = (
    {"zoo"},
    {"diagnostics", "export", "report"},
    {"__init__", "hub"},
    {"softac"},
    {"saved_algorithm"},
    {"distributed", "exporting", "offline"},
    {"engines", "collecting", "saving"},
    {"policies", "updates"},
    {"networks", "buffers", "callbacks"},
    {"settings", "wrappers", "evaluation"},
    {"spaces", "version", "presets"},
)
#: those that stand beside the rooms that an agent is made of
BESIDE = {"zoo", "diagnostics", "export", "__init__", "callbacks", "wrappers", "evaluation", "report", "version"}
BESIDE |= {"presets", "hub"}
FLOOR_OF = {room: len(FLOORS) - number for number, rooms in enumerate(FLOORS) for room in rooms}


def module_of(path: Path) -> str:
    """The name by which a file is imported."""
    *folders, last = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(folders if last == "__init__" else [*folders, last])


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imported_by(path: Path) -> set[tuple[str, str]]:
    """What a file imports, be it in a function or under TYPE_CHECKING: modules, and names of them or nothing."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import, which this test does not read"
            found |= {(str(node.module), alias.name) for alias in node.names}
    return found


MODULES = {module_of(path): path for path in (ROOT / "sb3_softac").rglob("*.py")}


def imports_in_package(path: Path) -> set[str]:
    """Modules of the package. Not the folders in which they are, though Python runs those first."""
    names = {f"{module}.{name}" if f"{module}.{name}" in MODULES else module for module, name in imported_by(path)}
    return names & MODULES.keys()


GRAPH = {module: imports_in_package(path) for module, path in MODULES.items()}


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def test_every_room_has_a_floor():
    assert {room_of(module) for module in MODULES} == FLOOR_OF.keys()


def test_the_map_of_the_package_shows_these_floors():
    floors: list[set[str]] = []
    for number, room in re.findall(r"^(\d\.|  ) ``(\w+)``:", str(sb3_softac.__doc__), re.MULTILINE):
        floors = [*floors, {room}] if number.strip() else [*floors[:-1], floors[-1] | {room}]
    assert floors == [rooms - BESIDE for rooms in FLOORS if rooms - BESIDE]


def test_no_modules_import_each_other_in_a_circle():
    order = list(TopologicalSorter(GRAPH).static_order())  # a circle would be an error that names it
    assert len(order) == len(MODULES) > 50


def test_imports_between_rooms_go_down():
    up = {
        f"{module} -> {other}"
        for module, others in GRAPH.items()
        for other in others
        if room_of(other) != room_of(module) and FLOOR_OF[room_of(other)] >= FLOOR_OF[room_of(module)]
    }
    assert up == set()


def test_no_test_imports_another_test():
    """What tests share is in `helpers.py`, `configurations.py` and `engines/replays.py`."""
    found = {
        f"{module_of(path)} -> {module}.{name}"
        for path in (ROOT / "tests").rglob("*.py")
        for module, name in imported_by(path)
        if module.startswith("tests") and re.search(r"(^|\.)(test_|conftest)", f"{module}.{name}")
    }
    assert found == set()


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in nodes_of(path) if isinstance(node, ast.FunctionDef)]


def called_by(function: ast.FunctionDef) -> set[str]:
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls}


def test_every_test_asserts():
    """By itself, by `pytest.raises` or the like, or by a helper of a name that does."""
    tests = {path: functions(path) for path in (ROOT / "tests").rglob("*.py")}
    asserting = {"raises", "warns", "assert_close", "assert_allclose", "assert_array_equal", "fail"}
    asserting |= {"import_module"}  # that a module can be imported
    for _ in range(3):  # helpers call helpers
        asserting |= {
            each.name
            for each in itertools.chain(*tests.values())
            if called_by(each) & asserting or any(isinstance(node, ast.Assert) for node in ast.walk(each))
        }
    names = {f"{path.name}: {each.name}" for path, own in tests.items() for each in own if each.name not in asserting}
    assert {name for name in names if ": test_" in name} == set()


def test_no_test_calls_another_test():
    calls = {each.name: called_by(each) for path in (ROOT / "tests").rglob("*.py") for each in functions(path)}
    assert {name: called for name, called in calls.items() if any(map(re.compile("test_").match, called))} == {}
