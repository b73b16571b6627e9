"""Vectors and scores from an in-process engine: what :class:`.backend.EngineBackend` does for these tasks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final, TypeVar

from ..backends.base import BaseBackend
from ..cancellation import CancellationToken
from ..embeddings import EmbeddingBatch, ScoreBatch
from ..errors import ContextOverflowError, GenerationError, InvalidParameterError, ModelNotLoadedError
from ..requests import EmbeddingRequest, RerankRequest
from ..results import Usage
from ..vectors import Vectors, shortened
from .embedding import EmbeddingEngine, TokenizedText
from .embedding_batcher import EmbeddingBatcher

T = TypeVar("T")

_LONG: Final = 20_000
"""Characters from which on texts are tokenized in a thread of their own: some ten milliseconds of work."""


class EmbeddingBackend(BaseBackend):
    """The part of an engine's backend that makes vectors and scores."""

    _batcher: EmbeddingBatcher | None = None

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        """Tokenize here, and wait for the engine's thread."""
        batcher = self._loaded_batcher()
        texts, usage = _prepared(lambda: _tokenized(batcher, request, cancellation), request.inputs, cancellation)
        call = batcher.submit(texts, cancellation)
        return _embedded(_waited(call.future, cancellation), usage, batcher.engine, request)

    async def acompute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        """Likewise, without blocking the event loop."""
        batcher = self._loaded_batcher()
        texts, usage = await _aprepared(
            lambda: _tokenized(batcher, request, cancellation), request.inputs, cancellation
        )
        call = batcher.submit(texts, cancellation)
        return _embedded(await _awaited(call.future, cancellation), usage, batcher.engine, request)

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        """Tokenize here, and wait for the engine's thread."""
        batcher = self._loaded_batcher()
        read = (request.query * len(request.documents), *request.documents)
        texts, usage = _prepared(lambda: _tokenized_pairs(batcher, request, cancellation), read, cancellation)
        call = batcher.submit(texts, cancellation)
        return _scored(_waited(call.future, cancellation), usage)

    async def acompute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        """Likewise, without blocking the event loop."""
        batcher = self._loaded_batcher()
        read = (request.query * len(request.documents), *request.documents)
        texts, usage = await _aprepared(lambda: _tokenized_pairs(batcher, request, cancellation), read, cancellation)
        call = batcher.submit(texts, cancellation)
        return _scored(await _awaited(call.future, cancellation), usage)

    def _loaded_batcher(self) -> EmbeddingBatcher:
        batcher = self._batcher
        if batcher is None:
            raise ModelNotLoadedError
        batcher.check()
        return batcher


def _tokenized(
    batcher: EmbeddingBatcher, request: EmbeddingRequest, cancellation: CancellationToken
) -> tuple[list[TokenizedText], Usage]:
    """The tokens of a request's texts. Raises a RequestError that names the text."""
    engine = batcher.engine
    engine.check_dimensions(request.dimensions)
    prompt = engine.prompt_of(request.prompt_name)
    with batcher.users:
        fitted = _Fitted(engine, auto=request.truncation == "auto")
        for index, given in enumerate(request.inputs):
            if cancellation.stopped:
                break
            name = request.name_of(index)
            if isinstance(given, str):
                fitted.add(_named(name, functools.partial(engine.tokenize, prompt + given)), name)
                continue
            if request.prompt_name is not None:
                message = f"prompt_name can't be used with token ids, and {name} is a list of token ids."
                raise InvalidParameterError("prompt_name", request.prompt_name, "left out", message=message)
            if engine.vocab_size is not None and max(given) >= engine.vocab_size:
                expected = f"a list of token ids of this model, 0 to {engine.vocab_size - 1}"
                raise InvalidParameterError(name, max(given), expected)
            fitted.add(TokenizedText(given), name)
    return fitted.texts, fitted.usage


def _tokenized_pairs(
    batcher: EmbeddingBatcher, request: RerankRequest, cancellation: CancellationToken
) -> tuple[list[TokenizedText], Usage]:
    engine = batcher.engine
    with batcher.users:
        fitted = _Fitted(engine, auto=request.truncation == "auto")
        for index, document in enumerate(request.documents):
            if cancellation.stopped:
                break
            name = request.name_of(index)
            tokens = _named(name, functools.partial(engine.tokenize_pair, request.query, document))
            fitted.add(tokens, f"{name} with the query")
    return fitted.texts, fitted.usage


