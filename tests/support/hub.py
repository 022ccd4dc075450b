"""A stand-in for the model hub, which no test can reach: the few requests a download makes, over a local folder."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MOVED = "fedcba9876543210fedcba9876543210fedcba98"


def move(repository: Path) -> Path:
    """The repository's branches go on from COMMIT to MOVED, as which its folder counts from now on; returns the folder
    of what was there."""
    former = repository.with_name(f"{repository.name}@{COMMIT}")
    shutil.copytree(repository, former)
    repository.with_name(f"{repository.name}.head").write_text(MOVED)
    return former


@contextmanager
def hub(root: Path) -> Iterator[str]:
    """Serves ``root/<owner>/<name>`` as models and ``root/datasets/<owner>/<name>`` as datasets; yields the endpoint.

    The repository ``gated/model`` asks for credentials.
    """
    server = _Hub(root)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Hub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/").removeprefix("api/").removeprefix("models/")
        is_data, path = path.startswith("datasets/"), path.removeprefix("datasets/")
        owner, _, below = path.partition("/")
        name, *rest = below.split("/")
        repository = self.server.root / ("datasets" if is_data else "") / owner / name
        commit, folder = _at(repository, rest[1] if len(rest) > 1 else "main")
        if owner == "gated":
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif not name or not repository.is_dir():
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif not folder.is_dir():
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif rest[:1] == ["resolve"]:
            self._file(folder / "/".join(rest[2:]), commit)
        elif rest[:1] == ["tree"]:
            self._send(200, json.dumps(_tree(folder)).encode(), {})
        else:
            listing = {"id": f"{owner}/{name}", "sha": commit, "siblings": _siblings(folder)}
            self._send(200, json.dumps(listing).encode(), {})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _file(self, path: Path, commit: str) -> None:
        if not path.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted:
            # Files of models may be huge and sparse: only what is asked for is read.
            start, end = int(wanted[1]), min(int(wanted[2]), path.stat().st_size - 1)
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(end - start + 1)
            self._send(206, data, {"Content-Range": f"bytes {start}-{end}/{path.stat().st_size}"})
            return
        data = path.read_bytes()
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        self._send(200, data, {"ETag": etag, "X-Repo-Commit": commit})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _at(repository: Path, revision: str) -> tuple[str, Path]:
    """The commit of a revision and the folder of its files; what is no commit is a branch."""
    note = repository.with_name(f"{repository.name}.head")
    head = note.read_text() if note.is_file() else COMMIT
    commit = revision if re.fullmatch("[0-9a-f]{40}", revision) else head
    return commit, repository if commit == head else repository.with_name(f"{repository.name}@{commit}")


def _files(repository: Path) -> list[Path]:
    return sorted(path for path in repository.rglob("*") if path.is_file())


def _siblings(repository: Path) -> list[dict[str, str]]:
    return [{"rfilename": path.relative_to(repository).as_posix()} for path in _files(repository)]


def _tree(repository: Path) -> list[dict[str, object]]:
    return [
        {
            "type": "file",
            "path": path.relative_to(repository).as_posix(),
            "size": path.stat().st_size,
            "oid": hashlib.sha256(str(path).encode()).hexdigest()[:40],
        }
        for path in _files(repository)
    ]
