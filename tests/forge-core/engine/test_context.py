"""Context variables reach an engine's code, in whatever thread it runs."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from llamaforge import BackendSpec
from llamaforge.engine import EngineBackend, EngineConfig, Prompt
from llamaforge.errors import ContextOverflowError
from llamaforge.requests import GenerationRequest

from .toy import ToyEngine

WHO = contextvars.ContextVar("WHO", default="nobody")


class Watched(ToyEngine):
    """Notes who tokenizes."""

    seen: ClassVar[list[str]] = []

    def tokenize(self, request: GenerationRequest) -> Prompt:
        self.seen.append(WHO.get())
        return super().tokenize(request)


class InProcess(EngineBackend):
    """Notes who opens the engine."""

    spec = BackendSpec(
        name="context-engine", target=f"{__name__}:InProcess", config="llamaforge:BackendConfig", summary="A test."
    )
    config_class = EngineConfig
    opened_for: ClassVar[list[str]] = []

    def open_engine(self, model_path: str, config: EngineConfig) -> Watched:
        self.opened_for.append(WHO.get())
        return Watched()


async def _streamed(stream: Any) -> str:
    return "".join([piece async for piece in stream])


WAYS: dict[str, Callable[[InProcess, str], object]] = {
    "generate": lambda backend, prompt: backend.generate(prompt),
    "generate_stream": lambda backend, prompt: "".join(backend.generate_stream(prompt)),
    "agenerate": lambda backend, prompt: asyncio.run(backend.agenerate(prompt)),  # type: ignore[arg-type]
    "agenerate_stream": lambda backend, prompt: asyncio.run(_streamed(backend.agenerate_stream(prompt))),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_engine_opens_and_tokenizes_with_the_callers_context(way: str) -> None:
    def ask() -> None:
        WHO.set("Ada")
        with InProcess() as backend:
            backend.load_model("toy")
            WAYS[way](backend, "hi")
            with pytest.raises(ContextOverflowError):
                WAYS[way](backend, "long " * 20_000)  # tokenized in a thread of its own

    Watched.seen.clear()
    InProcess.opened_for.clear()
    contextvars.copy_context().run(ask)
    assert Watched.seen == ["Ada"] * 2
    assert InProcess.opened_for == ["Ada"]
