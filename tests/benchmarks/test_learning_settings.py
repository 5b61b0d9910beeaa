"""What counts as a finished run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks._learning.settings import RunFiles, RunSettings, is_finished, store

RUN = RunSettings("Pendulum-v1", "sac", 0, steps=100, hyperparams={"train_freq": [1, "step"]}, final_episodes=1)
CURVE = [{"step": 0, "eval_mean": -2}, {"step": 100, "eval_mean": -1}]
FINAL = [{"mode": mode, "return": 0} for mode in ("deterministic", "stochastic")]


def test_a_stored_run_is_finished_for_its_own_settings_only(tmp_path: Path) -> None:
    assert not is_finished(RUN, tmp_path)
    store(RUN, tmp_path, CURVE, FINAL, {})
    assert is_finished(RUN, tmp_path)
    assert not is_finished(dataclasses.replace(RUN, hyperparams={"learning_rate": 1.0}), tmp_path)
    assert not is_finished(dataclasses.replace(RUN, threads=2), tmp_path)


def test_nothing_temporary_is_left(tmp_path: Path) -> None:
    files = store(RUN, tmp_path, CURVE, FINAL, {})
    assert set(files.meta.parent.iterdir()) == {files.curve, files.final, files.meta}


@pytest.mark.parametrize("lost", ["curve", "final", "meta"])
def test_a_run_without_one_of_its_files_is_not_finished(tmp_path: Path, lost: str) -> None:
    getattr(store(RUN, tmp_path, CURVE, FINAL, {}), lost).unlink()
    assert not is_finished(RUN, tmp_path)


@pytest.mark.parametrize(("curve", "final"), [(CURVE[:1], FINAL), (CURVE, FINAL[:1]), ([], FINAL)])
def test_a_table_that_is_too_short_is_not_finished(tmp_path: Path, curve: list, final: list) -> None:
    store(RUN, tmp_path, curve, final, {})
    assert not is_finished(RUN, tmp_path)


def test_a_kill_while_the_tables_are_replaced_leaves_a_run_that_is_not_done(tmp_path: Path) -> None:
    store(RUN, tmp_path, CURVE, FINAL, {})

    def killed() -> object:
        yield CURVE[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(RUN, tmp_path, killed(), FINAL, {})
    assert not is_finished(RUN, tmp_path)


def test_a_half_written_meta_is_not_finished(tmp_path: Path) -> None:
    files = store(RUN, tmp_path, CURVE, FINAL, {})
    files.meta.write_text(files.meta.read_text()[:50])
    assert not is_finished(RUN, tmp_path)


def test_a_label_makes_a_series_with_files_of_its_own(tmp_path: Path) -> None:
    labelled = dataclasses.replace(RUN, label="wide")
    assert labelled.series == "sac-wide"
    assert RunFiles.of(labelled, tmp_path).meta != RunFiles.of(RUN, tmp_path).meta


def test_the_meta_holds_no_path(tmp_path: Path) -> None:
    files = store(RUN, tmp_path, CURVE, FINAL, {})
    assert str(tmp_path) not in json.dumps(json.loads(files.meta.read_text()))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"algo": "a2c"}, "a2c"),
        ({"steps": 0}, "steps"),
        ({"eval_episodes": -1}, "-1"),
        ({"label": "../up"}, "label"),
    ],
)
def test_bad_settings_are_named(change: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(RUN, **change)
