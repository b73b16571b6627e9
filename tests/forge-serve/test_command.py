"""``llamaforge serve`` as it is typed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest
from click.testing import CliRunner

from forge_serve import ending
from forge_serve.command import command
from forge_serve.listening import listen_in_file
from llamaforge import LlamaForge
from support.gguf_files import make_tiny_gguf
from support.serving import Scripted, until

TLS = Path(__file__).parents[1] / "forge-openai" / "tls"
ECHO = '[models.echo]\npath = "echo"\nbackend = "echo"\n'


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def ask(port: int, method: str, path: str, content: object = None, **headers: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, json.dumps(content) if content is not None else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Started:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        self.process = process
        self.log = log
        self.port = port

    def said(self) -> str:
        return self.log.read_text()

    def ended(self) -> int:
        return self.process.wait(30)


@contextmanager
def started(folder: Path, *arguments: str, models: str = ECHO, **environment: str) -> Iterator[Started]:
    (folder / "models.toml").write_text(models)
    port = free_port()
    log = folder / "log"
    told = {"LLAMAFORGE_CONFIG": str(folder / "models.toml"), "HOME": str(folder), "PATH": "", **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "llamaforge", "serve", *arguments],
            env=told | {"LLAMAFORGE_SERVE_PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    server = Started(process, log, port)
    try:
        yield server
    finally:
        process.kill()
        process.wait()


def ready(server: Started, wanted: Callable[[], bool]) -> None:
    """Wait until *wanted* is true of a server that runs; while nobody listens, it isn't."""

    def holds() -> bool:
        assert server.process.poll() is None, server.said()
        try:
            return wanted()
        except OSError:
            return False

    until(holds, 60)


def healthy(server: Started) -> None:
    ready(server, lambda: ask(server.port, "GET", "/health")[0] == 200)


TURNS = {"model": "echo", "messages": [{"role": "user", "content": "Hello there"}]}


def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    with started(tmp_path, "echo", "--pin", "echo") as server:
        healthy(server)
        status, content = ask(server.port, "POST", "/v1/chat/completions", TURNS)
        assert (status, json.loads(content)["choices"][0]["message"]["content"]) == (200, "Hello there")
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == -signal.SIGTERM
        assert f"http://127.0.0.1:{server.port}" in server.said()
        assert "Traceback" not in server.said()


def test_settings_come_from_a_file_and_are_read_anew(tmp_path: Path) -> None:
    config, keys = tmp_path / "serve.toml", tmp_path / "keys"
    keys.write_text("sesame admin\n")
    config.write_text('models = ["echo"]\napi-key-file = "keys"\naccess_log = "json"\n')

    def names(key: str = "sesame") -> list[str]:
        status, content = ask(server.port, "GET", "/v1/models", authorization=f"Bearer {key}")
        return [model["id"] for model in json.loads(content)["data"]] if status == 200 else []

    with started(tmp_path, "--config", "serve.toml", models=ECHO + ECHO.replace("echo]", "other]")) as server:
        healthy(server)
        assert names() == ["echo"]
        config.write_text('models = ["echo", "other"]\napi_key_file = "keys"\naccess_log = "json"\nport = 1\n')
        ready(server, lambda: names() == ["echo", "other"])  # without a signal: it has changed
        config.write_text('models = ["echo"\n')
        server.process.send_signal(signal.SIGHUP)
        ready(server, lambda: "stay as they were" in server.said())
        assert "serve.toml: it is not TOML" in server.said()
        assert names() == ["echo", "other"]
        config.write_text('models = ["other"]\napi_key_file = "keys"\n')
        keys.write_text("other-key\n")
        server.process.send_signal(signal.SIGHUP)
        ready(server, lambda: names("other-key") == ["other"])
        assert names() == []  # a key that was taken out is one no longer
        assert "other-key" not in server.said()
        assert "sesame" not in server.said()


