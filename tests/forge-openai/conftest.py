"""A scripted server, and the backend that talks to it through the real SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forge_openai import OpenAIBackend
from support.scripted import ScriptedServer, delta, models_reply, stream_reply, usage

ENVIRONMENT = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "OPENAI_ADMIN_KEY",
    "OPENAI_CUSTOM_HEADERS",
    "OPENAI_LOG",
)

Load = Callable[..., OpenAIBackend]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Lists the model m-1, and answers "Hello"."""
    with ScriptedServer() as server:
        server.on("GET", "/models", models_reply("m-1"))
        server.chat(stream_reply(delta("Hel"), delta("lo"), delta(finish_reason="stop"), usage(3, 2)))
        yield server


@pytest.fixture
def load(server: ScriptedServer) -> Iterator[Load]:
    """Load m-1 from the scripted server with the given parameters; no retries unless they say so."""
    opened: list[OpenAIBackend] = []

    def load(model: str = "m-1", **parameters: Any) -> OpenAIBackend:
        backend = OpenAIBackend()
        opened.append(backend)
        given = {"api_key": "sk-scripted", "api_base": server.url, "max_retries": 0, **parameters}
        backend.load_model(model, given)
        return backend

    yield load
    for backend in opened:
        backend.close()
