"""Tokens and templates: ``/tokenize``, ``/detokenize`` and ``/apply-template`` as llama-server and vLLM have them, and
Anthropic's ``/v1/messages/count_tokens``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import msgspec

from llamaforge import BaseBackend

from .. import sse
from ..asked import Asked, Work, needed, take
from ..errors import invalid
from .anthropic import Messages
from .openai import ChatCompletions, OpenAIVoice

if TYPE_CHECKING:
    from llamaforge.observers import Operation

T = TypeVar("T")

_LONG: Final = 20_000
"""Bytes from which on work is done in a thread, since it takes some ten milliseconds."""
_NOT_OF_PROMPTS: Final = frozenset({"max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop"})


class Tokenize(OpenAIVoice):
    """``POST /tokenize``: the tokens of ``prompt`` (or ``content``, as llama-server calls it) or ``messages``."""

    operation: ClassVar[Operation | None] = None

    def read(self, body: dict[str, Any]) -> Work:
        """The request in *body*."""
        asked = _conversation(body, "prompt", "content")
        wanted = take(body, "with_pieces", bool, "true or false", False)
        spelled = take(body, "return_token_strs", bool, "true or false", False)

        async def run(backend: BaseBackend, seconds: float | None) -> bytes:
            tokens = await _beside(body, lambda: _tokens(backend, asked))
            told: dict[str, Any] = {"tokens": tokens, "count": len(tokens), "max_model_len": backend.context_length}
            if wanted or spelled:
                pieces = [backend.detokenize([token]) for token in tokens]
                if wanted:
                    told["tokens"] = [{"id": id_, "piece": text} for id_, text in zip(tokens, pieces, strict=True)]
                if spelled:
                    told["token_strs"] = pieces
            return sse.encode(told)

        return Work(model=asked.model, run=run, ignored=asked.ignored)


class Detokenize(OpenAIVoice):
    """``POST /detokenize``: the text of ``tokens``."""

    operation: ClassVar[Operation | None] = None

    def read(self, body: dict[str, Any]) -> Work:
        """The request in *body*."""
        model = needed(body, "model", str, "a model's name")
        tokens = needed(body, "tokens", list, "a list of token ids")

        async def run(backend: BaseBackend, seconds: float | None) -> bytes:
            text = await _beside(body, lambda: backend.detokenize(tokens))
            return sse.encode({"prompt": text, "content": text})

        ignored = [name for name, value in body.items() if name not in ("model", "tokens") and value is not None]
        return Work(model=model, run=run, ignored=ignored)


class ApplyTemplate(OpenAIVoice):
    """``POST /apply-template``: the text that the model would read for ``messages``."""

    operation: ClassVar[Operation | None] = None

    def read(self, body: dict[str, Any]) -> Work:
        """The request in *body*."""
        asked = _conversation(body)

        async def run(backend: BaseBackend, seconds: float | None) -> bytes:
            parameters = _parameters(asked)
            text = await _beside(body, lambda: backend.render(None, messages=asked.messages, parameters=parameters))
            return sse.encode({"prompt": text})

        return Work(model=asked.model, run=run, ignored=asked.ignored)


class CountTokens(Messages):
    """``POST /v1/messages/count_tokens``."""

    operation: ClassVar[Operation | None] = None  # type: ignore[assignment]  # another endpoint

    def read(self, body: dict[str, Any]) -> Work:  # type: ignore[override]  # another endpoint, in the same words
        """The request in *body*."""
        asked = super().read({"max_tokens": 1, **body})

        async def run(backend: BaseBackend, seconds: float | None) -> bytes:
            tokens = await _beside(body, lambda: _tokens(backend, asked))
            return sse.encode({"input_tokens": len(tokens)})

        return Work(model=asked.model, run=run, ignored=asked.ignored)


def _conversation(body: dict[str, Any], *texts: str) -> Asked:
    """What is to be rendered: a conversation, or the text in a field named in *texts*."""
    if "messages" in body:
        return ChatCompletions().read(body)
    text = next((name for name in texts if body.get(name) is not None), None)
    if text is None:
        raise invalid(f"{' or '.join(('messages', *texts))} is missing.", "messages")
    asked = Asked(model=needed(body, "model", str, "a model's name"), prompt=take(body, text, str, "a text"))
    asked.parameters["raw"] = True
    known = {"model", text, "with_pieces", "return_token_strs"}
    asked.ignored = [name for name, value in body.items() if name not in known and value is not None]
    return asked


def _parameters(asked: Asked) -> dict[str, Any]:
    """Those that change the prompt."""
    return {name: value for name, value in asked.parameters.items() if name not in _NOT_OF_PROMPTS}


def _tokens(backend: BaseBackend, asked: Asked) -> list[int]:
    if asked.messages is None:
        return backend.token_ids(asked.prompt, parameters=_parameters(asked)) if asked.prompt else []
    return backend.token_ids(messages=asked.messages, parameters=_parameters(asked))


async def _beside(body: dict[str, Any], work: Callable[[], T]) -> T:
    """What *work* returns; in a thread where the body is long, so that nobody else waits."""
    if len(msgspec.json.encode(body)) >= _LONG:
        return await asyncio.to_thread(work)
    return work()
