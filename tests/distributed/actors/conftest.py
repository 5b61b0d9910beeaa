"""Ray starts once for all tests of a process, and every test leaves it as it was."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sb3_softac.distributed.cluster import connect

pytest.importorskip("ray", reason="needs the extra `ray`")
#: seconds until what was asked to end is gone, on a busy machine
SOON = 30.0


def actors() -> set[int]:
    """Processes with environments, of any Ray that this process has started."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, stat = (folder / "cmdline").read_text(), (folder / "stat").read_text()
        except OSError:
            continue
        found[int(folder.name)] = (int(stat.rpartition(")")[2].split()[1]), name)

    def is_ours(process: int) -> bool:
        return process == os.getpid() or (process in found and is_ours(found[process][0]))

    return {process for process, (_, name) in found.items() if "ray::Simulators" in name and is_ours(process)}


@pytest.fixture(scope="session")
def _ray() -> Iterator[None]:
    with connect(num_cpus=2):
        yield


@pytest.fixture(autouse=True)
def _no_actor_is_left() -> Iterator[None]:
    yield
    end = time.monotonic() + SOON
    while actors() and time.monotonic() < end:
        time.sleep(0.1)
    assert not actors()
