"""The benchmarks of speed: agents here and in processes, and the scripts, small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from benchmarks import gpu, speed
from benchmarks._speed import agent as agents
from benchmarks._speed import child, equality, points, store
from benchmarks._speed.agent import Agent, peak_memory_mib
from benchmarks._speed.case import CASES, Case, named_case
from benchmarks._speed.contenders import RefusedError, default_names, named
from benchmarks._speed.envs import SPACES, SyntheticEnv
from benchmarks._speed.pairs import Plan
from benchmarks._speed.points import AXES, Point

ROOT = Path(__file__).resolve().parents[2]
SMALL = Case(width=8, batch_size=4)
PLAN = Plan(pairs=2, warmup_pairs=0, block_seconds=0.005, transitions=20, repeats=1)
TINY = [
    *("--contenders", "softac-eager", "--pairs", "2", "--warmup-pairs", "0", "--block-seconds", "0.002"),
    *("--transitions", "20", "--repeats", "1", "--width", "8", "--batch-size", "4", "--threads", "1"),
]
REFUSING = named("softac", {"no_such_argument": 1})
pytestmark = pytest.mark.usefixtures("torch_threads")


@pytest.fixture(autouse=True)
def few_first_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "N_FIRST_UPDATES", 3)


def here(contender: object, case: Case, transitions: int, threads: int) -> Agent:
    return Agent(contender, case, transitions)


def point(**changes: object) -> Point:
    given = {"axis": "threads", "value": 1, "case": SMALL, "threads": 1, "reference": named("sac")}
    return Point(**{**given, "contenders": (named("softac-eager"),), **changes})


def test_the_reference_has_its_own_defaults_and_sizes_reach_the_networks() -> None:
    model = Case().build(SAC, {})
    assert model.batch_size == 256
    assert not {"net_arch", "n_critics"} & set(model.policy_kwargs)
    model = Case(width=8, critics=3, n_envs=2).build(SAC, {})
    assert len(model.critic.q_networks) == 3
    assert model.critic.q_networks[0][0].out_features == 8
    assert (model.n_envs, model.gradient_steps) == (2, -1)


@pytest.mark.parametrize("name", SPACES)
def test_synthetic_environments_end_by_time_only(name: str) -> None:
    env = SyntheticEnv(name)
    assert env.observation_space.contains(env.reset(seed=0)[0])
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(1000)]
    assert ends[-1] == (False, True)
    assert set(ends[:-1]) == {(False, False)}


@pytest.mark.parametrize("name", [name for name in CASES if name != "layer-norm"])
def test_every_case_trains(name: str) -> None:
    agent = Agent(named("softac-eager"), Case(**{**vars(named_case(name, "cpu")), "width": 8, "batch_size": 2}), 3)
    agent.fill()
    agent.updates(1)
    assert agent.model._n_updates == 1


def test_a_filled_agent_has_not_learned_and_holds_at_least_a_batch() -> None:
    agent = Agent(named("sac"), Case(width=4, batch_size=30), 20)
    agent.fill()
    assert (agent.model.replay_buffer.size(), agent.model._n_updates) == (30, 0)


def test_steps_are_counted_in_transitions() -> None:
    agent = Agent(named("sac"), Case(width=4, batch_size=2, n_envs=4), 8)
    agent.startup()
    before = agent.model._n_updates
    assert agent.learn(6)["count"] == 8
    assert agent.model._n_updates - before == 8


def test_memory_and_first_update_of_one_agent() -> None:
    measured = Agent(named("sac"), SMALL, 10).startup()
    assert measured["peak_mib"] >= measured["peak_after_imports_mib"] > 50
    assert measured["first_update_ms"] > 0
    assert measured["slowest_later_ms"] >= measured["later_update_ms"] > 0
    assert peak_memory_mib() >= measured["peak_mib"] - 1.0  # the kernel counts in batches


def test_who_cannot_take_part_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedError, match="softac: refused"):
        Agent(REFUSING, SMALL, 10)
    monkeypatch.setitem(sys.modules, "sbx", None)
    with pytest.raises(RefusedError, match="sbx: not installed"):
        named("sbx").load()


def test_names_carry_engine_and_precision() -> None:
    assert named("softac-fused", {"variant": "v1"}).arguments == {"variant": "v1", "engine": "fused"}
    assert named("softac-bfloat16").arguments == {"precision": "bfloat16"}
    assert named("sac", {"variant": "v1"}).arguments == named("plain-sac", {"variant": "v1"}).arguments == {}
    assert "plain-sac" in default_names("cuda")
    assert "plain-sac" not in default_names("cpu")
    for unknown in ("nobody", "ppo", "softac-steam", "sac-eager"):
        with pytest.raises(ValueError, match=unknown):
            named(unknown)


def test_the_plain_contender_makes_the_updates_of_sb3() -> None:
    """From the same weights, batches and noise. Adam does not see that one critic loss is twice the other."""
    theirs, plain = (Agent(named(name), Case(width=16, batch_size=32), 200) for name in ("sac", "plain-sac"))
    theirs.fill()
    plain.fill()
    theirs, plain = theirs.model, plain.model
    theirs.set_logger(Logger(folder=None, output_formats=[]))
    plain.replay_buffer = theirs.replay_buffer
    networks = {
        "actor": (plain.actor, theirs.actor),
        "critics": (plain.critics, theirs.critic),
        "targets": (plain.targets, theirs.critic_target),
    }
    for ours, other in networks.values():
        for weight, source in zip(ours.parameters(), other.parameters(), strict=True):
            weight.data.copy_(source.data)

    def weights(index: int) -> dict[str, th.Tensor]:
        return {k: th.cat([w.detach().flatten() for w in both[index].parameters()]) for k, both in networks.items()}

    start = weights(0)
    with equality.fixed_noise():
        for model in (theirs, plain):
            np.random.seed(0)  # noqa: NPY002
            model.train(gradient_steps=5, batch_size=32)
    assert equality.distance(weights(0), weights(1), start) < 1e-2
    assert plain.log_alpha.item() == pytest.approx(theirs.log_ent_coef.item(), rel=1e-3)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_a_child_works_on_as_many_cores_as_threads_and_passes_a_refusal_on() -> None:
    agent = child.ChildAgent(named("sac"), SMALL, 10, threads=1)
    try:
        assert len(os.sched_getaffinity(agent._process.pid)) == 1
        agent.call("startup")
        assert agent.call("updates", count=3)["count"] == 3
        with pytest.raises(RuntimeError, match="no_such_method"):
            agent.call("no_such_method")
    finally:
        agent.close()
    assert agent._process.returncode is not None
    with pytest.raises(RefusedError, match="no_such_argument"):
        child.ChildAgent(REFUSING, SMALL, 10, threads=1)


def test_who_refuses_is_named_and_the_others_are_measured() -> None:
    measured = points.measure(point(contenders=(REFUSING, named("softac-eager"))), PLAN, here)
    assert "refused" in measured["refused"]["softac"]
    assert list(measured["measures"]["updates"]["contenders"]) == ["softac-eager"]
    assert measured["startup"]["reference"]["first_update_ms"] > 0
    assert "refused" in points.measure(point(reference=REFUSING), PLAN, here)["skipped"]
    assert "9999 threads" in points.measure(point(threads=9999), PLAN, here)["skipped"]


def test_a_sweep_varies_one_size_at_a_time() -> None:
    swept = points.sweep(list(AXES), point())
    assert [p.case.batch_size for p in swept if p.axis == "batch"] == [64, 128, 256, 512, 1024, 2048, 4096]
    assert {p.case.batch_size for p in swept if p.axis != "batch"} == {4}
    assert [p.threads for p in swept if p.axis == "threads"] == [1, 2]
    assert {p.measures for p in swept if p.axis == "n_envs"} == {("learn",)}
    with pytest.raises(ValueError, match="depth"):
        points.sweep(["depth"], point())


def test_stored_points_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def measure(wanted: Point, plan: Plan, start: object) -> dict:
        done.append(wanted.value)
        if len(done) == 3:
            raise KeyboardInterrupt
        return {"settings": wanted.settings(plan), "measures": {}}

    monkeypatch.setattr(store, "measure", measure)
    path = tmp_path / "sweep.json"
    wanted = [point(axis="batch", value=value) for value in (64, 128, 256)]
    with pytest.raises(KeyboardInterrupt):
        store.run(wanted, PLAN, here, path)
    assert [p["settings"]["value"] for p in json.loads(path.read_text())["points"]] == [64, 128]
    store.run(wanted, PLAN, here, path)
    assert done == [64, 128, 256, 256]
    # Other settings at the same place replace, another axis joins.
    store.run([point(axis="batch", value=64, case=Case()), point(axis="width", value=8)], PLAN, here, path)
    settings = [p["settings"] for p in store.read(path)["points"]]
    assert [(s["axis"], s["value"]) for s in settings] == [("batch", 64), ("batch", 128), ("batch", 256), ("width", 8)]
    assert settings[0]["case"]["batch_size"] == 256
    store.run(wanted[:1], PLAN, here, path, force=True)
    assert done[4:] == [64, 8, 64]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents in this process: starting one in its own takes seconds."""
    monkeypatch.setattr(speed, "starter", lambda options: gpu.start_here)


