"""A server under test, with real sockets, over models that do what they are told."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any, ClassVar
from urllib.parse import urlsplit

import uvicorn

from forge_serve import ServeConfig, create_app
from forge_serve.app import voice_of
from forge_serve.connections import Connections
from forge_serve.residency import Residency
from llamaforge import (
    BackendSpec,
    BaseBackend,
    CancellationToken,
    Capabilities,
    Event,
    Finished,
    LlamaForge,
    TextDelta,
)
from llamaforge.backends.memory import MemoryUsage
from llamaforge.errors import GenerationError
from llamaforge.parameters import NAMES, UNIVERSAL
from llamaforge.requests import GenerationRequest
from llamaforge.results import ReasoningDelta, ToolCallDelta, Usage


class Scripted(BaseBackend):
    """Does what the last message says; the tests look at what reached it."""

    spec = BackendSpec(
        name="scripted",
        target=f"{__name__}:Scripted",
        config="llamaforge:BackendConfig",
        summary="For tests.",
        capabilities=Capabilities(parameters=frozenset(NAMES) - UNIVERSAL),
    )
    asked: ClassVar[list[GenerationRequest]] = []
    loads: ClassVar[list[str]] = []
    cancelled: ClassVar[threading.Event] = threading.Event()
    begun: ClassVar[threading.Event] = threading.Event()
    gate: ClassVar[threading.Event] = threading.Event()
    size: ClassVar[int] = 10

    def load(self, model_path: str, config: Any) -> None:
        if "slow" in model_path:
            assert self.gate.wait(20)
        if "broken" in model_path:
            raise ValueError("no such weights")
        self.loads.append(model_path)

    def memory(self) -> MemoryUsage | None:
        return MemoryUsage(host=self.size, measured=True) if self.is_model_loaded() else None

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        self.asked.append(request)
        said = request.prompt if request.prompt is not None else request.as_messages()[-1].text
        reason: Any = "stop"
        if said == "wait":
            yield TextDelta("begun")
        if said in ("wait", "think"):
            self.begun.set()
            while not cancellation.stopped:
                time.sleep(0.002)
            self.cancelled.set()
            cancellation.check()
            return
        if said == "flood":
            self.begun.set()
            try:
                while not cancellation.stopped:
                    yield TextDelta("x" * 50_000)
            finally:
                self.cancelled.set()
            return
        if said == "reason" or request.reasoning_effort not in (None, "none"):
            yield ReasoningDelta("Let me ")
            yield ReasoningDelta("see. ")
        if said == "call" or request.tool_choice == "required":
            reason = "tool_calls"
            yield ToolCallDelta(index=0, id="call_1", name="weather", arguments='{"city":')
            yield ToolCallDelta(index=0, arguments='"Oslo"}')
        if said == "fail":
            yield TextDelta("half an")
            raise GenerationError("The engine has failed.")
        pieces = ("Hello", " wörld", f" {self.model_path}") if request.response_format is None else ('{"a":', "1}")
        for piece in pieces:
            yield TextDelta(piece)
        yield Finished(finish_reason=reason, usage=Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2))


class Running:
    """A server under test."""

    def __init__(self, url: str, forge: LlamaForge, residency: Residency) -> None:
        self.url = url
        self.forge = forge
        self.residency = residency


Serve = Callable[..., contextlib.AbstractContextManager[Running]]


@contextlib.contextmanager
def running(forge: LlamaForge, config: ServeConfig) -> Iterator[Running]:
    app = create_app(forge, config)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            log_level="error",
            http=Connections(app.state.service, voice_of).protocol,
            ws="none",
            timeout_keep_alive=10**6,
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < end
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(f"http://127.0.0.1:{port}", forge, app.state.service.residency)
    finally:
        server.should_exit = True
        thread.join(10)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a state."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def body(text: str = "Hi", **more: Any) -> dict[str, Any]:
    """A request that most dialects take."""
    return {"model": "one", "max_tokens": 9, "messages": [{"role": "user", "content": text}], **more}


def post(server: Running, path: str, content: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    sent = content if isinstance(content, bytes) else json.dumps(content).encode()
    try:
        connection.request("POST", path, sent, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def get(server: Running, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
