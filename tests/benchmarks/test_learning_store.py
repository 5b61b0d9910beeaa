"""Stored runs, alone and packed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import learning
from benchmarks._learning.settings import CURVE_COLUMNS, RunSettings
from benchmarks._learning.store import RESULTS, Run, Store

MADE_ON = {"machine": {"cpu": "a cpu", "cores": 2}, "versions": {"torch": "0"}}
SETTINGS = RunSettings("ALE/Pong-v5", "sac", 0, steps=100, hyperparams={"train_freq": [1, "step"]}, final_episodes=2)
ROWS = [
    dict.fromkeys(CURVE_COLUMNS) | {"step": 0, "timesteps": 0, "eval_mean": -0.1, "entropy": 1e-07},
    dict.fromkeys(CURVE_COLUMNS) | {"step": 100, "timesteps": 128, "eval_mean": 1 / 3},
]
FINAL = {mode: {"return": [-1.5, 2.25], "length": [200, 200]} for mode in ("deterministic", "stochastic")}
RUN = Run(SETTINGS, {**MADE_ON, "device": "cpu", "torch_threads": 1}, FINAL, ROWS)
OTHERS = [replace(RUN, settings=replace(SETTINGS, seed=seed, label=label)) for seed, label in ((10, ""), (2, "wide"))]


def files(store: Store) -> set[str]:
    return {str(path.relative_to(store.folder)) for path in store.folder.rglob("*") if path.is_file()}


def test_a_stored_run_is_found_by_its_own_settings_only(store: Store) -> None:
    assert store.find([SETTINGS]) == []
    store.write(RUN)
    assert files(store) == {"runs/ALE_Pong-v5/sac/seed_0.json"}
    assert store.find([SETTINGS]) == [RUN]
    assert store.find([replace(SETTINGS, hyperparams={"learning_rate": 1.0}), replace(SETTINGS, threads=2)]) == []


def test_packed_runs_are_those_that_lay_alone(store: Store) -> None:
    for run in (RUN, *OTHERS):
        store.write(run)
    before = store.read()
    assert list(before) == [("ALE/Pong-v5", "sac", 0), ("ALE/Pong-v5", "sac", 10), ("ALE/Pong-v5", "sac-wide", 2)]
    assert store.pack() == 3
    assert files(store) == {"runs.jsonl", "curves.csv", "settings.json"}
    assert store.read() == before
    assert len(json.loads((store.folder / "settings.json").read_text())["made_on"]) == 1
    packed = {name: (store.folder / name).read_bytes() for name in files(store)}
    assert store.pack() == 0
    assert {name: (store.folder / name).read_bytes() for name in files(store)} == packed


def test_a_run_that_lies_alone_replaces_a_packed_one(store: Store) -> None:
    store.write(RUN)
    store.write(OTHERS[0])
    store.pack()
    again = replace(RUN, settings=replace(SETTINGS, steps=50), curve=[ROWS[1] | {"step": 50}])
    store.write(again)
    assert list(store.read().values()) == [again, OTHERS[0]]
    store.pack()
    assert list(store.read().values()) == [again, OTHERS[0]]


def test_a_kill_while_packing_leaves_every_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(RUN)
    store.pack()
    store.write(OTHERS[1])

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        store.pack()
    assert list(store.read().values()) == [RUN, OTHERS[1]]


@pytest.mark.parametrize("change", [{"curve": ROWS[:1]}, {"curve": []}, {"final": FINAL | {"stochastic": {}}}])
def test_a_run_that_is_too_short_does_not_count(store: Store, change: dict) -> None:
    store.write(replace(RUN, **change))
    assert store.find([SETTINGS]) == []


def test_half_a_file_does_not_count(store: Store, capsys) -> None:
    path = store.write(RUN)
    path.write_text(path.read_text()[:50])
    assert store.read() == {}
    assert "seed_0.json is left out" in capsys.readouterr().err


def test_the_command_packs_every_store(tmp_path: Path, capsys) -> None:
    for name in ("one", "two"):
        Store(tmp_path / name).write(RUN)
    assert learning.main(["pack", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "one: 1 runs packed.\ntwo: 1 runs packed.\n"
    assert files(Store(tmp_path / "two")) == {"runs.jsonl", "curves.csv", "settings.json"}


@pytest.mark.parametrize("name", ["engines", "learning", "suite", "tuning"])
def test_every_run_of_the_repository_is_complete(name: str) -> None:
    assert all(run.is_complete for run in Store(RESULTS / name).read().values())


@pytest.mark.parametrize(
    ("change", "named"),
    [({"algo": "a2c"}, "a2c"), ({"steps": 0}, "steps"), ({"eval_episodes": -1}, "-1"), ({"label": "../up"}, "label")],
)
def test_bad_settings_are_named(change: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(SETTINGS, **change)
