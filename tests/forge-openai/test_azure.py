"""Azure OpenAI, as far as a server here can be it: its paths, its version, its two kinds of credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from forge_openai import OpenAIBackend
from llamaforge.errors import (
    AuthenticationError,
    ConflictingParametersError,
    ConnectionFailedError,
    InvalidParameterError,
    ModelNotFoundError,
)
from support.scripted import ScriptedServer, delta, error_reply, stream_reply

PATH = "/openai/deployments/mine/chat/completions"
QUERY = "?api-version=2024-10-21"
SOUND = {"api_version": "2024-10-21", "max_retries": 0}


@pytest.fixture
def azure() -> Iterator[ScriptedServer]:
    with ScriptedServer(api="") as server:
        refused = error_reply(400, "messages is required")
        server.on("POST", PATH + QUERY, refused, stream_reply(delta("Hello", "stop")))
        yield server


def load(server: ScriptedServer, model: str = "mine", **parameters: Any) -> OpenAIBackend:
    backend = OpenAIBackend()
    backend.load_model(model, {"azure_endpoint": server.root, **SOUND, **parameters})
    return backend


def test_a_key(azure: ScriptedServer) -> None:
    with load(azure, api_key="key-1") as backend:
        assert backend.generate("Hi", max_tokens=5, stop=list("abcd")) == "Hello"
        assert asyncio.run(backend.agenerate("Hi")) == "Hello"
        assert len(azure.requests) == 3
        assert {request.path for request in azure.requests} == {PATH + QUERY}
        assert {request.headers["api-key"] for request in azure.requests} == {"key-1"}
        asked = azure.requests[1].body
        assert (asked["max_completion_tokens"], asked["stop"]) == (5, list("abcd"))
        backend.generate("Hi", stop=list("abcde"))
        assert "stop" not in azure.last.body


def test_a_token(azure: ScriptedServer) -> None:
    with load(azure, azure_ad_token="token-1") as backend:
        assert backend.generate("Hi") == "Hello"
        assert asyncio.run(backend.agenerate("Hi")) == "Hello"
    assert {request.headers["authorization"] for request in azure.requests} == {"Bearer token-1"}
    assert not [request for request in azure.requests if "api-key" in request.headers]


def test_the_deployment_may_have_another_name(azure: ScriptedServer) -> None:
    with load(azure, "gpt-4o", api_key="key-1", azure_deployment="mine") as backend:
        assert backend.generate("Hi") == "Hello"
    assert azure.last.body["model"] == "gpt-4o"


def test_the_environment(azure: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai-alone")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key-env")
    with load(azure, api_version=None) as backend:
        backend.generate("Hi")
    assert azure.last.headers["api-key"] == "key-env"
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "token-env")
    with load(azure, check_model=False) as backend:
        backend.generate("Hi")
    assert azure.last.headers["authorization"] == "Bearer token-env"
    assert "sk-for-openai-alone" not in str([request.headers for request in azure.requests])


def test_three_mistakes(azure: ScriptedServer) -> None:
    missing = error_reply(404, "The API deployment for this resource does not exist.", code="DeploymentNotFound")
    azure.on("POST", PATH + QUERY, missing)
    with pytest.raises(ModelNotFoundError, match="mine"):
        load(azure, api_key="key-1")
    azure.on("POST", PATH + QUERY, error_reply(401, "Access denied.", code="401"))
    with pytest.raises(AuthenticationError):
        load(azure, api_key="key-1")
    with pytest.raises(ConnectionFailedError, match="azure_endpoint"):
        load(azure, api_key="key-1", azure_deployment="other")


@pytest.mark.parametrize(
    ("parameters", "kind"),
    [
        ({"azure_endpoint": "http://a"}, InvalidParameterError),  # neither a version nor a key
        ({"azure_endpoint": "http://a", **SOUND}, InvalidParameterError),
        ({"azure_endpoint": "a", "api_key": "k", **SOUND}, InvalidParameterError),
        ({"azure_endpoint": "http://me:canary@a", "api_key": "k", **SOUND}, InvalidParameterError),
        ({"api_version": "1", "api_key": "k"}, InvalidParameterError),
        ({"azure_deployment": "d", "api_key": "k"}, InvalidParameterError),
        ({"azure_ad_token": "canary-token"}, InvalidParameterError),
        ({"azure_endpoint": "http://a", "api_base": "http://b", "api_key": "k", **SOUND}, ConflictingParametersError),
        ({"azure_endpoint": "http://a", "project": "p", "api_key": "k", **SOUND}, ConflictingParametersError),
        ({"azure_endpoint": "http://a", "azure_ad_token": "t", "api_key": "k", **SOUND}, ConflictingParametersError),
    ],
)
def test_what_does_not_go_together(
    parameters: dict[str, Any], kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_VERSION", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(kind) as caught:
        OpenAIBackend().load_model("mine", parameters)
    assert "canary" not in str(caught.value)


def test_no_message_shows_the_token(azure: ScriptedServer) -> None:
    azure.on("POST", PATH + QUERY, error_reply(401, "Bad token: canary-token"))
    with pytest.raises(AuthenticationError) as caught:
        load(azure, azure_ad_token="canary-token")
    assert "canary" not in str(caught.value)
