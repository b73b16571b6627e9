"""An HTTP server that does what it is told, for faults that no sound server can be made to show.

It speaks real HTTP/1.1 on 127.0.0.1 and records what it is sent.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Cut(Exception):
    """Raised by a body: reset the connection now."""


@dataclass(frozen=True)
class Received:
    """A request, as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any
    """Decoded JSON, or None."""
    raw: bytes


@dataclass(frozen=True)
class Reply:
    """What to answer. A body that is not bytes is sent in chunks as it comes."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    head: Iterable[bytes] | None = None
    """Written instead of status line and headers, piece by piece; nothing follows."""


Answer = Reply | Callable[[Received], Reply]


def json_reply(body: object, status: int = 200, **headers: str) -> Reply:
    """A JSON answer. Underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"Content-Type": "application/json", **named}, json.dumps(body).encode())


def error_reply(status: int, message: str = "No.", /, **fields: object) -> Reply:
    """An error in OpenAI's shape."""
    return json_reply({"error": {"message": message, "type": None, "param": None, "code": None, **fields}}, status)


def models_reply(*names: str) -> Reply:
    """A list of models."""
    return json_reply({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


def event(data: object) -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"data: {text}\n\n".encode()


def stream_reply(*pieces: object, done: bool = True) -> Reply:
    """A stream of events; *pieces* are chunks, or bytes that are sent as they stand."""
    body = [piece if isinstance(piece, bytes) else event(piece) for piece in pieces]
    return stream_of([*body, event("[DONE]")] if done else body)


def stream_of(body: Iterable[bytes]) -> Reply:
    """An event stream with that body."""
    return Reply(200, {"Content-Type": "text/event-stream"}, body)


def delta(content: object = None, finish_reason: str | None = None, **fields: object) -> dict[str, Any]:
    """A chunk of a chat answer."""
    said = {"content": content} if content is not None else {}
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {**said, **fields}, "finish_reason": finish_reason}],
    }


def usage(prompt: int, completion: int, **details: object) -> dict[str, Any]:
    """The chunk with the token counts."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **details}
    return {"object": "chat.completion.chunk", "choices": [], "usage": counts}


class ScriptedServer:
    """Answers each path with its script: replies in order, the last one for ever. No script: 404.

    Args:
        api: the path below which the API stands, and which scripts leave out.
    """

    def __init__(self, api: str = "/v1") -> None:
        self._api = api
        self.requests: list[Received] = []
        self.connections = 0
        self.left = threading.Event()
        """Set once a client has gone while it was being answered."""
        self.closing = threading.Event()
        self._scripts: dict[tuple[str, str], list[Answer]] = {}
        self._lock = threading.Lock()
        self._proxied = ""
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.script = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return self.root + self._api

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Script what *method* on *path* (below the API's) gets."""
        self._scripts[method, path] = list(answers)

    def chat(self, *answers: Answer) -> None:
        """Script POST /chat/completions."""
        self.on("POST", "/chat/completions", *answers)

    def through_proxy(self, root: str) -> None:
        """Be the proxy of the server *root* from now on, whose paths are scripted as if they were ours."""
        self._proxied = root

    @property
    def last(self) -> Received:
        """The latest request."""
        return self.requests[-1]

    def posted(self) -> list[Received]:
        """The POSTs."""
        return [request for request in self.requests if request.method == "POST"]

    def hang(self) -> Iterator[bytes]:
        """A body, or the rest of one, that never comes."""
        self.closing.wait()
        yield from ()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, request: Received) -> Reply:
        with self._lock:
            self.requests.append(request)
            path = request.path.removeprefix(self._proxied)
            script = self._scripts.get((request.method, path.removeprefix(self._api)), [])
            if not script or not path.startswith(self._api + "/"):
                return error_reply(404, "There is nothing here.")
            reply = script.pop(0) if len(script) > 1 else script[0]
        return reply if isinstance(reply, Reply) else reply(request)


class _Server(ThreadingHTTPServer):
    request_queue_size = 512  # the default of 5 makes clients that come together wait for a second try
    daemon_threads = True
    block_on_close = False
    script: ScriptedServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.script.connections += 1

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # clients may leave as they like
            super().handle()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.casefold(): value for name, value in self.headers.items()}
        body = json.loads(raw) if raw else None
        reply = self.server.script.answer(Received(self.command, self.path, headers, body, raw))
        try:
            self._write(reply)
        except Cut:
            self.close_connection = True
            self.wfile.flush()
            # A reset, not an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        except ConnectionError:
            self.server.script.left.set()
            raise

    def _write(self, reply: Reply) -> None:
        if reply.head is not None:
            self.close_connection = True
            for piece in reply.head:
                self.wfile.write(piece)
                self.wfile.flush()
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if isinstance(reply.body, bytes):
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in reply.body:
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
