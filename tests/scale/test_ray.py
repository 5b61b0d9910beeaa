"""Sweeps and benchmarks as tasks of Ray."""

import os
import shutil
import tempfile
import time

import pytest

from benchmarks._learning.pool import run_all
from benchmarks._learning.settings import RunSettings
from benchmarks._learning.store import Store
from benchmarks._search.server import free_port
from sb3_softac.zoo.sweep import command, executors
from tests.helpers import processes_with

pytest.importorskip("ray", reason="needs the extra `ray`")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _no_ray_is_left(monkeypatch):
    """Ray's processes name their folder in their command lines; it is short, as names of sockets must be."""
    folder = tempfile.mkdtemp(prefix="ray_")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    yield
    deadline = time.monotonic() + 60
    while left := processes_with(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    shutil.rmtree(folder)


@pytest.fixture
def local():
    """A Ray of this machine."""
    with executors.make_executor(executors.LOCAL, 2) as executor:
        yield executor


def test_jobs_run_in_other_processes_and_their_errors_are_plain(local):
    assert local.submit(os.getpid).result() != os.getpid()
    error = local.submit(int, "nine").exception()
    assert isinstance(error, ValueError)
    assert "nine" in str(error)
    died = local.submit(os._exit, 1).exception()
    assert isinstance(died, executors.EngineError)
    assert "WorkerCrashedError" in str(died)


def test_a_sweep_on_ray(tmp_path):
    options = ["-n", "300", "--eval-freq", "150", "--eval-episodes", "1", "-params", "learning_starts:50"]
    command.main(["--env", "Pendulum-v1", "--seeds", "0-1", "-f", str(tmp_path), "--ray", "--workers", "2", *options])
    assert len(list(tmp_path.rglob("agent_00000300.zip"))) == 2
    assert "Pendulum-v1,softac,2,300," in (tmp_path / "table.csv").read_text()


def test_runs_of_the_benchmarks_on_ray_are_stored_here(tmp_path):
    small = {"policy": "MlpPolicy", "policy_kwargs": "dict(net_arch=[8])", "batch_size": 8}
    good = RunSettings("Pendulum-v1", "sac", 0, 150, small, eval_every=100, eval_episodes=1, final_episodes=1)
    bad = RunSettings("Pendulum-v1", "ppo", 0, 150, {"policy": "nobody"}, eval_every=100)
    store = Store(tmp_path)
    outcome = run_all([good, bad], store, workers=2, quiet=True, ray=executors.LOCAL, retries=1)
    assert (outcome.skipped, outcome.done, list(outcome.failed)) == (0, 1, ["Pendulum-v1 ppo 0"])
    assert "nobody" in outcome.failed["Pendulum-v1 ppo 0"]
    assert [run.settings for run in store.find([good])] == [good]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:{}", r"Nothing answers at '127.0.0.1:\d+' .*ray start --head"),
        ("nowhere:port", "must be '<host>:<port>' of a Ray cluster"),
    ],
)
def test_a_cluster_that_is_not_there_is_named(address, message, tmp_path):
    asked = ["--env", "Pendulum-v1", "--seeds", "0", "-f", str(tmp_path), "--ray", address.format(free_port())]
    with pytest.raises(SystemExit, match=f"error: {message}|{message}"):
        command.main(asked)
