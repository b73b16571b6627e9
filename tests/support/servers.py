"""A real OpenAI-compatible server: llama.cpp's own, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_SCRIPT = _HERE / "llama_server.py"
_TEMPLATE = _HERE / "tools_template.jinja"


@dataclass(frozen=True, kw_only=True)
class LiveServer:
    """Where a running server is, and what opens it."""

    base_url: str
    """With /v1 at its end."""
    api_key: str
    model: str
    pid: int
    log: Path
    context: int
    """Tokens that one request may take."""

    def call(self, path: str, body: object = None) -> Any:
        """GET *path* of the server, or POST *body* to it; the decoded answer. Bypasses everything under test."""
        root = self.base_url.removesuffix("/v1")
        request = urllib.request.Request(
            root + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def run_llama_server(gguf: Path, log: Path, *, slots: int = 4, context: int = 1024) -> Iterator[LiveServer]:
    """Run llama.cpp's server for the model file *gguf* until the block is left.

    It listens on a free port of 127.0.0.1, wants a key, calls the model "smollm2", and renders chats as the model's own
    template does, with function calls besides. It has answered a request before the block begins. It ends with the
    block, and also when this process dies. What it prints goes to the file *log*.
    """
    key = "sk-test-" + secrets.token_hex(16)
    settings = {
        "model": str(gguf),
        "alias": "smollm2",
        "api_key": key,
        "slots": slots,
        "context": context,
        "template": _TEMPLATE.read_text(encoding="utf-8"),
    }
    with log.open("wb") as sink:
        child = subprocess.Popen(
            [sys.executable, str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            start_new_session=True,  # Ctrl-C is for the tests
        )
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(settings).encode() + b"\n")
        child.stdin.flush()
        address = child.stdout.readline().decode().strip()
        if not address:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"The server did not start (exit code {child.wait()}). The end of its log:\n{tail}")
        server = LiveServer(
            base_url=address + "/v1", api_key=key, model="smollm2", pid=child.pid, log=log, context=context
        )
        server.call("/v1/completions", {"prompt": "Hello", "max_tokens": 1})
        yield server
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    for signalled in (None, signal.SIGTERM, signal.SIGKILL):
        if signalled is not None:
            child.send_signal(signalled)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(5)
            return