def run(out: Path, *arguments: str) -> dict[str, Any]:
    assert speed.main([*TINY, "--out", str(out), *arguments]) == 0
    (written,) = out.glob("*.json")
    return json.loads(written.read_text())


@pytest.mark.usefixtures("in_process")
def test_the_comparison_has_ratios_start_up_machine_and_versions(tmp_path: Path, capsys) -> None:
    content = run(tmp_path, "--threads", "1", "9999")
    measured, skipped = content["points"]
    for key in ("updates", "learn"):
        found = measured["measures"][key]["contenders"]["softac-eager"]
        assert len(found["ratios"]) == found["pairs"] == 2
        assert 0 < found["ratio"]["min"] <= found["ratio"]["median"] <= found["ratio"]["max"]
    assert measured["startup"]["reference"]["first_update_ms"] > 0
    assert measured["versions"]["torch"] == th.__version__
    assert measured["machine"]["cores"] >= 1
    assert "9999 threads" in skipped["skipped"]
    text = (tmp_path / "speed.md").read_text()
    assert "| threads 1 | 1 | updates/s | softac-eager |" in text
    assert "threads 9999: not measured, 9999 threads" in text
    assert run(tmp_path, "--threads", "1", "9999")["points"][0] == measured
    assert "measured before" in capsys.readouterr().out


