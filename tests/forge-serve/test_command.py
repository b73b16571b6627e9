"""``llamaforge serve`` as it is typed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
from click.testing import CliRunner

from forge_serve.command import command


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def ask(port: int, method: str, path: str, content: object = None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, json.dumps(content) if content is not None else None)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text('[models.echo]\npath = "echo"\nbackend = "echo"\n')
    port = free_port()
    arguments = ["serve", "echo", "--port", str(port), "--pin", "echo"]
    started = subprocess.Popen(
        [sys.executable, "-m", "llamaforge", *arguments],
        env={"LLAMAFORGE_CONFIG": str(tmp_path / "models.toml"), "HOME": str(tmp_path), "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + 60
        while True:
            try:
                status, _ = ask(port, "GET", "/health")
                break
            except OSError:
                assert started.poll() is None, started.communicate()[0]
                assert time.monotonic() < end
                time.sleep(0.05)
        assert status == 200
        turns = {"model": "echo", "messages": [{"role": "user", "content": "Hello there"}]}
        status, content = ask(port, "POST", "/v1/chat/completions", turns)
        assert (status, json.loads(content)["choices"][0]["message"]["content"]) == (200, "Hello there")
        started.send_signal(signal.SIGTERM)
        said, _ = started.communicate(timeout=30)
    finally:
        started.kill()
    assert started.returncode in (0, -signal.SIGTERM), said
    assert f"http://127.0.0.1:{port}" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines"),
        (["--memory", "plenty"], "is not a size such as 8GB"),
        (["--port", "99999"], "99999"),
        (["--idle", "-1"], "idle must be"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert message in result.output