def test_a_model_that_is_pinned_anew_is_loaded(tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text("")
    with started(tmp_path, "--config", "serve.toml") as server:
        healthy(server)
        config.write_text('pin = ["echo"]\n')
        server.process.send_signal(signal.SIGHUP)
        ready(server, lambda: "The model 'echo' is loaded" in server.said())


def test_a_pipe_is_not_read_again(tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text("max_queue = 7\n")
    with started(tmp_path, "--config", "serve.toml") as server:
        healthy(server)
        config.unlink()
        os.mkfifo(config)
        server.process.send_signal(signal.SIGHUP)
        ready(server, lambda: "serve.toml: it is no file that can be read again." in server.said())
        healthy(server)


def test_the_access_log_tells_no_prompt(tmp_path: Path) -> None:
    with started(tmp_path, "--access-log", "json") as server:
        healthy(server)
        assert ask(server.port, "POST", "/v1/chat/completions", TURNS, authorization="Bearer sesame")[0] == 200
        ready(server, lambda: "completions" in server.said())
        assert "Hello" not in server.said()
        assert "sesame" not in server.said()
        told = json.loads(next(line for line in server.said().splitlines() if "completions" in line))
        assert (told["method"], told["path"], told["status"]) == ("POST", "/v1/chat/completions", 200)
        assert (told["model"], told["ending"], told["completion_tokens"]) == ("echo", "finished", 2)


def test_a_broken_file_of_models_is_told_at_the_start(tmp_path: Path) -> None:
    with started(tmp_path, models="[x\n") as server:
        assert server.ended() == 2
        assert "models.toml, line 1: it is not valid TOML" in server.said()


def test_of_an_engine_only_warnings_are_logged(tmp_path: Path) -> None:
    file = make_tiny_gguf(tmp_path / "tiny.gguf")
    models = f'[models.tiny]\npath = "{file}"\nparameters = {{ n_threads = 1 }}\n'
    with started(tmp_path, models=models) as server:
        healthy(server)
        asked = {"model": "tiny", "prompt": "x", "max_tokens": 3}
        assert ask(server.port, "POST", "/v1/completions", asked)[0] == 200
        ready(server, lambda: "completions 200" in server.said())
        assert re.search(r"INFO The model 'tiny' is loaded \(\d+\.\d s\)\.", server.said())
        lines = [line for line in server.said().splitlines() if " INFO " in line and "127.0.0.1" not in line]
        assert len(lines) == 1, lines


def test_a_socket_in_the_file_system(tmp_path: Path) -> None:
    with started(tmp_path, LLAMAFORGE_SERVE_UNIX_SOCKET="here.sock") as server:

        def asked() -> bytes:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(tmp_path / "here.sock"))
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n")
                return b"".join(iter(lambda: connection.recv(4096), b""))

        ready(server, lambda: asked().startswith(b"HTTP/1.1 200"))
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == -signal.SIGTERM
        assert "Traceback" not in server.said()
        assert not (tmp_path / "here.sock").exists()


def test_a_path_that_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "here"
    file.write_text("a text")
    refused = CliRunner().invoke(command, ["--unix-socket", str(file)])
    assert (refused.exit_code, file.read_text()) == (2, "a text")
    assert "a file that is no socket is there" in refused.output
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(left))
        other.listen()
        refused = CliRunner().invoke(command, ["--unix-socket", str(left)])
        assert "another server listens there" in refused.output
    with listen_in_file(str(left)):  # nobody answers there any more
        assert left.exists()
    assert not left.exists()


def test_a_socket_that_was_replaced_stays(tmp_path: Path) -> None:
    here = tmp_path / "here.sock"
    with listen_in_file(str(here)):
        here.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(here))
    assert here.exists()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = CliRunner().invoke(command, ["--port", str(port)])
    assert refused.exit_code == 2
    assert f"Can't listen on 127.0.0.1, port {port}: Address already in use." in refused.output
    assert "Serving" not in refused.output


def test_a_free_port_is_told(tmp_path: Path) -> None:
    with started(tmp_path, "--port", "0") as server:
        ready(server, lambda: b"Ctrl-C" in server.said().encode())
        told = re.search(r"http://127\.0\.0\.1:(\d+)\.", server.said())
        assert told is not None
        assert ask(int(told[1]), "GET", "/health")[0] == 200


def test_keys_of_a_public_server_stay(tmp_path: Path) -> None:
    """A file without its keys, and keys that can't be read, change nothing, and don't end the watching of files."""
    config, keys = tmp_path / "serve.toml", tmp_path / "keys"
    keys.write_text("sesame\n")
    config.write_text('host = "0.0.0.0"\napi_key_file = "keys"\n')

    def status(key: str) -> int:
        return ask(server.port, "GET", "/v1/models", authorization=f"Bearer {key}")[0]

    with started(tmp_path, "--config", "serve.toml") as server:
        healthy(server)
        config.write_text('host = "0.0.0.0"\n')
        ready(server, lambda: "can be reached from other machines" in server.said())
        assert (status("none"), status("sesame")) == (401, 200)
        config.write_text('host = "127.0.0.1"\n')  # the address in force is the one from the start
        ready(server, lambda: server.said().count("can be reached from other machines") == 2)
        config.write_text('host = "0.0.0.0"\napi_key_file = "keys"\n')
        ready(server, lambda: "were read anew" in server.said())
        keys.write_bytes(b"\xff\xfe\n")
        ready(server, lambda: "a text file in UTF-8" in server.said())
        assert (status("none"), status("sesame")) == (401, 200)
        keys.write_text("other\n")
        ready(server, lambda: status("other") == 200)


