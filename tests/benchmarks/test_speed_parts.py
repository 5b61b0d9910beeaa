"""The parts of the speed script: agents here and in processes, cases, contenders, resuming."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from benchmarks._speed import child, points, store
from benchmarks._speed.agent import Agent, peak_memory_mib
from benchmarks._speed.case import CASES, Case, named_case
from benchmarks._speed.contenders import RefusedError, default_names, named
from benchmarks._speed.envs import SPACES, SyntheticEnv
from benchmarks._speed.equality import distance, fixed_noise
from benchmarks._speed.pairs import Plan
from benchmarks._speed.points import Point

SMALL = Case(width=8, batch_size=4)
TINY = Plan(pairs=2, warmup_pairs=0, block_seconds=0.005, transitions=20, repeats=1)


def here(contender: object, case: Case, transitions: int, threads: int) -> Agent:
    return Agent(contender, case, transitions)


def point(**changes: object) -> Point:
    given = {"axis": "threads", "value": 1, "case": SMALL, "threads": 1, "reference": named("sac")}
    return Point(**{**given, "contenders": (named("softac-eager"),), **changes})


def test_the_reference_is_built_with_its_own_defaults() -> None:
    model = Case().build(SAC, {})
    assert model.batch_size == 256
    assert model.policy_kwargs["use_sde"] is False
    assert not {"net_arch", "n_critics"} & set(model.policy_kwargs)


def test_sizes_reach_the_networks() -> None:
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
    case = named_case(name, "cpu")
    agent = Agent(named("softac-eager"), Case(**{**case.__dict__, "width": 8, "batch_size": 2}), 3)
    agent.fill()
    agent.updates(1)
    assert agent.model._n_updates == 1


def test_a_filled_agent_has_not_learned_and_holds_at_least_a_batch() -> None:
    agent = Agent(named("sac"), Case(width=4, batch_size=30), 20)
    agent.fill()
    assert agent.model.replay_buffer.size() == 30
    assert agent.model._n_updates == 0


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


def test_what_a_constructor_does_not_know_is_a_refusal() -> None:
    with pytest.raises(RefusedError, match="softac: refused"):
        Agent(named("softac", {"no_such_argument": 1}), SMALL, 10)


def test_what_is_not_installed_is_a_refusal(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sbx", None)
    with pytest.raises(RefusedError, match="sbx: not installed"):
        named("sbx").load()


def test_names_carry_engine_and_precision() -> None:
    assert named("softac-fused", {"variant": "v1"}).arguments == {"variant": "v1", "engine": "fused"}
    assert named("softac-bfloat16").arguments == {"precision": "bfloat16"}
    assert named("sac", {"variant": "v1"}).arguments == {}
    assert named("plain-sac", {"variant": "v1"}).arguments == {}
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
    pairs = {
        "actor": (plain.actor, theirs.actor),
        "critics": (plain.critics, theirs.critic),
        "targets": (plain.targets, theirs.critic_target),
    }
    for ours, other in pairs.values():
        for weight, source in zip(ours.parameters(), other.parameters(), strict=True):
            weight.data.copy_(source.data)

    def weights(index: int) -> dict[str, th.Tensor]:
        return {name: th.cat([w.detach().flatten() for w in both[index].parameters()]) for name, both in pairs.items()}

    start = weights(0)
    with fixed_noise():
        for model in (theirs, plain):
            np.random.seed(0)  # noqa: NPY002
            model.train(gradient_steps=5, batch_size=32)
    assert distance(weights(0), weights(1), start) < 1e-2
    assert plain.log_alpha.item() == pytest.approx(theirs.log_ent_coef.item(), rel=1e-3)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_a_child_works_on_as_many_cores_as_threads() -> None:
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


def test_a_child_passes_a_refusal_on() -> None:
    with pytest.raises(RefusedError, match="no_such_argument"):
        child.ChildAgent(named("softac", {"no_such_argument": 1}), SMALL, 10, threads=1)


def test_a_contender_that_refuses_is_named_and_the_others_are_measured() -> None:
    both = (named("softac", {"no_such_argument": 1}), named("softac-eager"))
    measured = points.measure(point(contenders=both), TINY, here)
    assert "refused" in measured["refused"]["softac"]
    assert list(measured["measures"]["updates"]["contenders"]) == ["softac-eager"]
    assert measured["startup"]["reference"]["first_update_ms"] > 0


def test_a_reference_that_refuses_leaves_the_point_out() -> None:
    measured = points.measure(point(reference=named("softac", {"no_such_argument": 1})), TINY, here)
    assert "refused" in measured["skipped"]


def test_more_threads_than_cores_are_not_measured() -> None:
    assert "9999 threads" in points.measure(point(threads=9999), TINY, here)["skipped"]


def test_a_sweep_varies_one_size_at_a_time() -> None:
    swept = points.sweep(list(points.AXES), point())
    assert [p.case.batch_size for p in swept if p.axis == "batch"] == [64, 128, 256, 512, 1024, 2048, 4096]
    assert {p.case.batch_size for p in swept if p.axis != "batch"} == {4}
    assert [p.threads for p in swept if p.axis == "threads"] == [1, 2]
    assert {p.measures for p in swept if p.axis == "n_envs"} == {("learn",)}
    with pytest.raises(ValueError, match="depth"):
        points.sweep(["depth"], point())


def test_stored_points_are_not_measured_again(tmp_path: Path, monkeypatch) -> None:
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
        store.run(wanted, TINY, here, path)
    assert [p["settings"]["value"] for p in json.loads(path.read_text())["points"]] == [64, 128]
    content = store.run(wanted, TINY, here, path)
    assert done == [64, 128, 256, 256]
    # Other settings at the same place replace, another axis joins.
    store.run([point(axis="batch", value=64, case=Case()), point(axis="width", value=8)], TINY, here, path)
    content = store.read(path)
    assert [(p["settings"]["axis"], p["settings"]["value"]) for p in content["points"]] == [
        ("batch", 64),
        ("batch", 128),
        ("batch", 256),
        ("width", 8),
    ]
    assert content["points"][0]["settings"]["case"]["batch_size"] == 256
    assert len(done) == 6
    store.run(wanted[:1], TINY, here, path, force=True)
    assert done[6:] == [64]


def test_a_file_of_an_earlier_form_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    path.write_text('{"rounds": []}')
    assert store.read(path) == {"points": []}
