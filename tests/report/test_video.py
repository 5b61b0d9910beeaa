"""The saved agent is filmed by another process; what goes wrong there is a note on the page."""

import base64
import dataclasses
import json
import re
import subprocess

import pytest
from stable_baselines3 import SAC

from sb3_softac import SoftAC
from sb3_softac.report import load_run, write_report
from sb3_softac.report import video as module
from sb3_softac.report.video import record_videos

pytest.importorskip("imageio_ffmpeg", reason="needs the extra `report`")
pytest.importorskip("pygame", reason="Pendulum-v1 renders with pygame")
SMALL = {"policy_kwargs": {"net_arch": [4]}, "buffer_size": 10}


@pytest.fixture
def run(data, tmp_path):
    """A run whose agent is saved, in a folder of its own."""
    SoftAC("MlpPolicy", "Pendulum-v1", **SMALL).save(tmp_path / "best_model.zip")
    return dataclasses.replace(load_run(data / "healthy_1"), folder=tmp_path)


def test_an_agent_is_filmed(run):
    film = record_videos([run], None)[run.folder]
    assert re.fullmatch(
        r"best_model.zip, deterministic actions: one episode, return -\d+\.?\d* in 200 steps.", film.note
    )
    content = base64.b64decode(film.source.removeprefix("data:video/mp4;base64,"))
    assert content[4:8] == b"ftyp"
    assert 2_000 < len(content) < module.MAX_BYTES


def test_an_agent_that_is_no_agent_is_a_note_on_the_page(run, data):
    (run.folder / "best_model.zip").write_bytes(b"no zip")
    for name in ("progress.csv", "0.monitor.csv"):
        (run.folder / name).write_bytes((data / "healthy_1" / name).read_bytes())
    (run.folder / "Pendulum-v1").mkdir()
    (run.folder / "Pendulum-v1" / "args.yml").write_text(json.dumps({"algo": "softac", "env": "Pendulum-v1"}))
    page = write_report(run.folder).read_text()
    assert "best_model.zip could not be shown: " in page
    assert "<video" not in page


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"algo": "sac"}, "loaded by pickle"),
        ({"env_id": "evil:Env-v0"}, "made by code that the run names"),
        ({"hyperparams": {"env_wrapper": "evil.Wrapper"}}, "env_wrapper"),
        ({"hyperparams": {"normalize.norm_obs": True}}, "normalize"),
        ({"arguments": {"gym_packages": ["evil"]}}, "a package"),
    ],
)
def test_what_needs_trust_is_not_run_unasked(run, monkeypatch, changes, reason: str):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    film = record_videos([dataclasses.replace(run, **changes)], None)[run.folder]
    assert film.source is None
    assert reason in film.note
    assert "--video" in film.note


def test_a_trusted_agent_of_another_algorithm(run):
    SAC("MlpPolicy", "Pendulum-v1", **SMALL).save(run.folder / "best_model.zip")
    film = record_videos([dataclasses.replace(run, algo="sac")], True)[run.folder]
    assert film.source is not None, film.note


def test_an_environment_that_hangs(run, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_S", 0.01)
    module._recorded.cache_clear()
    assert "could not be shown within" in record_videos([run], None)[run.folder].note


def test_no_agent_no_film(run):
    assert record_videos([run], False) == {}
    (run.folder / "best_model.zip").unlink()
    assert record_videos([run], True) == {}
