import runpy
import sys

import pytest

from sb3_softac.zoo import __main__ as launcher


@pytest.fixture
def run_module(monkeypatch):
    """Calls of `runpy.run_module`, which runs nothing here, with the command line at that moment."""
    calls = []
    monkeypatch.setattr(runpy, "run_module", lambda name, **kwargs: calls.append((name, sys.argv[1:])))
    return calls


def test_runs_the_script_with_its_own_arguments(run_module, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["zoo", "train", "--algo", "softac"])
    launcher.main()
    assert run_module == [("rl_zoo3.train", ["--algo", "softac"])]


@pytest.mark.parametrize("arguments", [[], ["--algo", "softac"], ["benchmark"]])
def test_a_command_line_without_a_script_is_refused(arguments, run_module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["zoo", *arguments])
    with pytest.raises(SystemExit) as stopped:
        launcher.main()
    assert stopped.value.code not in {0, None}
    assert "train" in capsys.readouterr().out + str(stopped.value.code)
    assert run_module == []


def test_help(run_module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["zoo", "--help"])
    with pytest.raises(SystemExit) as stopped:
        launcher.main()
    assert stopped.value.code == 0
    assert "record_video" in capsys.readouterr().out


def test_every_script_exists():
    from importlib.util import find_spec

    assert all(find_spec(module) for module in launcher.SCRIPTS.values() if ".plots." not in module)


def test_without_rl_zoo3_it_says_what_to_install(run_module, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["zoo", "train"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"pip install 'sb3_softac\[zoo\]'"):
        launcher.main()
