"""``--server``: the command line as a client of a running server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from forge_serve.keys import Key
from llamaforge.cli import main
from support.gguf_files import make_tiny_gguf
from support.serving import Running, Serve


@pytest.fixture
def ask(tmp_path: Path) -> object:
    def run(*arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMAFORGE", "OPENAI"))}
        return subprocess.run(
            [sys.executable, "-m", "llamaforge", *arguments],
            env=inherited | {"LLAMAFORGE_CONFIG": str(tmp_path / "models.toml"), **environment},
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_run_and_chat(server: Running, ask: object, tmp_path: Path) -> None:
    assert callable(ask)
    done = ask("run", "--server", server.url, "-m", "one", "--top-k", "3", "Hi", "--no-stdin")
    assert (done.stdout, done.returncode) == ("Hello wörld one\n", 0), done.stderr
    chat = ask("chat", "--server", f"{server.url}/v1", "-m", "one", typed="Hi\n/model two\nHi\n")
    assert chat.stdout == "Hello wörld one\nHello wörld two\n", chat.stderr
    (tmp_path / "own.toml").write_text('[models.mine]\npath = "mine"\nbackend = "echo"\n')
    own = {"LLAMAFORGE_CONFIG": str(tmp_path / "own.toml")}
    told = ask("chat", "--server", server.url, "-m", "one", typed="/model\n", **own)
    assert "Other models: " in told.stderr
    assert "two" in told.stderr
    assert "mine" not in told.stderr
    refused = ask("chat", "--server", server.url, "-m", "one", typed="/model mine\nHi\n", **own)
    assert "has no model 'mine'" in refused.stderr


@pytest.mark.parametrize("shape", [("--choice", "yes", "--choice", "no"), ("--regex", "yes|no")])
def test_structured_answers(server: Running, ask: object, tmp_path: Path, shape: tuple[str, ...]) -> None:
    assert callable(ask)
    server.forge.add_model("tiny", make_tiny_gguf(tmp_path / "tiny.gguf"))
    done = ask("run", "--server", server.url, "-m", "tiny", *shape, "Hi", "--no-stdin")
    assert done.stdout in ("yes\n", "no\n"), done.stderr


def test_the_model_that_is_loaded_answers_unless_one_is_named(server: Running, ask: object) -> None:
    assert callable(ask)
    server.forge.load_model("embed")
    server.forge.load_model("echo")
    done = ask("run", "Hi there", "--no-stdin", "--json", LLAMAFORGE_SERVER=server.url)
    told = json.loads(done.stdout)
    assert (told["model"], told["text"], told["backend"]) == ("echo", "Hi there", "openai")


def test_keys_and_mistakes(serve: Serve, ask: object) -> None:
    assert callable(ask)
    with serve(keys=(Key.of("sesame"),)) as server:
        refused = ask("run", "--server", server.url, "-m", "one", "Hi", "--no-stdin")
        assert refused.returncode != 0
        assert "LLAMAFORGE_API_KEY" in refused.stderr
        done = ask("run", "--server", server.url, "-m", "one", "Hi", "--no-stdin", LLAMAFORGE_API_KEY="sesame")
        assert done.stdout == "Hello wörld one\n"
    with serve() as server:
        refused = ask("run", "--server", server.url, "-m", "nobody", "Hi", "--no-stdin")
        assert "has no model 'nobody'" in refused.stderr
        assert "add_model" not in refused.stderr
    assert "failed: Connection refused" in ask("run", "--server", server.url, "Hi", "--no-stdin").stderr
    assert "needs a URL" in ask("run", "--server", "localhost:8080", "Hi", "--no-stdin").stderr
    assert (
        "can't be used together" in ask("run", "--server", "http://x", "--backend", "echo", "Hi", "--no-stdin").stderr
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://[::1", "--server needs a URL such as http://127.0.0.1:8080, not 'http://[::1'."),
        ("http://127.0.0.1:many", "--server needs a URL"),
        ("http://127.0.0.1:99999", "--server needs a URL"),
        ("http://:8080", "--server needs a URL"),
        ("http://a b", "--server needs a URL"),
        ("http://127.0.0.1\n", "--server needs a URL"),
        ("http://me:secret@127.0.0.1", "Set LLAMAFORGE_API_KEY to the server's API key."),
        ("http://127.0.0.1/v1?key=secret", "--server needs a URL without '?' and '#'"),
    ],
)
def test_urls_that_are_none(url: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--server", url, "Hi", "--no-stdin"]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "what it sends is no list of models."),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, "what it sends is no list of models."),
        (b"HTTP/1.1 200 OK\r\n\r\n\xff", "what it sends is no list of models."),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
            "it sent an HTTP answer that is broken or incomplete (IncompleteRead",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "it sent an HTTP answer that is broken or incomplete (BadStatusLine"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data": [{"id": ""}, {"id": "a\\u001b"}, {"id": 5}]}', "has no model for the task"),
    ],
)
def test_servers_that_are_none(sent: bytes, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    def answer() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(sent)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=answer)
        answering.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/höhe"
        assert main(["run", "--server", url, "Hi", "--no-stdin"]) in (2, 5)
        answering.join()
    assert message in capsys.readouterr().err


def test_a_server_whose_model_has_the_name_of_a_file_here(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with ``llamaforge serve tiny.gguf``, and a client in the same folder."""
    monkeypatch.chdir(tmp_path)
    names = ("tiny.gguf", "./folder")
    for name in names:
        Path(name).mkdir()
        server.forge.add_model(name, "x", "echo")
    for name in names:
        assert main(["run", "--server", server.url, "-m", name, "Hi", "--no-stdin"]) == 0
        assert capsys.readouterr().out == "Hi\n"


def test_the_doctor_knows_the_server(ask: object) -> None:
    assert callable(ask)
    done = ask("doctor", "serve", "--json")
    told = json.loads(done.stdout)
    assert [(each["kind"], each["name"], each.get("problem")) for each in told["plugins"]] == [
        ("command", "serve", None)
    ]
