"""A hub on this machine for the real clients: repo info, tree, files with ETag and ranges, faults on demand.

Point a client at it with HF_ENDPOINT before huggingface_hub is imported, or give `endpoint=hub.url`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

LFS_FROM = (
    1 << 16
)  # bytes; larger files are served as the hub serves LFS files: redirected, named by their sha256


@dataclass
class Repository:
    """One repository at one commit. kind: "model" or "dataset"."""

    kind: str
    id: str
    files: dict[str, bytes]
    gated: bool = False
    listed: bool = False  # what a gated one holds can be seen without access, as on the hub

    @property
    def commit(self) -> str:
        """40 hex digits that change with the files."""
        names = [(name, hashlib.sha256(data).hexdigest()) for name, data in sorted(self.files.items())]
        return hashlib.sha1(repr(names).encode()).hexdigest()


@dataclass
class Hub:
    """What is served, what was asked for, and the faults still to come."""

    repositories: list[Repository]
    token: str = "hf_right"
    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)  # (method, path)
    # Path pattern -> faults, one a request: a status, "cut" (the connection ends midway), "wrong" (other bytes).
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, pattern: str, method: str = "GET") -> int:
        """How many requests were made whose path matches."""
        return sum(verb == method and re.search(pattern, path) is not None for verb, path in self.requests)

    def fault(self, path: str) -> int | str | None:
        """The next fault of a path, used up by this call."""
        with self.lock:
            for pattern, waiting in self.faults.items():
                if waiting and re.search(pattern, path):
                    return waiting.pop(0)
        return None

    def find(self, kind: str, name: str) -> Repository | None:
        """The repository of a kind and id."""
        return next((each for each in self.repositories if (each.kind, each.id) == (kind, name)), None)


@contextmanager
def local_hub(*repositories: Repository) -> Iterator[Hub]:
    """Serve the repositories on a free port of 127.0.0.1 until the exit."""
    hub = Hub(list(repositories))

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use_hub(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the clients of this process ask the hub, keep their cache in `folder`, know no token, never wait."""
    from huggingface_hub import constants

    from sparsemm.sources import hub as client

    url = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on the terminal."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        fault = self.hub.fault(f"{self.command} {path}")
        if isinstance(fault, int):
            return self._send(fault, b"{}", {"X-Error-Message": f"made-up fault {fault}"})
        found = re.fullmatch(
            r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(?:/.*)?)?", path
        )
        if found:
            kind, name, what, revision = found.groups()
            return self._api(kind, name, what, revision or "main")
        found = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found:
            prefix, name, revision, file = found.groups()
            return self._file("dataset" if prefix else "model", name, revision, file, fault)
        found = re.fullmatch(r"/lfs/([0-9a-f]{64})", path)
        if found:
            return self._blob(found.group(1), fault)
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _allowed(self, kind: str, name: str, revision: str, listing: bool = False) -> Repository | None:
        """The repository, or None after an answer that says why not, as the hub does."""
        repository = self.hub.find(kind, name)
        if repository is None:
            self._send(
                401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            )
        elif (
            repository.gated
            and not (listing and repository.listed)
            and self.headers.get("Authorization") != f"Bearer {self.hub.token}"
        ):
            self._send(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        elif revision not in ("main", repository.commit):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            return repository
        return None

    def _api(self, kind: str, name: str, what: str, revision: str) -> None:
        repository = self._allowed(kind, name, revision, listing=True)
        if repository is None:
            return
        described = [self._describe(path, data) for path, data in sorted(repository.files.items())]
        if what == "tree":
            tree = [
                {"type": "file", "path": each.pop("rfilename"), "oid": each.pop("blobId"), **each}
                for each in described
            ]
            return self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
        info = {"id": name, "sha": repository.commit, "private": False, "siblings": described, "tags": []}
        info |= {"gated": "manual" if repository.gated else False, "downloads": 0, "likes": 0}
        self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _describe(self, path: str, data: bytes) -> dict[str, Any]:
        described: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": git_sha1(data)}
        if len(data) >= LFS_FROM:
            sha = hashlib.sha256(data).hexdigest()  # repo info says "sha256", the tree says "oid"
            described["lfs"] = {"sha256": sha, "oid": sha, "size": len(data), "pointerSize": 134}
        return described

    def _file(self, kind: str, name: str, revision: str, file: str, fault: str | None) -> None:
        repository = self._allowed(kind, name, revision)
        if repository is None:
            return
        if file not in repository.files:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repository.commit})
        data = repository.files[file]
        headers = {"X-Repo-Commit": repository.commit}
        if len(data) >= LFS_FROM:
            sha = hashlib.sha256(data).hexdigest()
            elsewhere = self.hub.url.replace(
                "127.0.0.1", "localhost"
            )  # clients follow redirects within a host at once
            headers |= {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(data))}
            headers["Location"] = f"{elsewhere}/lfs/{sha}"
            return self._send(302, b"", headers)
        self._bytes(data, {**headers, "ETag": f'"{git_sha1(data)}"'}, fault)

    def _blob(self, sha: str, fault: str | None) -> None:
        for repository in self.hub.repositories:
            for data in repository.files.values():
                if hashlib.sha256(data).hexdigest() == sha:
                    return self._bytes(data, {"ETag": f'"{sha}"'}, fault)
        self._send(404, b"", {})

    def _bytes(self, data: bytes, headers: dict[str, str], fault: str | None) -> None:
        """A whole file, or the range that is asked for; cut off midway or with other bytes where a fault says so."""
        whole, status, start = len(data), 200, 0
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            start = int(asked.group(1))
            data = data[start : int(asked.group(2)) + 1 if asked.group(2) else None]
            status = 206
            headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{whole}"
        if fault == "wrong":
            data = bytes(byte ^ 1 for byte in data)
        headers["Accept-Ranges"] = "bytes"
        if fault == "cut" and self.command == "GET":
            self._head(status, len(data), headers)
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self._send(status, data, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, len(body), headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(key, value)
        self.end_headers()


def git_sha1(data: bytes) -> str:
    """The name that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
