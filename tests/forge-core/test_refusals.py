"""Requests that are refused before a backend is reached are observed like all others: a start, an end ``refused``."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from llamaforge import BaseBackend, LlamaForge, observers, register_backend
from llamaforge.arriving import arriving
from llamaforge.batch_files import BatchRun, Journal, read_rows
from llamaforge.errors import (
    ConflictingParametersError,
    InvalidParameterError,
    LlamaForgeError,
    ModelNotLoadedError,
    UnknownModelError,
    UnknownParameterError,
    UnsupportedError,
)
from support.ear import Ear

MESSAGES = [{"role": "user", "content": "Hello"}]


class Basic(BaseBackend):
    """The four methods of the reference."""

    def load_model(self, model_path: Any, parameters: Mapping[str, object] | None = None) -> None:
        self._model_path = str(model_path)

    def generate(self, prompt: str, parameters: Mapping[str, object] | None = None) -> str:  # type: ignore[override]
        return prompt

    def generate_stream(self, prompt: str, parameters: Mapping[str, object] | None = None) -> Iterator[str]:  # type: ignore[override]
        yield prompt

    def is_model_loaded(self) -> bool:
        return self._model_path is not None


def add(one: int, two: int) -> int:
    """Add two numbers."""
    return one + two


async def _all(items: Any) -> None:
    async for _ in items:
        pass


WAYS: dict[str, tuple[str, Callable[..., Any]]] = {
    "generate": ("generate", lambda it, **given: it.generate("Hello", **given)),
    "raw": ("generate", lambda it, **given: it.generate("Hello", raw=True, **given)),
    "generate_stream": ("generate", lambda it, **given: list(it.generate_stream("Hello", **given))),
    "chat": ("chat", lambda it, **given: it.chat(MESSAGES, **given)),
    "chat_stream": ("chat", lambda it, **given: list(it.chat_stream(MESSAGES, **given))),
    "generate_batch": ("generate", lambda it, **given: list(it.generate_batch(["Hello"], **given))),
    "run_tools": ("chat", lambda it, **given: it.run_tools(MESSAGES, [add], **given)),
    "agenerate": ("generate", lambda it, **given: asyncio.run(it.agenerate("Hello", **given))),
    "agenerate_stream": ("generate", lambda it, **given: asyncio.run(_all(it.agenerate_stream("Hello", **given)))),
    "achat": ("chat", lambda it, **given: asyncio.run(it.achat(MESSAGES, **given))),
    "achat_stream": ("chat", lambda it, **given: asyncio.run(_all(it.achat_stream(MESSAGES, **given)))),
    "agenerate_batch": ("generate", lambda it, **given: asyncio.run(_all(it.agenerate_batch(["Hello"], **given)))),
    "arun_tools": ("chat", lambda it, **given: asyncio.run(it.arun_tools(MESSAGES, [add], **given))),
}
VECTORS: dict[str, tuple[str, Callable[..., Any]]] = {
    "embed": ("embed", lambda it, **given: it.embed("Hello", **given)),
    "embed_stream": ("embed", lambda it, **given: list(it.embed_stream("Hello", **given))),
    "aembed": ("embed", lambda it, **given: asyncio.run(it.aembed("Hello", **given))),
    "aembed_stream": ("embed", lambda it, **given: asyncio.run(_all(it.aembed_stream("Hello", **given)))),
    "rerank": ("rerank", lambda it, **given: it.rerank("Hello", ["a"], **given)),
    "arerank": ("rerank", lambda it, **given: asyncio.run(it.arerank("Hello", ["a"], **given))),
}
MODELS: dict[str, tuple[dict[str, Any], type[LlamaForgeError], str]] = {
    "unknown": ({"model": "nobody"}, UnknownModelError, "nobody"),
    "not loaded": ({"model": "other"}, ModelNotLoadedError, "other"),
    "of the wrong type": ({"model": 3}, InvalidParameterError, ""),
}
PARAMETERS: dict[str, tuple[dict[str, Any], type[LlamaForgeError]]] = {
    "contradicting": ({"parameters": {"max_tokens": 1}, "max_tokens": 2}, ConflictingParametersError),
    "no mapping": ({"parameters": "hot", "max_tokens": 2}, InvalidParameterError),
    "unknown": ({"temprature": 1}, UnknownParameterError),
    "out of range": ({"max_tokens": -1}, InvalidParameterError),
    "in a mapping": ({"parameters": {"max_tokens": -1}}, InvalidParameterError),
}


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    with observers.attach(ear):
        yield ear


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[LlamaForge]:
    with LlamaForge(tmp_path / "models.toml") as forge:
        forge.add_model("mine", "the/model", backend="echo")
        forge.add_model("other", "other/model", backend="echo")
        yield forge


def refused(ear: Ear, operation: str, error: BaseException) -> Any:
    """The one request: refused with that error, or a copy of it."""
    request, end = ear.only()
    assert (request.operation, end.outcome) == (operation, "refused")
    assert end.error is error
    assert end.timings.total is not None
    return request


@pytest.mark.parametrize("way", [*WAYS, *VECTORS])
@pytest.mark.parametrize("model", MODELS)
def test_no_such_model(ear: Ear, forge: LlamaForge, way: str, model: str) -> None:
    operation, call = {**WAYS, **VECTORS}[way]
    given, expected, name = MODELS[model]
    forge.load_model("mine")
    with pytest.raises(expected) as caught:
        call(forge, **given)
    request = refused(ear, operation, caught.value)
    assert (request.model, request.backend) == (name, "")


@pytest.mark.parametrize("way", [*WAYS, *VECTORS])
def test_nothing_is_loaded(ear: Ear, forge: LlamaForge, way: str) -> None:
    operation, call = {**WAYS, **VECTORS}[way]
    with pytest.raises(ModelNotLoadedError) as caught:
        call(forge)
    refused(ear, operation, caught.value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("named", [False, True])
def test_parameters(ear: Ear, forge: LlamaForge, way: str, parameters: str, named: bool) -> None:
    operation, call = WAYS[way]
    given, expected = PARAMETERS[parameters]
    backend = forge.load_model("mine")
    with pytest.raises(expected) as caught:
        call(forge if named else backend, **given)
    request = refused(ear, operation, caught.value)
    assert (request.model, request.backend) == ("mine", "echo")


@pytest.mark.parametrize("way", [way for way, (operation, _) in WAYS.items() if operation == "chat"])
@pytest.mark.parametrize("messages", [[], "Hello", [{"role": "user"}], [{"role": "nobody", "content": "x"}], 3])
def test_messages(ear: Ear, forge: LlamaForge, way: str, messages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forge.load_model("mine")
    monkeypatch.setitem(globals(), "MESSAGES", messages)
    with pytest.raises(LlamaForgeError) as caught:
        WAYS[way][1](forge)
    refused(ear, "chat", caught.value)


@pytest.mark.parametrize("way", VECTORS)
def test_the_wrong_task(ear: Ear, forge: LlamaForge, way: str) -> None:
    operation, call = VECTORS[way]
    forge.load_model("mine")
    with pytest.raises(UnsupportedError) as caught:
        call(forge)
    refused(ear, operation, caught.value)


@pytest.mark.parametrize("way", ["run_tools", "arun_tools"])
def test_tools(ear: Ear, forge: LlamaForge, way: str) -> None:
    forge.load_model("mine")
    with pytest.raises(InvalidParameterError) as caught:
        WAYS[way][1](forge, max_rounds=0)
    refused(ear, "chat", caught.value)


@pytest.mark.parametrize("way", WAYS)
def test_a_basic_backend(ear: Ear, forge: LlamaForge, way: str) -> None:
    """It takes any parameters and has no conversations."""
    register_backend("basic-refusals", Basic, replace=True)
    forge.add_model("basic", "the/model", backend="basic-refusals")
    forge.load_model("basic")
    operation, call = WAYS[way]
    if operation == "chat":
        with pytest.raises(UnsupportedError) as unsupported:
            call(forge)
        refused(ear, operation, unsupported.value)
    else:
        with pytest.raises(ConflictingParametersError) as conflict:
            call(forge, **PARAMETERS["contradicting"][0])
        refused(ear, operation, conflict.value)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("prompts", "options"),
    [("Hello", {}), (3, {}), (["Hello"], {"concurrency": 0}), (["Hello"], {"progress": "yes"})],
)
def test_a_whole_batch(ear: Ear, forge: LlamaForge, asynchronous: bool, prompts: Any, options: Any) -> None:
    forge.load_model("mine")
    with pytest.raises(InvalidParameterError) as caught:
        forge.agenerate_batch(prompts, **options) if asynchronous else forge.generate_batch(prompts, **options)
    refused(ear, "generate", caught.value)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_items_of_a_batch(ear: Ear, forge: LlamaForge, asynchronous: bool) -> None:
    forge.load_model("mine")
    prompts: Any = ["one", 7, "", b"two", [], "three"]

    async def answers() -> list[Any]:
        return [item async for item in forge.agenerate_batch(prompts)]

    items = asyncio.run(answers()) if asynchronous else list(forge.generate_batch(prompts))
    assert [item.error is None for item in items] == [True, False, False, False, False, True]
    ends = {id(end.error): end.outcome for _, end in ear.ended if end.error is not None}
    assert ends == {id(item.error): "refused" for item in items if item.error is not None}
    assert len(ear.started) == len(ear.ended) == 6


ROWS = [
    {"custom_id": "fine", "url": "/v1/chat/completions", "body": {"messages": MESSAGES}},
    "no JSON",
    {"custom_id": "url", "url": "/v1/images", "body": {}},
    {"custom_id": "parameter", "url": "/v1/chat/completions", "body": {"messages": MESSAGES, "temperature": -1}},
    {"custom_id": "field", "url": "/v1/completions", "body": {"prompt": "Hello", "stream": True}},
    {"custom_id": "input", "url": "/v1/embeddings", "body": {"input": 3}},
    {"custom_id": "model", "url": "/v1/responses", "body": {"input": "Hello", "model": "nobody"}},
    {"custom_id": "type", "url": "/v1/responses", "body": {"input": "Hello", "model": 3}},
]


def test_rows_of_a_batch_file(ear: Ear, forge: LlamaForge, tmp_path: Path) -> None:
    backend = forge.load_model("mine")

    def find(name: str | None) -> Any:
        if name is not None:
            raise UnknownModelError(name, ["mine"])
        return backend, "mine"

    lines = [(row if isinstance(row, str) else json.dumps(row)).encode() for row in ROWS]
    with (
        contextlib.closing(Journal(tmp_path / "out.jsonl")) as results,
        contextlib.closing(Journal(tmp_path / "errors.jsonl")) as errors,
    ):
        summary = BatchRun(find, results, errors, concurrency=2).run(read_rows(lines))
    assert (summary.finished, summary.failed) == (1, len(ROWS) - 1)
    assert len(ear.started) == len(ear.ended) == len(ROWS)
    found = sorted((request.operation, request.model, end.outcome) for request, end in ear.ended)
    assert found == sorted(
        [
            ("chat", "mine", "finished"),
            ("chat", "", "refused"),  # no JSON
            ("chat", "", "refused"),  # no such URL
            ("chat", "mine", "refused"),
            ("generate", "mine", "refused"),
            ("embed", "mine", "refused"),
            ("chat", "nobody", "refused"),
            ("chat", "", "refused"),
        ]
    )


def test_who_observes_nothing_pays_nothing() -> None:
    with arriving("chat", [(b"traceparent", b"00-1-2-01")]) as arrival:
        pass
    assert arrival.headers == {}


def test_only_headers_that_carry_a_trace_are_kept(ear: Ear) -> None:
    headers = [
        (b"Traceparent", b"00-1-2-01"),
        (b"tracestate", b"a=1"),
        (b"tracestate", b"b=2"),
        (b"authorization", b"Bearer secret"),
        (b"cookie", b"secret"),
    ]
    with contextlib.suppress(ValueError), arriving("chat", headers) as arrival:
        arrival.model = "m" * 1000
        raise ValueError("boom")
    request, end = ear.only()
    assert request.incoming == {"traceparent": "00-1-2-01", "tracestate": "a=1,b=2"}
    assert (request.model, end.outcome) == ("m" * 200, "failed")


def test_a_cancelled_task_is_cancelled(ear: Ear) -> None:
    async def run() -> None:
        async def wait() -> None:
            with arriving("chat"):
                await asyncio.Event().wait()

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert ear.only()[1].outcome == "cancelled"


def test_an_interrupt_is_no_error(ear: Ear) -> None:
    with pytest.raises(KeyboardInterrupt), arriving("chat"):
        raise KeyboardInterrupt
    assert ear.only()[1].outcome == "cancelled"
