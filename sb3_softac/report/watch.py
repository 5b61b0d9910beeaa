"""Server of the page while a run goes on: on this machine alone, and as new as its logs."""

import hashlib
import os
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from sb3_softac.report.page import make_page

HOST = "127.0.0.1"
LOGS = ("*monitor.csv", "evaluations.npz", "progress*.csv", "progress.json", "events.out.tfevents.*", "*.zip")
NAMES = frozenset({HOST, "localhost"})


class PageServer(ThreadingHTTPServer):
    """Server of the page on some folders.

    :param folders: of a run or of runs
    :param port: on the loopback interface; 0: any that is free
    :param video: see :func:`sb3_softac.report.write_report`
    :raises OSError: the port is taken
    """

    daemon_threads = True

    def __init__(self, folders: Sequence[str | os.PathLike[str]], port: int = 0, video: bool | None = False) -> None:
        self.folders, self.video = [Path(folder) for folder in folders], video
        self._lock, self._made = threading.Lock(), ("", "")
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def version(self) -> str:
        """A text that changes with the logs."""
        found = []
        for folder in self.folders:
            paths = sorted(path for pattern in LOGS for path in folder.rglob(pattern))
            for path in paths:
                try:
                    stat = path.stat()
                except FileNotFoundError:  # replaced just now
                    continue
                found.append((str(path), stat.st_mtime_ns, stat.st_size))
        return hashlib.sha256(repr(found).encode()).hexdigest()[:16]

    def page(self) -> str:
        """The page on the logs as they are now."""
        with self._lock:  # two tabs need not make it twice
            version = self.version()
            if self._made[0] != version:
                self._made = (version, make_page(self.folders, self.video, version))
            return self._made[1]


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:  # the name of http.server
        # A page elsewhere whose name leads here must not read the logs.
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in NAMES:
            self._answer(403, "text/plain", "only for this machine")
        elif self.path == "/":
            try:
                self._answer(200, "text/html", self.server.page())
            except (OSError, ValueError) as error:
                self._answer(503, "text/plain", f"{error}\nReload this page later.")
        elif self.path == "/version":
            self._answer(200, "text/plain", self.server.version())
        else:
            self._answer(404, "text/plain", "not here")

    def _answer(self, status: int, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal quiet."""


def watch(folders: Sequence[str | os.PathLike[str]], port: int, video: bool | None) -> None:
    """Serve the page until Ctrl-C.

    :raises ValueError: see :func:`sb3_softac.report.write_report`, at the start
    :raises OSError: the port is taken
    """
    with PageServer(folders, port, video) as server:
        try:
            server.page()  # what is wrong is said here, and not in a browser
            print(f"The report is at {server.address} and follows the run. Ctrl-C ends it.", flush=True)
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            print("", file=sys.stderr)
