"""Versions and commit of a measurement."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks import _machine


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch) -> Path:
    """A checkout with one commit, which the module believes to be in."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    module = tmp_path / "benchmarks" / "_machine.py"
    for file in (module, module.parent / "results" / "runs.csv", tmp_path / "package.py"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("before")
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    for arguments in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(_machine, "__file__", str(module))
    return module


def test_versions_name_the_commit_and_whether_files_differ_from_it(checkout: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout.parent, capture_output=True, text=True, check=True)
    commit = _machine.versions()["commit"]
    assert len(commit) >= 7
    assert head.stdout.startswith(commit)
    (checkout.parent / "results" / "runs.csv").write_text("of an earlier measurement")
    assert _machine.versions()["commit"] == commit
    (checkout.parents[1] / "package.py").write_text("after")
    assert _machine.versions()["commit"] == f"{commit}-dirty"


def test_no_commit_is_named_outside_a_checkout(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(_machine, "__file__", str(tmp_path / "_machine.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "commit" not in _machine.versions()


def test_no_commit_is_named_without_git(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "commit" not in _machine.versions()
