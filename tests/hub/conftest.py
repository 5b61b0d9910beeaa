"""The parts of the Hub's interface that pushing and loading use, on loopback."""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")

TOKEN = "hf_of_the_test"
COMMIT = "1" * 40


class Hub(ThreadingHTTPServer):
    """Repositories in memory; who has another token than :data:`TOKEN` may only read."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.messages: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers of the Hub."""

    server: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, status: int, content: Any = None, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            given = json.loads(body)
            repo_id = f"{given['organization']}/{given['name']}"
            status = 409 if repo_id in self.server.repositories else 200
            self.server.repositories.setdefault(repo_id, {})
            self.answer(status, {"url": f"{self.server.address}/{repo_id}"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]
            self.answer(200, {"files": modes})
        elif commit := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            self.commit(commit[1], [json.loads(line) for line in body.splitlines()])
        else:
            self.answer(404, {"error": self.path})

    def commit(self, repo_id: str, lines: list[dict[str, Any]]) -> None:
        self.server.messages += [line["value"]["summary"] for line in lines if line["key"] == "header"]
        files = [line["value"] for line in lines if line["key"] == "file"]
        assert len(files) == len(lines) - 1
        self.server.repositories[repo_id] |= {each["path"]: base64.b64decode(each["content"]) for each in files}
        url = f"{self.server.address}/{repo_id}/commit/{COMMIT}"
        self.answer(200, {"success": True, "commitUrl": url, "commitOid": COMMIT})

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        download = re.fullmatch(r"/(?P<repo>[^/]+/[^/]+)/resolve/[^/]+/(?P<file>.+)", path)
        about = re.fullmatch(r"/api/models/(?P<repo>[^/]+/[^/]+)(?P<rest>/.*)?", path)
        found = download or about
        files = self.server.repositories.get(found["repo"]) if found else None
        if files is None:
            self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        elif download:
            self.send(files.get(download["file"]))
        elif (about["rest"] or "").startswith("/tree/"):
            tree = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in files.items()]
            self.answer(200, tree)
        else:
            siblings = [{"rfilename": name} for name in files]
            self.answer(200, {"id": about["repo"], "sha": COMMIT, "siblings": siblings})

    do_HEAD = do_GET  # noqa: N815

    def send(self, content: bytes | None) -> None:
        if content is None:
            self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
            return
        self.answer(200, content, ETag=f'"{hashlib.sha256(content).hexdigest()}"')


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """A Hub that the client talks to, and whose token it has."""
    from huggingface_hub import constants

    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    point_to(monkeypatch, server.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.shutdown()
    server.server_close()


def point_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """As HF_ENDPOINT does, which the client reads when it is imported."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def nowhere(monkeypatch) -> None:
    """No network, and no pauses before the client tries again."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    point_to(monkeypatch, "http://127.0.0.1:9")
