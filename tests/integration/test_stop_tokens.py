"""Stop strings that are special tokens: both in-process engines end at the token, on every path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forge_hf import HuggingFaceBackend
from forge_llamacpp import LlamaCppBackend
from llamaforge.engine import EngineBackend
from llamaforge.errors import InvalidParameterError
from support.gguf_files import make_tiny_gguf
from support.hf_models import make_tiny_model
from support.small_tokenizers import byte_level


@pytest.fixture(scope="module", params=["llama.cpp", "huggingface"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineBackend]:
    folder = tmp_path_factory.mktemp("stops")
    loaded: EngineBackend
    if request.param == "llama.cpp":
        loaded = LlamaCppBackend()
        loaded.load_model(make_tiny_gguf(folder / "tiny.gguf"), {"n_threads": 1})
    else:
        loaded = HuggingFaceBackend()
        loaded.load_model(make_tiny_model(folder / "tiny", byte_level()), {"device": "cpu"})
    with loaded:
        yield loaded


def mark(backend: EngineBackend, *, ends: bool) -> tuple[int, str]:
    """A special token that ends answers, or one that doesn't."""
    engine = backend._engine
    assert engine is not None
    return next(
        (token, text) for token, text in engine.special_tokens().items() if (token in engine.end_tokens) == ends
    )


async def _read(stream: Any) -> Any:
    async with stream:
        return await stream.read()


CALLS: dict[str, Callable[[EngineBackend, dict[str, Any]], Any]] = {
    "generate": lambda backend, options: backend.generate("x", {"raw": True, **options}),
    "stream": lambda backend, options: backend.generate_stream("x", {"raw": True, **options}).read(),
    "agenerate": lambda backend, options: asyncio.run(backend.agenerate("x", {"raw": True, **options})),
    "astream": lambda backend, options: asyncio.run(_read(backend.agenerate_stream("x", {"raw": True, **options}))),
    "batch": lambda backend, options: next(backend.generate_batch(["x"], {"raw": True, **options})).text,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("ends", [False, True])
def test_the_answer_ends_at_the_token_and_names_it(backend: EngineBackend, call: str, ends: bool) -> None:
    token, text = mark(backend, ends=ends)
    options = {"logit_bias": {token: 100}, "temperature": 0, "max_tokens": 5}
    answer = CALLS[call](backend, {**options, "stop": [text]})
    assert (answer, answer.finish_reason, answer.stop, answer.usage.completion_tokens) == ("", "stop", text, 0)
    free = CALLS[call](backend, options)
    assert (free.finish_reason, free.stop) == ("stop" if ends else "length", None)


def test_a_token_amid_a_stop_string_is_refused(backend: EngineBackend) -> None:
    _, text = mark(backend, ends=False)
    with pytest.raises(InvalidParameterError, match="special token"):
        backend.generate("x", {"raw": True, "stop": [f"{text}\n"]})
