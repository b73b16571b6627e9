"""``--server``: the command line as a client of a running server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forge_serve.keys import Key
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


def test_run_and_chat(server: Running, ask: object) -> None:
    assert callable(ask)
    done = ask("run", "--server", server.url, "-m", "one", "--top-k", "3", "Hi", "--no-stdin")
    assert (done.stdout, done.returncode) == ("Hello wörld one\n", 0), done.stderr
    chat = ask("chat", "--server", f"{server.url}/v1", "-m", "one", typed="Hi\n/model two\nHi\n")
    assert chat.stdout == "Hello wörld one\nHello wörld two\n", chat.stderr


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


def test_the_doctor_knows_the_server(ask: object) -> None:
    assert callable(ask)
    done = ask("doctor", "serve", "--json")
    told = json.loads(done.stdout)
    assert [(each["kind"], each["name"], each.get("problem")) for each in told["plugins"]] == [
        ("command", "serve", None)
    ]
