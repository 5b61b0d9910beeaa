"""Searches in a PostgreSQL database, by the zoo's own command."""

import os
import subprocess
import sys
import time
import urllib.request

import pytest

from benchmarks._search import kills, server

pytest.importorskip("psycopg", reason="needs the extra `search`")


def told_by_a_worker(storage: str, folder) -> str:
    """Error of a worker with a storage that cannot be used."""
    command = [sys.executable, *kills.SEARCH, "--storage", storage, "--max-total-trials", "1", "-f", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_no_trial_is_lost_or_run_twice_when_a_worker_is_killed(database):
    found = kills.search(database, total=5, n_workers=3, n_kills=1, seed=0, limit=400)
    assert found == {
        **{"workers": 3, "total": 5, "kills": 1, "ended": 5, "run_again": 1},
        **{"lost": 0, "twice": 0, "beyond": 0},
    }


def test_the_dashboard_shows_the_study(database):
    pytest.importorskip("optuna_dashboard", reason="needs the extra `search`")
    port = server.free_port()
    url = database.replace("postgresql://", "postgresql+psycopg://")
    program = os.path.join(os.path.dirname(sys.executable), "optuna-dashboard")
    dashboard = subprocess.Popen(
        [program, url, "--port", str(port), "--host", "127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        answer = _ask(f"http://127.0.0.1:{port}/api/studies", dashboard)
    finally:
        dashboard.kill()
        dashboard.communicate()
    assert kills.STUDY in answer


def _ask(url: str, process: subprocess.Popen) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(0.3)
    raise AssertionError("the dashboard does not answer")


def test_a_wrong_password_is_named(database, tmp_path):
    told = told_by_a_worker(database.replace(server.PASSWORD, "wrong"), tmp_path)
    assert "password authentication failed" in told
    assert "softac:***@127.0.0.1" in told


def test_a_server_that_is_not_there_is_named(tmp_path):
    told = told_by_a_worker(f"postgresql://softac:secret@127.0.0.1:{server.free_port()}/postgres", tmp_path)
    assert "Is the server running" in told
    assert "secret" not in told
