"""The part of the Hugging Face hub's HTTP protocol that downloads use, on 127.0.0.1."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """Repositories by name, each a dict of files; every branch or tag leads to one commit.

    Errors are told as the hub tells them: a status and the header X-Error-Code.
    """

    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.revisions = {"main", "v1", "refs/pr/1", self.COMMIT}
        self.gated: set[str] = set()
        self.broken: dict[str, int] = {}
        """Repositories whose every request is answered with that status."""
        self.cut_at: int | None = None
        """Bytes of a file after which the connection is closed."""
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(handler.path).path)
        self.requests.append(f"{handler.command} {path}")
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        repository, rest = "/".join(parts[2:4] if api else parts[:2]), parts[4:] if api else parts[3:]
        if repository in self.broken:
            return self.refuse(handler, self.broken[repository], "")
        if repository in self.gated:
            return self.refuse(handler, 403, "GatedRepo")
        if repository not in self.repositories:
            return self.refuse(handler, 401, "RepoNotFound")
        files = self.repositories[repository]
        if api:
            return self.answer_api(handler, repository, rest, files)
        revision = next((one for one in self.revisions if "/".join(rest).startswith(f"{one}/")), None)
        if revision is None:
            return self.refuse(handler, 404, "RevisionNotFound")
        name = "/".join(rest).removeprefix(f"{revision}/")
        if name not in files:
            return self.refuse(handler, 404, "EntryNotFound")
        return self.send(handler, 200, files[name], {"ETag": f'"{hashlib.sha256(files[name]).hexdigest()}"'})

    def answer_api(
        self, handler: BaseHTTPRequestHandler, repository: str, rest: list[str], files: dict[str, bytes]
    ) -> None:
        kind, revision = (rest[0], "/".join(rest[1:])) if rest else ("revision", "main")
        if revision not in self.revisions:
            return self.refuse(handler, 404, "RevisionNotFound")
        siblings = [{"rfilename": name} for name in files]
        found: object = {"id": repository, "modelId": repository, "sha": self.COMMIT, "siblings": siblings}
        if kind == "tree":
            found = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
        return self.send(handler, 200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def refuse(self, handler: BaseHTTPRequestHandler, status: int, code: str) -> None:
        self.send(handler, status, b"{}", {"X-Error-Code": code, "X-Error-Message": "canary-in-the-message"})

    def send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        handler.send_response(status)
        for name, value in {**headers, "X-Repo-Commit": self.COMMIT, "Content-Length": str(len(body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "GET":
            if self.cut_at is not None and "/resolve/" in handler.path:
                body = body[: self.cut_at]
                handler.close_connection = True
            handler.wfile.write(body)
