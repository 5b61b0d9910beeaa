"""A page that is watched is as new as its logs, is served to this machine alone, and ends with Ctrl-C."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sb3_softac.report.watch import PageServer


@pytest.fixture
def folder(data, tmp_path) -> Path:
    return shutil.copytree(data / "healthy_1", tmp_path / "run")


@pytest.fixture
def server(folder) -> Iterator[PageServer]:
    with PageServer([folder]) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def get(server: PageServer, path: str = "") -> str:
    with urllib.request.urlopen(server.address + path) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.read().decode()


def test_the_page_follows_the_logs(server, folder):
    page, version = get(server), get(server, "version")
    assert f'const VERSION = "{version}"' in page
    assert "connect-src 'self'" in page
    assert get(server, "version") == version
    with (folder / "0.monitor.csv").open("a") as file:
        file.write("-777.0,200,99.0\n")
    assert get(server, "version") != version
    assert "8,200" in get(server)


def test_the_same_logs_are_not_read_twice(server):
    assert server.page() is server.page()


def test_logs_that_go_away_are_an_answer_and_no_crash(server, folder):
    shutil.rmtree(folder)
    with pytest.raises(urllib.error.HTTPError, match="503") as raised:
        get(server)
    with raised.value as answer:
        assert "is not a folder" in answer.read().decode()


@pytest.mark.parametrize(
    ("host", "status"), [("evil.example", 403), ("localhost", 200), ("127.0.0.1:1", 200), ("", 403)]
)
def test_other_names_of_this_machine_are_refused(server, host: str, status: int):
    connection = http.client.HTTPConnection(*server.server_address[:2])
    connection.request("GET", "/version", headers={"Host": host})
    assert connection.getresponse().status == status
    connection.close()


def test_nothing_else_is_served(server):
    for path in ("0.monitor.csv", "../etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match="404") as raised:
            get(server, path)
        raised.value.close()


def test_it_listens_on_loopback_alone(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_an_error(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            PageServer([folder], taken.getsockname()[1])


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_it(folder):
    command = [sys.executable, "-m", "sb3_softac.report", "--watch", "--port", "0", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert "The report is at http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert (process.returncode, told.strip()) == (0, "")
