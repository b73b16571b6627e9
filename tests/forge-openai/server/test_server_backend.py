"""What a backend for an OpenAI-compatible server asks before it is used, and what its config means."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from forge_openai import server as package
from forge_openai.server import OpenAIServerBackend, OpenAIServerConfig
from forge_openai.server.config import ClientConfig
from llamaforge.errors import (
    AuthenticationError,
    ConflictingParametersError,
    ConnectionFailedError,
    InvalidParameterError,
    ModelNotFoundError,
    ServerError,
    ServerStartError,
)
from llamaforge.secrets import Secret
from support.scripted import Reply, ScriptedServer, delta, error_reply, json_reply, models_reply, stream_reply


class OwnConfig(OpenAIServerConfig, frozen=True, kw_only=True):
    type: Literal["own"] = "own"


class OwnBackend(OpenAIServerBackend[OwnConfig]):
    """A server of our own."""

    def build_launch_command(self) -> list[str]:
        return [sys.executable, "-c", "pass", str(self.config.model)]


@pytest.fixture(autouse=True)
def own_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Well, with the model m-1, and it generates."""
    with ScriptedServer(api="") as server:
        server.on("GET", "/health", Reply(200))
        server.on("GET", "/v1/models", models_reply("m-1"))
        server.on("POST", "/v1/completions", json_reply({"choices": [{"text": "x"}]}))
        yield server


@pytest.fixture
def backend() -> OwnBackend:
    return OwnBackend({"model": "m-1", "api_key": "sk-secret", "headers": {"X-Team": "blue"}})


def test_ready_is_who_generates(server: ScriptedServer, backend: OwnBackend) -> None:
    assert backend.is_ready(server.root)
    assert [each.path for each in server.requests] == ["/health", "/v1/models", "/v1/completions"]
    assert server.last.body["model"] == "m-1"
    assert server.last.body["max_tokens"] == 1
    for each in server.requests:
        assert each.headers["authorization"] == "Bearer sk-secret"
        assert each.headers["x-team"] == "blue"


@pytest.mark.parametrize("status", [500, 503, 404, 301])
def test_not_ready_while_it_is_not_well(status: int, server: ScriptedServer, backend: OwnBackend) -> None:
    server.on("GET", "/health", Reply(status))
    assert not backend.is_ready(server.root)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [503, 500, 429])
def test_not_ready_while_it_puts_requests_off(status: int, server: ScriptedServer, backend: OwnBackend) -> None:
    server.on("POST", "/v1/completions", error_reply(status))
    assert not backend.is_ready(server.root)


def test_a_refusal_of_the_question_is_an_answer(server: ScriptedServer, backend: OwnBackend) -> None:
    server.on("POST", "/v1/completions", error_reply(400))
    assert backend.is_ready(server.root)


def test_one_that_has_chat_alone(server: ScriptedServer, backend: OwnBackend) -> None:
    server.on("POST", "/v1/completions", error_reply(404))
    assert not backend.is_ready(server.root)
    server.on("POST", "/v1/chat/completions", json_reply({"choices": []}))
    assert backend.is_ready(server.root)


def test_one_that_has_another_model_never_gets_ready(server: ScriptedServer, backend: OwnBackend) -> None:
    server.on("GET", "/v1/models", models_reply("m-2"))
    with pytest.raises(ModelNotFoundError, match="m-2") as wrong:
        backend.is_ready(server.root)
    assert wrong.value.known == ["m-2"]
    assert OwnBackend({"model": "/models/m", "served_model_name": "m-2"}).is_ready(server.root)


@pytest.mark.parametrize("reply", [error_reply(404), Reply(200, body=b"<html>"), json_reply({"data": []})])
def test_one_that_lists_no_models_is_asked_all_the_same(
    reply: Reply, server: ScriptedServer, backend: OwnBackend
) -> None:
    server.on("GET", "/v1/models", reply)
    assert backend.is_ready(server.root)


def test_nobody_there(backend: OwnBackend) -> None:
    assert not backend.is_ready("http://127.0.0.1:9")
    with pytest.raises(ConnectionFailedError):
        OwnBackend().connect("http://127.0.0.1:9")


def test_the_model_that_is_taken_where_none_is_named(server: ScriptedServer) -> None:
    backend = OwnBackend()
    assert backend.find_model(server.root) == "m-1"
    server.on("GET", "/v1/models", models_reply("m-1", "m-2"))
    with pytest.raises(InvalidParameterError, match="m-1, m-2"):
        backend.connect(server.root)
    for reply in (error_reply(404), json_reply({"data": 3}), json_reply("text"), json_reply({"data": [{"id": 5}]})):
        server.on("GET", "/v1/models", reply)
        with pytest.raises(InvalidParameterError, match="does not say which models it has"):
            backend.connect(server.root)
    server.on("GET", "/v1/models", json_reply({"models": [{"name": "m-1", "aliases": 7}]}))
    assert backend.find_model(server.root) == "m-1"