def test_headers_have_a_bound(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        healthy(server)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 100_000)
            assert connection.recv(4096).startswith(b"HTTP/1.1 431 ")
        long = {"model": "echo", "messages": [{"role": "user", "content": "a" * 100_000}]}
        assert ask(server.port, "POST", "/v1/chat/completions", long)[0] != 431


def test_limits_of_connections_are_settings(tmp_path: Path) -> None:
    with started(tmp_path, LLAMAFORGE_SERVE_READ_TIMEOUT="0.3", LLAMAFORGE_SERVE_MAX_CONNECTIONS="9") as server:
        healthy(server)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
            told = b"".join(iter(lambda: connection.recv(4096), b""))
        assert told.startswith(b"HTTP/1.1 408 ")
        assert b"0.3 seconds (--read-timeout)" in told


def test_a_client_that_leaves_amid_its_body_leaves_no_traceback(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        healthy(server)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        ready(server, lambda: "POST /v1/chat/completions" in server.said())
        assert "Traceback" not in server.said()


def test_https(tmp_path: Path) -> None:
    trusted = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    with started(tmp_path, "--tls-cert", str(TLS / "cert.pem"), "--tls-key", str(TLS / "key.pem")) as server:

        def asked() -> int:
            connection = HTTPSConnection("127.0.0.1", server.port, timeout=30, context=trusted)
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status
            finally:
                connection.close()

        ready(server, lambda: asked() == 200)


def drowsy(server: Started) -> tuple[threading.Thread, list[tuple[int, bytes]]]:
    """An answer of twenty words that takes its time, once it is being computed."""
    healthy(server)
    answers: list[tuple[int, bytes]] = []
    turns = {"model": "echo", "messages": [{"role": "user", "content": "word " * 20}]}
    asking = threading.Thread(target=lambda: answers.append(_asked(server.port, turns)))
    asking.start()
    ready(server, lambda: b'llamaforge_model_requests{model_name="echo"} 1.0' in ask(server.port, "GET", "/metrics")[1])
    return asking, answers


def _asked(port: int, turns: object) -> tuple[int, bytes]:
    try:
        return ask(port, "POST", "/v1/chat/completions", turns)
    except OSError:
        return 0, b""


def test_answers_end_before_the_server_does(tmp_path: Path) -> None:
    with started(tmp_path, models=ECHO + "parameters = { delay = 0.1 }\n") as server:
        asking, answers = drowsy(server)
        server.process.send_signal(signal.SIGTERM)
        asking.join(30)
        assert [status for status, _ in answers] == [200]
        assert json.loads(answers[0][1])["choices"][0]["message"]["content"].count("word") == 20
        assert server.ended() == -signal.SIGTERM


def test_a_second_signal_ends_it(tmp_path: Path) -> None:
    with started(tmp_path, models=ECHO + "parameters = { delay = 30.0 }\n") as server:
        asking, answers = drowsy(server)
        server.process.send_signal(signal.SIGTERM)
        ready(server, lambda: not _listens(server.port))
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == -signal.SIGTERM
        asking.join(30)
        assert answers[0][0] == 503
        assert b"The server has been stopped." in answers[0][1]
        assert "Traceback" not in server.said()


STREAMED = {
    "/v1/chat/completions": b'data: {"error":{"message":"The server has been stopped."',
    "/v1/messages": b"event: error",
    "/v1/responses": b"event: response.failed",
    "/api/chat": b'{"error":"The server has been stopped."}',
}


def test_streams_that_are_cut_off_end_with_an_error(tmp_path: Path) -> None:
    with started(tmp_path, models=ECHO + "parameters = { delay = 0.2 }\n") as server, ExitStack() as open_streams:
        healthy(server)
        answers = {}
        for path in STREAMED:
            connection = open_streams.enter_context(closing(HTTPConnection("127.0.0.1", server.port, timeout=30)))
            turns = [{"role": "user", "content": "word " * 500}]
            asked = {"model": "echo", "messages": turns, "input": turns, "stream": True, "max_tokens": 1000}
            connection.request("POST", path, json.dumps(asked))
            answers[path] = connection.getresponse()
        server.process.send_signal(signal.SIGTERM)
        ready(server, lambda: "Requests under way: 4." in server.said())
        server.process.send_signal(signal.SIGTERM)
        for path, last in STREAMED.items():
            assert last in answers[path].read().rstrip().rpartition(b"\n\n" if "/v1" in path else b"\n")[2], path
        assert server.ended() == -signal.SIGTERM
        assert "Traceback" not in server.said()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_follows_events_holds_nothing_up(tmp_path: Path, number: signal.Signals) -> None:
    """The page does. And what Python calls at its end is called."""
    (tmp_path / "sitecustomize.py").write_text('import atexit\natexit.register(print, "the last words", flush=True)\n')
    with (
        started(tmp_path, PYTHONPATH=str(tmp_path)) as server,
        closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as following,
    ):
        healthy(server)
        following.request("GET", "/admin/events")
        events = following.getresponse()
        assert events.readline() == b"event: models\n"
        server.process.send_signal(number)
        events.read()  # to its end
        assert server.ended() == -number
        assert "Traceback" not in server.said()
        assert "cut off" not in server.said()
        assert "the last words" in server.said()


def test_a_model_that_loads_for_long_is_not_waited_for(
    forge: LlamaForge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ending, "_CLOSE", 0.05)
    loading = threading.Thread(target=forge.load_model, args=("slow",))
    loading.start()
    until(forge.loaded_models)
    ending.unload_all(forge)
    assert "Not unloaded within 0.05 seconds: 'slow'." in caplog.text
    Scripted.gate.set()
    loading.join(20)


def _listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines"),
        (["--memory", "plenty"], "is not a size such as 8GB"),
        (["--port", "99999"], "99999"),
        (["--idle", "-1"], "idle must be"),
        (["--idle", "nan"], "idle must be"),
        (["--max-wait", "nan"], "max_wait must be"),
        (["--read-timeout", "0"], "read_timeout must be"),
        (["--max-connections", "0"], "0"),
        (["--memory", "-5GB"], "is not a size such as 8GB"),
        (["--host", "nowhere.invalid", "--no-key"], "Can't listen on nowhere.invalid"),
        (["--unix-socket", "/nowhere/at/all.sock"], "Can't listen on the socket /nowhere/at/all.sock"),
        (["--tls-cert", __file__, "--tls-key", __file__], f"--tls-cert {__file__}"),
        (["--pin", "nobody"], "nobody"),
        (["nowhere/tiny.gguf"], "nowhere/tiny.gguf."),
        (["--tls-cert", "cert.pem"], "both --tls-cert and --tls-key"),
        (["--api-key-file", "nowhere"], "there is no file nowhere"),
        (["--config", "nowhere.toml"], "nowhere.toml: it can't be read"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("port = ", "not TOML"),
        ("prot = 1", "no setting 'prot'. Did you mean 'port'?"),
        ('port = "many"', "serve.toml: port: expected int, got str"),
        ("port = 99999", "serve.toml: port: expected int <= 65535"),
        ('memory = "plenty"', "is not a size"),
        ('host = "0.0.0.0"', "serve.toml: 0.0.0.0 can be reached from other machines"),
        ('host = "nowhere.invalid"\nno_key = true', "serve.toml: Can't listen on nowhere.invalid"),
        ('models = ["nobody"]', "serve.toml: models: There is no model 'nobody'"),
        ('pin = ["nobody"]', "serve.toml: pin: There is no model 'nobody'"),
        ("idle = -1", "serve.toml: idle must be"),
        ('models = ["/nowhere/tiny.gguf"]', "serve.toml: models: Nothing is at /nowhere/tiny.gguf."),
        ("store_size = 0", "serve.toml: store_size must be"),
        (
            'models = ["all-minilm-l6-v2"]\npin = ["smollm2-135m-instruct"]',
            "serve.toml: pin: 'smollm2-135m-instruct' is not among the models to serve: all-minilm-l6-v2.",
        ),
        ('access_log = "loud"', "serve.toml: access_log: expected 'text', 'json', 'off', got 'loud'"),
        ('api_key_file = "nowhere"', "serve.toml: --api-key-file: there is no file"),
        ("max-queue = 1\nmax_queue = 2", "serve.toml: max-queue is set twice, also as max_queue."),
        (
            'cors_origin = ["https://example.com/"]',
            "serve.toml: cors_origin must be origins in lower case, without a path",
        ),
        ('cors_origin = ["example.com"]', "such as https://example.com, not 'example.com'"),
        ('allow_host = ["example.com:443"]', "serve.toml: allow_host must be names without scheme and port"),
        ('allow_host = ["https://example.com"]', "such as models.example.com, not 'https://example.com'"),
        ("\ufeffidle = -1", "serve.toml: idle must be"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(content, "utf-8")
    result = CliRunner().invoke(command, ["--config", str(file)])
    assert result.exit_code == 2
    assert message in result.output
