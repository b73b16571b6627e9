"""A forked child has connections of its own: used by both, the parent's would mix up two conversations."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from forge_openai import OpenAIBackend
from support.forking import in_child
from support.scripted import ScriptedServer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_fork_has_connections_of_its_own(
    server: ScriptedServer, load: Callable[..., OpenAIBackend], asynchronous: bool
) -> None:
    backend = load()
    assert backend.generate("Hi") == "Hello"
    connections = server.connections

    def work() -> str:
        answer = asyncio.run(backend.agenerate("Hi")) if asynchronous else backend.generate("Hi")
        backend.close()
        return answer

    assert in_child(work) == "Hello"
    assert server.connections == connections + 1
    assert backend.generate("Hi") == "Hello"
    assert server.connections == connections + 1, "the parent's is still open"
