"""The speed script on settings small enough to say nothing about speed."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch as th

from benchmarks import _machine, speed
from benchmarks._speed import output, pairs
from benchmarks._speed.case import Case, SyntheticEnv
from benchmarks._speed.child import measure_here, peak_memory_mib

TINY = [
    *("--contender", "sac", "--pairs", "2", "--warmup-pairs", "1", "--updates-per-block", "2"),
    *("--steps-per-block", "5", "--transitions", "300", "--width", "8", "--batch-size", "4"),
    *("--alone-steps", "20"),
]


@pytest.fixture(scope="module")
def result() -> dict:
    return speed.measure(speed.parser().parse_args([*TINY, "--repeats", "1", "--threads", "1", "9999"]))


def test_the_json_has_ratios_memory_machine_and_versions(result: dict, tmp_path: Path) -> None:
    paths = speed.write(result, tmp_path)
    stored = json.loads(paths[0].read_text())
    assert stored == result
    measured, skipped = stored["rounds"]
    for key in ("updates", "learn"):
        assert len(measured[key]["ratios"]) == 2
        ratio = measured[key]["ratio"]
        assert 0 < ratio["min"] <= ratio["q1"] <= ratio["median"] <= ratio["q3"] <= ratio["max"]
    assert "9999 threads" in skipped["skipped"]
    (alone,) = stored["alone"]
    assert alone["contender"]["peak_mib"] > alone["contender"]["peak_after_imports_mib"] > 50
    assert alone["reference"]["first_update_ms"] > 0
    assert stored["versions"]["torch"] == th.__version__
    assert stored["machine"]["cores"] == _machine.usable_cores()


def test_the_table_and_the_plot(result: dict, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _, table, plot = speed.write(result, tmp_path)
    text = table.read_text()
    assert "| 1 | updates/s |" in text
    assert "not measured: 9999 threads" in text
    assert "peak memory, MiB" in text
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_no_plot_and_no_error(result: dict, tmp_path: Path, monkeypatch, capsys) -> None:
    real_import = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert [path.suffix for path in speed.write(result, tmp_path)] == [".json", ".md"]
    assert "no plot" in capsys.readouterr().out


def test_the_script_runs_where_only_the_bare_requirements_are(tmp_path: Path) -> None:
    """All that stable-baselines3 and the extras would add is hidden from the child."""
    code = """
import sys
from importlib.machinery import PathFinder
hidden = "matplotlib pandas seaborn scipy tqdm rich yaml rl_zoo3 sb3_contrib rliable tensorboard".split()
find = PathFinder.find_spec
def find_others(name, path=None, target=None):
    return None if name.split(".")[0] in hidden else find(name, path, target)
PathFinder.find_spec = find_others
from benchmarks import speed
sys.exit(speed.main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", code, *TINY, "--threads", "1", "--repeats", "0", "--out", str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert "no plot" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"speed.json", "speed.md"}


def test_ratio_of_blocks_that_differ_twofold(monkeypatch) -> None:
    durations = {"fast": (1.0, 0.5), "slow": (2.0, 1.5)}
    order = []

    def fake_time(block: object, device: str) -> tuple[float, float]:
        order.append(block)
        return durations[block]

    monkeypatch.setattr(pairs, "_time", fake_time)
    measured = pairs.alternate("fast", "slow", pairs.Plan(pairs=4, warmup_pairs=1), size=10, device="cpu")
    assert measured["ratio"]["median"] == 2
    assert measured["cpu_time_ratio"]["median"] == 3
    assert measured["contender_per_second"]["median"] == 10
    assert measured["reference_per_second"]["median"] == 5
    assert order[2:] == ["fast", "slow", "slow", "fast"] * 2
    assert len(measured["ratios"]) == measured["pairs"] == 4


def test_a_measurement_that_takes_too_long_ends_early(monkeypatch) -> None:
    monkeypatch.setattr(pairs, "_time", lambda block, device: (1.0, 1.0))
    plan = pairs.Plan(pairs=100, warmup_pairs=0, seconds=0.0)
    assert pairs.alternate("ours", "theirs", plan, size=1, device="cpu")["pairs"] == 2


def test_the_number_of_threads_is_given_back() -> None:
    before = th.get_num_threads()
    plan = pairs.Plan(1, 0, 1, 1, 10)
    assert pairs.measure(Case(width=4, batch_size=2), "sac", "sac", plan, 1, {})["threads"] == 1
    assert th.get_num_threads() == before


def test_a_filled_agent_has_not_learned() -> None:
    model = Case(width=4).build_filled("sac", 20)
    assert model.replay_buffer.size() == 20
    assert model._n_updates == 0


def test_the_reference_is_built_with_its_own_defaults() -> None:
    model = Case().build("sac")
    assert model.batch_size == 256
    assert model.policy_kwargs["use_sde"] is False
    assert "net_arch" not in model.policy_kwargs


def test_the_synthetic_environment_ends_by_time_only() -> None:
    env = SyntheticEnv()
    assert env.reset(seed=0)[0].shape == (17,)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(1000)]
    assert ends[-1] == (False, True)
    assert set(ends[:-1]) == {(False, False)}


def test_memory_and_first_update_of_one_agent() -> None:
    before = th.get_num_threads()
    job = {
        "algo": "sac",
        "threads": before,
        "steps": 10,
        "arguments": {},
        "case": {"width": 4, "batch_size": 2},
    }
    measured = measure_here(job)
    assert measured["peak_mib"] >= measured["peak_after_imports_mib"] > 0
    assert measured["first_update_ms"] > 0
    assert peak_memory_mib() >= measured["peak_mib"] - 1.0  # the kernel counts in batches


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--contender nobody", "nobody"),
        ("--reference ppo", "ppo"),
        ("--pairs 0", "pairs"),
        ("--threads 0", "threads"),
        ("--set engine", "key=value"),
        ("--width 0", "width"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: str, named: str, capsys) -> None:
    assert speed.main([*TINY, *arguments.split()]) == 2
    assert named in capsys.readouterr().err


def test_a_spread_reads_from_the_middle_outwards() -> None:
    text = output._spread({"median": 2, "q1": 1.5, "q3": 2.5, "min": 1, "max": 3})
    assert text == "2.00 [1.50, 2.50] (1.00 to 3.00)"
