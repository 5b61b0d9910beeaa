"""Connecting to Ray: what we started ends with us, what was there stays, and what does not fit is refused in words."""

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sb3_softac.distributed.cluster import connect

#: names the processes of one test, in their environment
MARK = "SB3_SOFTAC_TEST_OF_RAY"
ROOT = Path(__file__).parents[3]
SOON = 30.0
#: The clusters are on the loopback device, and ask for no token.
OURS = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}


def marked(mark: str) -> dict[int, str]:
    """Processes that a test has started, and those that these have started, with their command lines."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_text()
        except OSError:
            continue
    return found


def are_soon_gone(mark: str, but_for: str = "nothing") -> bool:
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        if all(but_for in name for name in marked(mark).values()):
            return True
        time.sleep(0.1)
    return False


def start(program: str, mark: str, **env: str) -> subprocess.Popen[str]:
    """Run a program in a process of its own, which is connected to no Ray yet."""
    own = os.environ | OURS | {MARK: mark} | env
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output(program: str, mark: str, **env: str) -> str:
    process = start(program, mark, **env)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    return said


ENVS = """
import os, sys
import gymnasium as gym
from sb3_softac.distributed import RayVecEnv
envs = RayVecEnv([lambda: gym.make("Pendulum-v1")], address={address!r})
envs.reset()
"""


def test_what_was_started_here_ends_with_the_environments():
    said = output(ENVS.format(address=None) + "\nenvs.close(); import ray; print(ray.is_initialized())", "closed")
    assert said.splitlines()[-1] == "False"
    assert are_soon_gone("closed")


def test_nothing_is_left_of_a_training_that_is_killed():
    program = start(ENVS.format(address=None) + "\nprint('up', flush=True); sys.stdin.read()", "killed")
    assert program.stdout is not None
    assert program.stdout.readline() == "up\n"
    assert len(marked("killed")) > 2
    program.send_signal(signal.SIGKILL)
    program.communicate()
    assert are_soon_gone("killed", but_for="Agent")
    for agent in marked("killed"):  # Ray 2.60 leaves its two agents behind; they hold each other's pipe
        os.kill(agent, signal.SIGKILL)
    assert are_soon_gone("killed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a cluster that is there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", f"--port={port}", "--num-cpus=1", "--block"]
    head = subprocess.Popen(
        [*command, "--include-dashboard=false", "--disable-usage-stats", "--node-ip-address=127.0.0.1"],
        env=os.environ | OURS | {MARK: "cluster"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert head.stdout is not None
    said = ""
    while "--block" not in said:
        line = head.stdout.readline()
        assert line, said
        said += line
    yield f"127.0.0.1:{port}"
    head.terminate()
    head.communicate()
    assert are_soon_gone("cluster")


def test_a_cluster_that_is_there_is_left_running(cluster):
    for _ in range(2):
        said = output(ENVS.format(address=cluster) + "\nprint(envs.step([[0.0]])[0].shape); envs.close()", "joins")
        assert said.splitlines()[-1] == "(1, 3)"
    assert len(marked("cluster")) > 2
    assert are_soon_gone("joins")


JOIN = """
from sb3_softac.distributed import ClusterError, connect
try:
    with connect({address!r}):
        print("joined")
except ClusterError as error:
    print(error)
"""
#: what makes this process another one than those of the cluster, and what it is told
OTHERS = {
    "import sb3_softac.version; sb3_softac.version.__version__ = '9.9'": r"The node .* has 9\.9\. Install",
    "import platform; platform.python_version_tuple = lambda: ('3', '9', '1')": r"has Python 3.* has 3\.9\. Install",
    "import ray; ray.__version__ = '2.0.0'": r"refused this process(.|\n)*2\.0\.0(.|\n)*Install the same",
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_cluster_with_other_versions(cluster, other):
    assert re.search(OTHERS[other], output(f"{other}\n{JOIN.format(address=cluster)}", "other"))


@pytest.mark.usefixtures("_ray")
def test_one_process_has_one_ray():
    with connect() as ray:
        with connect("auto"):
            pass
        other = "10.0.0.1:6379"
        with pytest.raises(ValueError, match=rf"connected to Ray at .* cannot use '{other}'"), connect(other):
            pass
        assert ray.is_initialized()
    assert ray.is_initialized()  # of the fixture


ADDRESSES = """
import ray
from sb3_softac.distributed import connect
for address in ("127.0.0.1:9", "nowhere.invalid:6379", "ray://here:10001", "here", "here:port"):
    try:
        with connect(address):
            print("joined")
    except Exception as error:
        print(type(error).__name__, error)
assert not ray.is_initialized()
"""


def test_addresses_where_nothing_is():
    said = output(ADDRESSES, "addresses").splitlines()
    assert [line.split()[0] for line in said] == ["ClusterError"] * 2 + ["ValueError"] * 3
    assert "Nothing answers at '127.0.0.1:9'" in said[0]
    assert "ray start --head" in said[1]
