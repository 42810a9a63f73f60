"""A Hugging Face Hub on loopback: what its client asks of a dataset repository, and sends there, over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote


class FakeHub:
    """Repositories of datasets with their revisions.

    Attributes:
        url: the endpoint.
        commits: ``owner/name`` → commit → file name → content.
        branches: ``owner/name`` → branch → commit.
        asked: every request's method and path.
        failing: status that every request is answered with; None answers as the Hub does.
        refusing: status that every request to write is answered with.
        blobs: large files that were sent, by their SHA-256; a commit names them.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.failing: int | None = None
        self.refusing: int | None = None
        self.blobs: dict[str, bytes] = {}
        self.url = ""

    def commit(self, repository: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Put files as a new commit on a branch; returns the commit."""
        commits = self.commits.setdefault(repository, {})
        sha = hashlib.sha1(f"{repository} {branch} {len(commits)}".encode()).hexdigest()
        commits[sha] = files
        self.branches.setdefault(repository, {})[branch] = sha
        return sha

    def resolve(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit that a revision is now, with its files."""
        sha = self.branches.get(repository, {}).get(revision, revision)
        files = self.commits.get(repository, {}).get(sha)
        return None if files is None else (sha, files)


@contextmanager
def serving() -> Iterator[FakeHub]:
    """Serve an empty Hub."""
    hub = FakeHub()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _json(self, value: Any, status: int = 200) -> None:
            self._answer(status, json.dumps(value).encode(), Content_Type="application/json")

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            hub.asked.append(f"{self.command} {path}")
            if hub.failing is not None:
                return self._answer(hub.failing)
            match = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(?:/(.*))?)?", path)
            if match:
                repository, kind, revision, folder = match.groups()
                recursive = "recursive=true" in query.lower()
                return self._api(repository, kind, unquote(revision or "main"), unquote(folder or ""), recursive)
            match = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            if match:
                return self._file(match[1], unquote(match[2]), unquote(match[3]))
            return self._answer(404)

        do_HEAD = do_GET

        def do_POST(self) -> None:
            body = self._body()
            hub.asked.append(f"{self.command} {self.path}")
            status = hub.failing or hub.refusing
            if status is not None:
                return self._answer(status)
            path = self.path.partition("?")[0]
            if path == "/api/repos/create":
                asked = json.loads(body)
                repository = f"{asked['organization']}/{asked['name']}"
                url = {"url": f"{hub.url}/datasets/{repository}"}
                if repository in hub.commits:
                    return self._json(url, 409)
                hub.commit(repository, {".gitattributes": b""})
                return self._json(url)
            if path == "/api/validate-yaml":
                return self._json({"errors": [], "warnings": []})
            if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/branch/([^/]+)", path):
                return self._branch(match[1], unquote(match[2]))
            if re.fullmatch(r"/api/datasets/[^/]+/[^/]+/preupload/[^/]+", path):
                names = [file["path"] for file in json.loads(body)["files"]]
                modes = {name: "lfs" if name.endswith(".parquet") else "regular" for name in names}
                told = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
                return self._json({"files": told})
            if re.fullmatch(r"/datasets/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
                objects = [{"oid": one["oid"], "size": one["size"]} for one in json.loads(body)["objects"]]
                for one in objects:
                    if one["oid"] not in hub.blobs:
                        one["actions"] = {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}
                return self._json({"transfer": "basic", "objects": objects})
            if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/([^/]+)", path):
                lines = [json.loads(line) for line in body.splitlines() if line]
                return self._commit(match[1], unquote(match[2]), lines)
            return self._answer(404)

        def do_PUT(self) -> None:
            data = self._body()
            hub.asked.append(f"{self.command} {self.path}")
            oid = self.path.rpartition("/")[2]
            if hashlib.sha256(data).hexdigest() != oid:
                return self._answer(400)
            hub.blobs[oid] = data
            return self._answer(200)

        def _body(self) -> bytes:
            """What was sent, as a whole or piece by piece."""
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _branch(self, repository: str, name: str) -> None:
            branches = hub.branches[repository]
            if name in branches:
                return self._answer(409)
            branches[name] = branches["main"]
            return self._answer(201)

        def _commit(self, repository: str, branch: str, lines: list[dict[str, Any]]) -> None:
            found = hub.resolve(repository, branch)
            files = dict(found[1]) if found else {}
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.blobs[value["oid"]]
                elif line["key"] == "deletedFile":
                    del files[value["path"]]
            sha = hub.commit(repository, files, branch)
            self._json({"commitUrl": f"{hub.url}/datasets/{repository}/commit/{sha}", "commitOid": sha})

        def _api(self, repository: str, kind: str | None, revision: str, folder: str, recursive: bool) -> None:
            if repository not in hub.commits:
                return self._answer(404, X_Error_Code="RepoNotFound")
            found = hub.resolve(repository, revision)
            if found is None:
                return self._answer(404, X_Error_Code="RevisionNotFound")
            sha, files = found
            if kind != "tree":
                return self._json({"_id": "1", "id": repository, "sha": sha, "private": False, "siblings": []})
            prefix = f"{folder.rstrip('/')}/" if folder else ""
            entries: dict[str, dict[str, Any]] = {}
            for name, data in files.items():
                if not name.startswith(prefix):
                    continue
                first, separator, _ = name[len(prefix) :].partition("/")
                path = prefix + first
                if recursive:
                    entries[name] = {"type": "file", "oid": "1" * 40, "size": len(data), "path": name}
                elif separator:
                    entries[path] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
                else:
                    entries[path] = {"type": "file", "oid": "1" * 40, "size": len(data), "path": path}
            if not entries:
                return self._answer(404, X_Error_Code="EntryNotFound")
            return self._json(list(entries.values()))

        def _file(self, repository: str, revision: str, name: str) -> None:
            found = hub.resolve(repository, revision)
            if found is None or name not in found[1]:
                return self._answer(404, X_Error_Code="EntryNotFound")
            sha, data = found[0], found[1][name]
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            common = {"X_Repo_Commit": sha, "ETag": f'"{hashlib.sha1(data).hexdigest()}"', "Accept_Ranges": "bytes"}
            if not match:
                return self._answer(200, data, **common)
            start, end = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
            common["Content_Range"] = f"bytes {start}-{end}/{len(data)}"
            return self._answer(206, data[start : end + 1], **common)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
