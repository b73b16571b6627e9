"""A backend for one kind of server is a subclass: its own parameters and defaults, none of OpenAI's credentials."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pytest
from msgspec import Meta

from forge_openai import OpenAIBackend, OpenAIConfig
from llamaforge.backends.spec import BackendSpec, Capabilities
from llamaforge.errors import UnsupportedError
from support.scripted import ScriptedServer


class OwnConfig(OpenAIConfig, frozen=True, kw_only=True):
    reads_environment: ClassVar[bool] = False
    api_base: Annotated[str, Meta(description="Where it is.")] | None = "http://127.0.0.1:1/v1"
    extensions: tuple[str, ...] = ("top_k",)


class OwnBackend(OpenAIBackend):
    spec = BackendSpec(
        name="own",
        target="own:OwnBackend",
        config="own:OwnConfig",
        summary="A server of its own",
        capabilities=Capabilities(parameters=frozenset({"max_tokens", "temperature"}), server_defaults=True),
    )
    config_class = OwnConfig


@pytest.fixture
def backend(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> OwnBackend:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai-alone")
    backend = OwnBackend()
    backend.load_model("m-1", {"api_base": server.url})
    return backend


def test_its_capabilities_are_those_of_its_own_spec(backend: OwnBackend, server: ScriptedServer) -> None:
    assert backend.capabilities.parameters == {"max_tokens", "temperature", "top_k"}
    with pytest.raises(UnsupportedError, match="top_p"):
        backend.generate("Hi", top_p=0.5)
    assert backend.generate("Hi", top_k=3) == "Hello"
    assert server.last.body["top_k"] == 3


def test_openai_s_key_is_not_sent_to_another_server(backend: OwnBackend, server: ScriptedServer) -> None:
    backend.generate("Hi")
    assert server.requests
    assert not [each for each in server.requests if "sk-for-openai-alone" in str(each.headers)]
