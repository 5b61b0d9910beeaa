"""The scripts `speed` and `gpu` on settings small enough to say nothing about speed."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch as th

from benchmarks import gpu, speed
from benchmarks._output import ratio_interval
from benchmarks._speed import equality
from benchmarks._speed.case import Case, named_case
from benchmarks._speed.points import AXES

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *("--contenders", "softac-eager", "--pairs", "2", "--warmup-pairs", "0", "--block-seconds", "0.002"),
    *("--transitions", "20", "--repeats", "1", "--width", "8", "--batch-size", "4", "--threads", "1"),
]
HIDDEN = "matplotlib pandas seaborn scipy tqdm rich yaml rl_zoo3 sb3_contrib rliable tensorboard sbx"


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents in this process: starting one in its own takes seconds."""
    monkeypatch.setattr(speed, "starter", lambda options: gpu.start_here)
    before = th.get_num_threads()
    yield
    th.set_num_threads(before)


def run(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    assert speed.main([*TINY, "--out", str(tmp_path), *arguments]) == 0
    (written,) = tmp_path.glob("*.json")
    return json.loads(written.read_text())


@pytest.mark.usefixtures("in_process")
def test_the_comparison_has_ratios_start_up_machine_and_versions(tmp_path: Path) -> None:
    content = run(tmp_path, "--threads", "1", "9999")
    measured, skipped = content["points"]
    for key in ("updates", "learn"):
        found = measured["measures"][key]["contenders"]["softac-eager"]
        assert len(found["ratios"]) == found["pairs"] == 2
        assert 0 < found["ratio"]["min"] <= found["ratio"]["median"] <= found["ratio"]["max"]
    assert measured["startup"]["reference"]["first_update_ms"] > 0
    assert measured["versions"]["torch"] == th.__version__
    assert measured["machine"]["cores"] >= 1
    text = (tmp_path / "speed.md").read_text()
    assert "| threads 1 | 1 | updates/s | softac-eager |" in text
    assert "threads 9999: not measured, 9999 threads" in text
    assert "9999 threads" in skipped["skipped"]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["--sweep", "batch", "n_envs", "--quick"], {"sweep.json", "sweep.md", "sweep.png"}),
        (["--cases", "v1", "discrete"], {"cases.json", "cases.md", "cases.png"}),
        ([], {"speed.json", "speed.md", "speed.png"}),
    ],
)
def test_every_mode_writes_data_table_and_plot(tmp_path: Path, arguments: list[str], files: set[str]) -> None:
    pytest.importorskip("matplotlib")
    run(tmp_path, *arguments)
    assert {path.name for path in tmp_path.iterdir()} == files
    (plot,) = tmp_path.glob("*.png")
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("in_process")
def test_cases_are_compared_with_the_plain_path(tmp_path: Path) -> None:
    content = run(tmp_path, "--cases", "v1", "--contenders", "softac", "--set", "tau=0.01")
    (point,) = content["points"]
    settings = point["settings"]
    assert settings["reference"]["arguments"] == {"engine": "eager"}
    assert settings["case"]["arguments"] == {"variant": "v1"}
    assert settings["contenders"][0]["arguments"] == {"tau": 0.01}


@pytest.mark.usefixtures("in_process")
def test_a_second_run_measures_nothing_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(tmp_path)
    assert run(tmp_path) == first
    assert "measured before" in capsys.readouterr().out


