"""What a caller sets in a context variable, the plugin's code reads, by whatever way it is asked."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from llamaforge import BackendSpec, BaseBackend, CancellationToken, Event, Finished, LlamaForge, TextDelta
from llamaforge.awaitables import AwaitableResult
from llamaforge.backends.registry import register_backend
from llamaforge.requests import GenerationRequest
from llamaforge.testing.fakes import MODEL

WHO = contextvars.ContextVar("WHO", default="nobody")
MESSAGES = [{"role": "user", "content": "hi"}]


class Sync(BaseBackend):
    """Says who asks, in a stream."""

    spec = BackendSpec(
        name="context-sync", target=f"{__name__}:Sync", config="llamaforge:BackendConfig", summary="For tests."
    )
    loaded_for: ClassVar[list[str]] = []

    def load(self, model_path: str, config: Any) -> None:
        self.loaded_for.append(WHO.get())

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        for _ in range(2):
            yield TextDelta(f"{WHO.get()} ")
        yield Finished(finish_reason="stop")


class Async(BaseBackend):
    """Says who asks, in an asynchronous stream."""

    spec = BackendSpec(
        name="context-async", target=f"{__name__}:Async", config="llamaforge:BackendConfig", summary="For tests."
    )

    def load(self, model_path: str, config: Any) -> None:
        """There is nothing to load."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield TextDelta(f"{WHO.get()} ")
        yield Finished(finish_reason="stop")


class Basic(BaseBackend):
    """Says who asks, with the four methods of the reference's first page."""

    loaded_for: ClassVar[list[str]] = []

    def load_model(self, model_path: str, parameters: dict[str, Any] | None = None) -> None:
        self.loaded_for.append(WHO.get())

    def unload_model(self) -> None:
        """There is nothing to unload."""

    def is_model_loaded(self) -> bool:
        return True

    def generate(self, prompt: str, parameters: dict[str, Any] | None = None) -> str:
        return f"{WHO.get()} " * 2


async def _streamed(stream: Any) -> str:
    return "".join([piece async for piece in stream])


async def _batch(items: Any) -> str:
    return "".join([item.text async for item in items])


def _alone(coroutine: Any) -> str:
    return asyncio.run(coroutine)


WAYS: dict[str, Callable[[Any], str]] = {
    "generate": lambda asked: asked.generate("hi"),
    "chat": lambda asked: asked.chat(MESSAGES),
    "generate_stream": lambda asked: "".join(asked.generate_stream("hi")),
    "chat_stream": lambda asked: "".join(asked.chat_stream(MESSAGES)),
    "generate_batch": lambda asked: next(iter(asked.generate_batch(["hi"]))).text,
    "agenerate": lambda asked: _alone(asked.agenerate("hi")),
    "achat": lambda asked: _alone(asked.achat(MESSAGES)),
    "agenerate_stream": lambda asked: _alone(_streamed(asked.agenerate_stream("hi"))),
    "achat_stream": lambda asked: _alone(_streamed(asked.achat_stream(MESSAGES))),
    "agenerate_batch": lambda asked: _alone(_batch(asked.agenerate_batch(["hi"]))),
}
OF_BASIC = ("generate", "agenerate", "generate_batch", "agenerate_batch")


@pytest.fixture(scope="module")
def asked() -> dict[type[BaseBackend], BaseBackend]:
    """One loaded backend of each kind."""
    backends: dict[type[BaseBackend], BaseBackend] = {kind: kind() for kind in (Sync, Async)}
    for backend in backends.values():
        backend.load_model(MODEL)
    return backends


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [Sync, Async])
def test_every_way_to_ask_brings_the_callers_context(
    asked: dict[type[BaseBackend], BaseBackend], kind: type[BaseBackend], way: str
) -> None:
    for who in ("Ada", "Grace"):  # the second caller finds threads and loops that the first one started
        context = contextvars.copy_context()
        context.run(WHO.set, who)
        assert context.run(WAYS[way], asked[kind]).split() == [who, who]
    assert WAYS[way](asked[kind]).split() == ["nobody", "nobody"]


@pytest.mark.parametrize(("kind", "way"), [*((Sync, way) for way in WAYS), *((Basic, way) for way in OF_BASIC)])
def test_the_front_door_brings_it_and_loads_with_it(tmp_path: Path, kind: Any, way: str) -> None:
    register_backend("context", kind, replace=True)
    kind.loaded_for.clear()
    context = contextvars.copy_context()
    context.run(WHO.set, "Ada")
    with LlamaForge(tmp_path / "models.toml") as forge:
        forge.add_model("one", "nothing", backend="context")
        context.run(forge.load_model, "one")
        assert context.run(WAYS[way], forge).split() == ["Ada", "Ada"]
        assert kind.loaded_for == ["Ada"]


def test_loading_asynchronously_brings_it(tmp_path: Path) -> None:
    register_backend("context", Sync, replace=True)
    Sync.loaded_for.clear()

    async def load() -> None:
        WHO.set("Ada")
        with LlamaForge(tmp_path / "models.toml") as forge:
            forge.add_model("one", "nothing", backend="context")
            await forge.aload_model("one")

    asyncio.run(load())
    assert Sync.loaded_for == ["Ada"]


def test_a_result_that_is_awaited_brings_it() -> None:
    async def ask() -> str:
        WHO.set("Ada")
        return await AwaitableResult(lambda: WHO.get())

    assert asyncio.run(ask()) == "Ada"