def test_why_the_model_can_not_be_found_out_is_told(server: ScriptedServer) -> None:
    backend = OwnBackend()
    server.on("GET", "/v1/models", error_reply(403, "Missing scope."))
    with pytest.raises(AuthenticationError, match=r"Missing scope\..* load parameter model"):
        backend.connect(server.root)
    keyed = OwnBackend({"api_key": "sk-quite-secret"})
    server.on("GET", "/v1/models", error_reply(401, "No such key: sk-quite-secret."))
    with pytest.raises(AuthenticationError, match="No such key") as caught:
        keyed.connect(server.root)
    assert "sk-quite" not in str(caught.value)
    server.on("GET", "/v1/models", error_reply(500, "Out of memory."))
    with pytest.raises(ServerError, match="Out of memory"):
        backend.connect(server.root)
    with pytest.raises(ConnectionFailedError, match="http:// instead of https://"):
        backend.connect(server.root.replace("http://", "https://"))
    with pytest.raises(ConnectionFailedError, match="refused"):
        backend.connect("http://127.0.0.1:9")


def test_a_failure_that_is_no_crash_stays_what_it_is(server: ScriptedServer) -> None:
    with OwnBackend({"model": "m-1", "endpoint": server.root, "max_retries": 0}) as backend:
        server.on("POST", "/v1/chat/completions", error_reply(500, "out of memory"))
        with pytest.raises(ServerError, match="out of memory"):
            backend.generate("Hi")


def test_a_program_that_ends_at_once() -> None:
    with pytest.raises(ServerStartError, match="exit code 0") as failed:
        OwnBackend({"model": "m-1"}).start()
    assert failed.value.exit_code == 0
    with pytest.raises(ServerStartError, match="API key"):
        OwnBackend({"model": "sk-secret", "api_key": "sk-secret"}).start()


def test_addresses() -> None:
    read = OwnConfig.read
    for given in ("http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"):
        assert read({"endpoint": given}).endpoint == "http://h:1"
        assert read({"api_base": given}).endpoint == "http://h:1"
    assert read({"endpoint": "http://h:1"}).client("http://h:1").api_base == "http://h:1/v1"
    assert read({"api_base": "http://h:1/api"}).client("http://h:1/api").api_base == "http://h:1/api"
    several = read({"api_base": ["http://a/v1", "http://b/v1"]})
    assert several.client(str(several.endpoint)).api_base == ("http://a/v1", "http://b/v1")
    with pytest.raises(ConflictingParametersError):
        read({"endpoint": "http://a", "api_base": "http://b/v1"})
    hidden = read({"api_base": "http://me:hush-hush@h/v1"})
    assert "hush" not in repr(hidden)
    assert isinstance(hidden.client("http://h").headers["Authorization"], Secret)


def test_what_is_wrong_is_named() -> None:
    for wrong in ({"api_base": "h:1"}, {"headers": {"a b": "x"}}, {"extensions": ["top_q"]}, {"max_retries": -1}):
        with pytest.raises(InvalidParameterError, match=next(iter(wrong))):
            OwnConfig.read(wrong)


def test_openai_s_variables_are_not_for_it(monkeypatch: pytest.MonkeyPatch, server: ScriptedServer) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "sk-for-openai-alone")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: sk-for-openai-alone\nAuthorization: sk-for-openai-alone")
    assert ClientConfig.reads_environment is False
    server.on("POST", "/v1/chat/completions", stream_reply(delta("Hi", "stop")))
    with OwnBackend({"model": "m-1", "endpoint": server.root, "headers": {"x-own": "ours"}}) as backend:
        backend.generate("Hi")
        asyncio.run(backend.agenerate("Hi"))
    assert server.last.headers["x-own"] == "ours"
    assert not [each for each in server.requests if "sk-for-openai-alone" in str(each.headers)]


def test_the_spec_of_a_class_without_one() -> None:
    spec: Any = OwnBackend.spec
    assert (spec.name, spec.summary) == ("own", "A server of our own")
    assert {"max_tokens", "logprobs"} <= spec.capabilities.parameters
    assert OpenAIServerBackend().name == "openai"


def test_the_package_is_light_and_knows_its_names() -> None:
    heavy = "('openai', 'httpx', 'httpx2', 'pydantic')"
    code = f"import sys, forge_openai.server.backend; print([each for each in {heavy} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "OpenAIServerBackend" in dir(package)
    with pytest.raises(AttributeError, match="Nonsense"):
        package.Nonsense  # noqa: B018