@pytest.mark.usefixtures("in_process")
def test_without_matplotlib_there_is_no_plot_and_no_error(tmp_path: Path, monkeypatch, capsys) -> None:
    real_import = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith(("matplotlib", "benchmarks._speed.figures")):
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "benchmarks._speed.figures", raising=False)
    monkeypatch.delattr("benchmarks._speed.figures", raising=False)
    run(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md"}
    assert "no plot" in capsys.readouterr().out


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The variables of an interpreter, and of those it starts, that has nothing but the bare requirements."""
    (tmp_path / "sitecustomize.py").write_text(
        f"""
from importlib.machinery import PathFinder
hidden = {HIDDEN.split()!r}
find = PathFinder.find_spec
def find_others(name, path=None, target=None):
    return None if name.split(".")[0] in hidden else find(name, path, target)
PathFinder.find_spec = find_others
"""
    )
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}


def test_the_comparison_runs_where_only_the_bare_requirements_are(tmp_path: Path, bare: dict[str, str]) -> None:
    out = tmp_path / "out"
    contenders = ["--contenders", "softac-eager", "sbx"]
    command = [sys.executable, "-m", "benchmarks.speed", *TINY, *contenders, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=bare)
    assert done.returncode == 0, done.stderr
    assert "no plot" in done.stdout
    assert "left out: sbx: not installed" in done.stdout
    assert {path.name for path in out.iterdir()} == {"speed.json", "speed.md"}


def test_the_gpu_script_runs_where_only_the_bare_requirements_are(tmp_path: Path, bare: dict[str, str]) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--cases", "v2", "--width", "8"]
    command += ["--pairs", "1", "--updates", "1", "--threads", "1", "--seconds", "240", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=bare)
    assert done.returncode == 0, done.stderr
    content = json.loads((out / "gpu.json").read_text())
    assert content["equality"]["v2, cuda_graph"] == {"skipped": "cuda_graph needs a CUDA device"}
    found = content["points"]["v2"]["measures"]["updates"]["contenders"]
    assert {"softac", "softac-eager", "plain-sac"} <= set(found)
    assert "case v2" in (out / "gpu.md").read_text()
    assert set(content["acting"]["v2"]) == {"device_ms", "copy_ms", "transfer_ms"}
    assert "to bring the weights over" in (out / "gpu.md").read_text()


def test_what_fails_on_the_gpu_does_not_end_the_run_and_time_does(tmp_path: Path) -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError("out of memory")

    good = {"skipped": "not here"}
    content = gpu.run([("equality/a", fail), ("equality/b", lambda: good)], 100.0, tmp_path / "gpu.json")
    assert content["equality"] == {"b": good}
    assert "out of memory" in content["not_done"][0]
    content = gpu.run([("equality/b", lambda: good)], -1.0, tmp_path / "gpu.json")
    assert "no time left" in content["not_done"][0]
    assert json.loads((tmp_path / "gpu.json").read_text()) == content


def test_the_plain_path_equals_itself() -> None:
    compared = equality.compare("eager", Case(width=8, batch_size=8), updates=2)
    assert compared["equal"]
    assert set(compared["distances"].values()) == {0.0}
    assert len(compared["distances"]) == 5
    assert compared["draws_anew"] is True
    discrete = Case("synthetic-discrete", width=8, batch_size=8)
    assert equality.compare("eager", discrete, updates=1)["draws_anew"] is None


@pytest.mark.parametrize(("name", "value"), [("tau", 0.01), ("gamma", 0.9), ("q_reduction", "mean")])
def test_an_engine_that_makes_other_updates_is_found(monkeypatch, name: str, value: object) -> None:
    real = equality._filled

    def filled(contender: str, case: Case) -> Any:
        model = real("softac-eager", case)
        if contender == "softac-fused":
            setattr(model, name, value)
        return model

    monkeypatch.setattr(equality, "_filled", filled)
    compared = equality.compare("fused", named_case("v2", "cpu"), updates=3)
    assert compared["distances"]["as built"] > equality.TOLERANCE
    assert not compared["equal"]
    assert "DIFFERENT" in gpu._verdict(compared)


def test_noise_that_repeats_itself_is_found(monkeypatch) -> None:
    case = Case(width=8, batch_size=8)
    model = equality._filled("softac-eager", case)
    with equality.fixed_noise():
        assert equality.draws_anew(model, 8) is False


def test_the_noise_is_the_same_for_rows_drawn_together_or_apart() -> None:
    with equality.fixed_noise():
        together, apart = th.randn(4, 1, 3), th.randn((2, 1, 3))
        assert th.equal(together[:2], apart)
        assert th.equal(th.randn_like(apart), apart)
        assert th.equal(th.empty(2, 3).normal_(), apart[:, 0])
        assert th.equal(th.distributions.Normal(th.zeros(2, 3), th.ones(2, 3)).rsample(), apart[:, 0])
    assert not th.equal(th.randn(2, 1, 3), apart)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--contenders nobody", "nobody"),
        ("--reference ppo", "ppo"),
        ("--pairs 0", "pairs"),
        ("--threads 0", "threads"),
        ("--set engine", "key=value"),
        ("--width 0", "width"),
        ("--sweep depth", "depth"),
        ("--cases v3", "v3"),
        ("--sweep --cases", "one at a time"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: str, named: str, capsys) -> None:
    assert speed.main([*TINY, *arguments.split()]) == 2
    assert named in capsys.readouterr().err


def test_an_unknown_case_on_the_gpu_is_one_line_and_exit_code_2(tmp_path: Path, capsys) -> None:
    assert gpu.main(["--cases", "v3", "--out", str(tmp_path)]) == 2
    assert "v3" in capsys.readouterr().err


def test_what_is_measured_by_default() -> None:
    def points(*arguments: str) -> list[Any]:
        return speed.check(speed.parser().parse_args(list(arguments)))[1]

    comparison = points()
    assert [point.threads for point in comparison] == [1, 2]
    assert [c.name for c in comparison[0].contenders] == ["softac", "softac-eager", "softac-bfloat16", "sbx"]
    assert len(points("--quick")) == 1
    assert len(points("--sweep")) == sum(len(values) for _, _, values in AXES.values())
    assert {point.reference.name for point in points("--cases")} == {"softac-eager"}


def test_an_interval_reads_from_the_middle_outwards() -> None:
    assert ratio_interval({"median": 2, "low": 1.5, "high": 2.5}) == "2.00 [1.50, 2.50]"