class _Fitted:
    """Texts that fit into the model, cut off where the caller wants that."""

    def __init__(self, engine: EmbeddingEngine, *, auto: bool) -> None:
        self._engine = engine
        self._auto = auto
        self.texts: list[TokenizedText] = []
        self._cut = 0

    def add(self, text: TokenizedText, name: str) -> None:
        """Raises ContextOverflowError."""
        length, most = len(text), self._engine.n_ctx
        if length > most:
            if not self._auto:
                raise ContextOverflowError(length, most, input_name=name)
            text = self._engine.truncate(text, most)
            self._cut += length - len(text)
        self.texts.append(text)

    @property
    def usage(self) -> Usage:
        """Tokens of all texts."""
        return Usage(prompt_tokens=sum(map(len, self.texts)), completion_tokens=0, truncated_tokens=self._cut)


def _named(name: str, tokenize: Callable[[], TokenizedText]) -> TokenizedText:
    """The tokens of a text; an engine's InvalidParameterError gets the text's *name*."""
    try:
        tokens = tokenize()
    except InvalidParameterError as error:
        raise InvalidParameterError(name, None, error.expected, show_value=False) from None
    if not len(tokens):
        raise InvalidParameterError(name, None, "a text that has at least one token", show_value=False)
    return tokens


def _embedded(rows: bytearray, usage: Usage, engine: EmbeddingEngine, request: EmbeddingRequest) -> EmbeddingBatch:
    normalize = engine.normalizes if request.normalize is None else request.normalize
    vectors = Vectors(rows, engine.dimensions)
    return EmbeddingBatch(shortened(vectors, request.dimensions, normalize=normalize), usage)


def _scored(rows: bytearray, usage: Usage) -> ScoreBatch:
    return ScoreBatch([logistic(logit) for logit in memoryview(rows).cast("f")], usage)


def logistic(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


def _waited(future: Future[bytearray], cancellation: CancellationToken) -> bytearray:
    concurrent.futures.wait([future], cancellation.remaining())
    if not future.done():
        cancellation.check()
    return future.result()


async def _awaited(future: Future[bytearray], cancellation: CancellationToken) -> bytearray:
    waited_for = asyncio.wrap_future(future)
    waited_for.add_done_callback(_retrieved)
    await asyncio.wait([waited_for], timeout=cancellation.remaining())
    if not waited_for.done():
        cancellation.check()
    return waited_for.result()


def _prepared(work: Callable[[], T], inputs: Sequence[Sequence[object]], cancellation: CancellationToken) -> T:
    """What *work* gives; for long texts in a thread, so that the deadline and cancellation end the wait."""
    if sum(map(len, inputs)) < _LONG:
        return work()
    made = _begin(work, cancellation)
    concurrent.futures.wait([made], cancellation.remaining())
    if not made.done():
        cancellation.check()
    return made.result()


async def _aprepared(work: Callable[[], T], inputs: Sequence[Sequence[object]], cancellation: CancellationToken) -> T:
    """:func:`_prepared` for event loops."""
    if sum(map(len, inputs)) < _LONG:
        return work()
    waited_for = asyncio.wrap_future(_begin(work, cancellation))
    waited_for.add_done_callback(_retrieved)
    await asyncio.wait([waited_for], timeout=cancellation.remaining())
    if not waited_for.done():
        cancellation.check()
    return waited_for.result()


def _begin(work: Callable[[], T], cancellation: CancellationToken) -> Future[T]:
    made: Future[T] = Future()
    made.set_running_or_notify_cancel()

    def run() -> None:
        with contextlib.suppress(InvalidStateError):
            try:
                made.set_result(work())
            except InvalidStateError:
                raise
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
                made.set_exception(error)

    def give_up() -> None:
        with contextlib.suppress(InvalidStateError):
            made.set_exception(GenerationError("The call was cancelled."))

    cancellation.on_cancel(give_up)
    enter = contextvars.copy_context().run
    threading.Thread(target=enter, args=(run,), name="llamaforge-prepare", daemon=True).start()
    return made


def _retrieved(future: asyncio.Future[Any]) -> None:
    """Nobody may be left to retrieve the error, about which asyncio would complain."""
    if not future.cancelled():
        future.exception()
