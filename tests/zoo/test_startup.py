"""The start-up file, on a stand-in for rl_zoo3: what it finds, and what happens when that goes wrong."""

import importlib
import inspect
import subprocess
import sys
import warnings
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

import sb3_softac.zoo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A package with a module `utils`, importable for the test only."""
    package = tmp_path / "stand_in_zoo"
    package.mkdir()
    (package / "__init__.py").write_text("from stand_in_zoo import utils\n")
    (package / "utils.py").write_text("ALGOS = {'sac': 1}\n\n\ndef answer():\n    return 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "stand_in_zoo.utils"
    for name in ("stand_in_zoo.utils", "stand_in_zoo"):
        sys.modules.pop(name, None)


@pytest.fixture
def extended(hook, stand_in, monkeypatch) -> list[ModuleType]:
    """Modules that the hook handed to `sb3_softac.zoo.extend`, with the stand-in as its target."""
    modules: list[ModuleType] = []
    monkeypatch.setattr(hook, "TARGETS", frozenset({stand_in}))
    monkeypatch.setattr(sb3_softac.zoo, "extend", modules.append)
    return modules


def test_hands_over_the_executed_module(hook, stand_in, extended):
    hook.install()
    module = importlib.import_module(stand_in)
    assert extended == [module]
    assert module.ALGOS == {"sac": 1}


def test_leaves_the_module_as_an_ordinary_import_does(hook, stand_in, extended):
    hook.install()
    module = importlib.import_module(stand_in)
    assert type(module.__loader__) is SourceFileLoader
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__
    assert "return 42" in inspect.getsource(module.answer)


def test_extends_again_on_reload(hook, stand_in, extended):
    hook.install()
    module = importlib.import_module(stand_in)
    importlib.reload(module)
    assert extended == [module, module]


def test_finds_nothing_else(hook, extended):
    hook.install()
    assert sys.meta_path[0].find_spec("json") is None
    assert sys.meta_path[0].find_spec("stand_in_zoo") is None
    assert extended == []


def test_a_missing_target_stays_missing(hook, monkeypatch):
    monkeypatch.setattr(hook, "TARGETS", frozenset({"no_such_zoo"}))
    hook.install()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_zoo")


def test_install_and_uninstall_are_idempotent(hook):
    before = list(sys.meta_path)
    hook.install()
    hook.install()
    assert len(sys.meta_path) == len(before) + 1
    hook.uninstall()
    hook.uninstall()
    assert sys.meta_path == before


@pytest.mark.parametrize(("value", "is_installed"), [("0", False), ("1", True), ("", True)])
def test_opt_out(hook, monkeypatch, value, is_installed):
    monkeypatch.setenv("SB3_SOFTAC_ZOO_HOOK", value)
    before = len(sys.meta_path)
    hook.install()
    assert len(sys.meta_path) - before == is_installed


def test_an_error_becomes_one_warning_and_removes_the_hook(hook, stand_in, extended, monkeypatch):
    def broken(module):
        raise RuntimeError("unknown version of rl_zoo3")

    monkeypatch.setattr(sb3_softac.zoo, "extend", broken)
    hook.install()
    with pytest.warns(RuntimeWarning, match="SB3_SOFTAC_ZOO_HOOK=0") as caught:
        module = importlib.import_module(stand_in)
    assert len(caught) == 1
    assert module.answer() == 42
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(module)


def test_two_hooks_of_two_packages_do_not_call_each_other_for_ever(hook, stand_in, extended):
    calls = []

    class Other:
        """Written as ours, by somebody else."""

        @classmethod
        def find_spec(cls, name, path=None, target=None):
            if name != stand_in:
                return None
            calls.append(name)
            for finder in sys.meta_path[sys.meta_path.index(cls) + 1 :]:
                if spec := finder.find_spec(name, path, target):
                    return spec
            return None

    for first in (True, False):
        hook.install()
        sys.meta_path.insert(0 if first else 1, Other)
        try:
            module = importlib.import_module(stand_in)
        finally:
            sys.meta_path.remove(Other)
            hook.uninstall()
        assert calls == [stand_in]
        assert extended == [module]
        calls.clear()
        extended.clear()
        del sys.modules[stand_in]


def test_start_up_imports_nothing_but_itself():
    """The line brings one module into a started interpreter."""
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT / 'startup')!r}); before = set(sys.modules)\n"
        f"{(ROOT / 'startup' / 'sb3_softac_zoo.pth').read_text()}\n"
        "print(set(sys.modules) - before)"
    )
    # -S: with site, the installed start-up file would have been imported before.
    command = [sys.executable, "-I", "-S", "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "{'_sb3_softac_zoo'}"


def test_both_start_up_files_call_the_same_function():
    import_line = (ROOT / "startup" / "sb3_softac_zoo.pth").read_text()
    entry = (ROOT / "startup" / "sb3_softac_zoo.start").read_text().strip()
    module, function = entry.split(":")
    assert import_line == f"import {module}; {module}.{function}()\n"
