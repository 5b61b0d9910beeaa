"""A PostgreSQL server for one measurement or test, in a temporary folder, on a free port of this machine alone."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

USER, PASSWORD, DATABASE = "softac", "softac-password", "postgres"
DEBIAN = Path("/usr/lib/postgresql")
#: account of Debian's package: the server refuses to run as root
ACCOUNT = "postgres"


def programs() -> Path | None:
    """Folder of the server's programs; None if there are none."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A running server, which is stopped and deleted at the end.

    :return: URL of its database
    :raises RuntimeError: PostgreSQL is not installed
    """
    where = programs()
    if where is None:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql, or `make test-scale`.")
    folder = Path(tempfile.mkdtemp(prefix="softac_postgres_"))
    (folder / "password").write_text(PASSWORD)
    if os.geteuid() == 0:
        account = pwd.getpwnam(ACCOUNT)
        for path in (folder, folder / "password"):
            os.chown(path, account.pw_uid, account.pw_gid)
    port = free_port()
    data, options = str(folder / "data"), f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
    control = [str(where / "pg_ctl"), "-D", data, "-w"]
    try:
        _as_user([str(where / "initdb"), "-D", data, "-U", USER, "-A", "scram-sha-256", "--pwfile", "password"], folder)
        _as_user([*control, "-l", str(folder / "log"), "-o", options, "start"], folder)
        try:
            yield f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}"
        finally:
            _as_user([*control, "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _as_user(command: list[str], folder: Path) -> None:
    user = ACCOUNT if os.geteuid() == 0 else None
    done = subprocess.run(
        command, cwd=folder, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr[-1000:]}")