@pytest.mark.usefixtures("in_process")
def test_a_sweep_and_cases_have_files_of_their_own(tmp_path: Path) -> None:
    run(tmp_path / "sweep", "--sweep", "critics", "--quick")
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {"sweep.json", "sweep.md"}
    content = run(tmp_path / "cases", "--cases", "v1", "--contenders", "softac", "--set", "tau=0.01")
    assert {path.name for path in (tmp_path / "cases").iterdir()} == {"cases.json", "cases.md"}
    settings = content["points"][0]["settings"]
    assert settings["reference"]["arguments"] == {"engine": "eager"}
    assert settings["case"]["arguments"] == {"variant": "v1"}
    assert settings["contenders"][0]["arguments"] == {"tau": 0.01}


SCRIPT = f"""
import sys

from importlib.machinery import PathFinder
find = PathFinder.find_spec

def find_others(name, path=None, target=None):
    hidden = "matplotlib pandas scipy tqdm rich yaml rl_zoo3 sb3_contrib tensorboard sbx".split()
    return None if name.split(".")[0] in hidden else find(name, path, target)

PathFinder.find_spec = find_others
from benchmarks import gpu, speed
from benchmarks._speed import agent
agent.N_FIRST_UPDATES = 3
gpu.PLAN = gpu.PLAN._replace(warmup_pairs=0, block_seconds=0.01, transitions=100)
speed.starter = lambda options: gpu.start_here
assert speed.main([*{TINY!r}, "--contenders", "softac-eager", "sbx", "--out", "speed"]) == 0
small = ["--device", "cpu", "--cases", "v2", "--width", "8", "--pairs", "1", "--updates", "1", "--threads", "1"]
sys.exit(gpu.main([*small, "--engines", "fused", "cuda_graph", "--simulators", "10", "--out", "gpu"]))
"""


def test_the_scripts_run_where_only_the_bare_requirements_are(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "left out: sbx: not installed" in done.stdout
    content = json.loads((tmp_path / "gpu" / "gpu.json").read_text())
    assert content["equality"]["v2, cuda_graph"] == {"skipped": "cuda_graph needs a CUDA device"}
    assert content["equality"]["v2, fused"]["equal"]
    found = content["points"]["v2"]["measures"]["updates"]["contenders"]
    assert {"softac", "softac-eager", "softac-fused", "plain-sac"} <= set(found)
    assert set(content["acting"]["v2"]) == {"device_ms", "copy_ms", "transfer_ms"}
    assert set(content["tensors"]["10"]) == {"device_us", "numpy_us", "gymnasium_us"}
    text = (tmp_path / "gpu" / "gpu.md").read_text()
    assert "case v2" in text
    assert "to bring the weights over" in text


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
    assert list(compared["distances"].values()) == [0.0] * 5
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


def test_noise_that_repeats_itself_is_found() -> None:
    model = equality._filled("softac-eager", Case(width=8, batch_size=8))
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
def test_bad_input_is_one_line_and_exit_code_2(arguments: str, named: str, tmp_path: Path, capsys) -> None:
    assert speed.main([*TINY, *arguments.split()]) == 2
    assert named in capsys.readouterr().err
    assert gpu.main(["--cases", "v3", "--out", str(tmp_path)]) == 2
    assert "v3" in capsys.readouterr().err


def test_what_is_measured_by_default() -> None:
    def points_of(*arguments: str) -> list[Any]:
        return speed.check(speed.parser().parse_args(list(arguments)))[1]

    comparison = points_of()
    assert [point.threads for point in comparison] == [1, 2]
    assert [c.name for c in comparison[0].contenders] == ["softac", "softac-eager", "softac-bfloat16", "sbx"]
    assert len(points_of("--quick")) == 1
    assert len(points_of("--sweep")) == sum(len(values) for _, _, values in AXES.values())
    assert {point.reference.name for point in points_of("--cases")} == {"softac-eager"}
