"""The calls for vectors and rankings, built on what a backend computes for one request."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, cast

from ..bridges import call_in_loop, call_in_thread
from ..cancellation import CancellationToken
from ..embeddings import AsyncEmbeddingStream, EmbeddingBatch, Embeddings, EmbeddingStream, Ranking, ScoreBatch, Totals
from ..requests.embedding import EmbeddingRequest, TextInput, read_options, read_texts, split_requests
from ..requests.rerank import RerankRequest
from ..validation import read_timeout
from .embedding_run import RerankCall, Steps, arun_step, checked, run_step
from .inflight import InFlight
from .spec import Capabilities, Task
from .watching import watching

if TYPE_CHECKING:
    from types import AsyncGeneratorType, GeneratorType

Truncation = Literal["disabled", "auto"]
OnUnsupported = Literal["error", "drop"]
Texts = TextInput | Iterable[TextInput]
"""A text, its token ids, or any number of these."""


class EmbeddingCalls:
    """``embed``, ``rerank``, their asynchronous versions and streams."""

    _in_flight: InFlight

    @property
    def name(self) -> str:
        """The backend's name."""
        raise NotImplementedError

    @property
    def capabilities(self) -> Capabilities:
        """What the backend supports."""
        raise NotImplementedError

    # What a backend writes.

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        """The vectors of the texts of *request*, which has been checked: it uses only what :attr:`spec` declares.

        For backends that declare the task ``embed``. A call with many texts becomes several requests of at most
        :attr:`texts_per_request`, one after another. Return unit vectors if ``request.normalize`` is true, and what the
        model's makers intend if it is None. Several threads may call it at once.
        """
        raise NotImplementedError(f"{type(self).__name__} must override compute_embeddings(), or its a... twin.")

    async def acompute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        """The same as :meth:`compute_embeddings`, for asynchronous engines: override one of the two."""
        raise NotImplementedError(f"{type(self).__name__} must override compute_embeddings(), or its a... twin.")

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        """How relevant each document of *request* is to its query; for backends that declare the task ``rerank``."""
        raise NotImplementedError(f"{type(self).__name__} must override compute_scores(), or its a... twin.")

    async def acompute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        """The same as :meth:`compute_scores`, for asynchronous engines: override one of the two."""
        raise NotImplementedError(f"{type(self).__name__} must override compute_scores(), or its a... twin.")

    @property
    def texts_per_request(self) -> int:
        """The most texts or documents of one request; a call with more is split."""
        return 256

    # What every backend has.

    def embed(
        self,
        texts: Texts,
        *,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,
        on_unsupported: OnUnsupported | None = None,
    ) -> Embeddings:
        """The vectors of *texts*, in their order.

        Args:
            texts: a text, a list of token ids, or an iterable of these, which is read as needed. Token ids are used
                exactly as they are; a text gets the special tokens that the model expects.
            dimensions: use only the first components of each vector, for models that were trained for it (Matryoshka).
            normalize: True scales each vector to length 1, False doesn't. None: as the model's files say.
            prompt_name: the model's prompt to put before each text, such as ``"query"``. None: the model's default.
            truncation: ``"auto"`` uses the beginning of a text that is too long. Default: it is an error.
            timeout: seconds that the whole call may take.
            on_unsupported: ``"drop"`` goes on without parameters that the backend doesn't support.

        Raises a RequestError for the texts or the parameters (ContextOverflowError for a text that is too long; it has
        both counts), UnsupportedError if the loaded model makes no vectors, or an EngineError.
        """
        options = _options(dimensions, normalize, prompt_name, truncation)
        return self._embed(texts, options, timeout, on_unsupported).read()

    def embed_stream(
        self,
        texts: Texts,
        *,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,
        on_unsupported: OnUnsupported | None = None,
    ) -> EmbeddingStream:
        """:meth:`embed` for any number of texts in constant memory: an iterator of vectors."""
        options = _options(dimensions, normalize, prompt_name, truncation)
        return self._embed(texts, options, timeout, on_unsupported)

    async def aembed(
        self,
        texts: Texts,
        *,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as its twin has it
        on_unsupported: OnUnsupported | None = None,
    ) -> Embeddings:
        """Asynchronous :meth:`embed`; it never blocks the event loop."""
        options = _options(dimensions, normalize, prompt_name, truncation)
        async with self._aembed(texts, options, timeout, on_unsupported) as stream:
            return await stream.read()

    def aembed_stream(
        self,
        texts: Texts,
        *,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,
        on_unsupported: OnUnsupported | None = None,
    ) -> AsyncEmbeddingStream:
        """Asynchronous :meth:`embed_stream`: ``async for vector in backend.aembed_stream(texts)``."""
        options = _options(dimensions, normalize, prompt_name, truncation)
        return self._aembed(texts, options, timeout, on_unsupported)

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,
        on_unsupported: OnUnsupported | None = None,
    ) -> Ranking:
        """The *documents* in the order of their relevance to *query*, best first.

        Args:
            query: what is searched for.
            documents: texts.
            top_n: return only so many. None: all.
            truncation: ``"auto"`` uses the beginning of a document that is too long beside the query. Default: it is an
                error.
            timeout: seconds that the whole call may take.
            on_unsupported: ``"drop"`` goes on without parameters that the backend doesn't support.

        Raises the errors of :meth:`embed`.
        """
        with watching(self, "rerank") as watch:
            call = self._start_ranking(query, documents, top_n, truncation, timeout, on_unsupported)
            if watch is not None:
                call.watched(watch)
            with self._in_flight, call:
                for request in call.requests():
                    self._require_model()
                    step = call.steps.next()
                    call.take(request, run_step(functools.partial(self._scores, request, step), step, self.name))
            return call.ranking()

    async def arerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as its twin has it
        on_unsupported: OnUnsupported | None = None,
    ) -> Ranking:
        """Asynchronous :meth:`rerank`; it never blocks the event loop."""
        with watching(self, "rerank") as watch:
            call = self._start_ranking(query, documents, top_n, truncation, timeout, on_unsupported)
            if watch is not None:
                call.watched(watch)
            with self._in_flight, call:
                for request in call.requests():
                    self._require_model()
                    step = call.steps.next()
                    call.take(request, await arun_step(self._ascores(request, step), step, self.name))
            return call.ranking()

    def _embed(self, texts: Texts, options: Mapping[str, object], timeout: object, drop: object) -> EmbeddingStream:
        with watching(self, "embed") as watch:
            requests, totals, token = self._start_embedding(texts, options, timeout, drop)
            if watch is not None:
                requests = watch.start_embedding(requests, totals.parameters, token)

        def batches() -> Iterator[EmbeddingBatch]:
            steps = Steps(token)
            try:
                with self._in_flight:
                    for request in requests:
                        self._require_model()  # it may have been unloaded since the last one
                        step = steps.next()
                        batch = run_step(functools.partial(self._vectors, request, step), step, self.name)
                        if batch is None:
                            totals.cancelled = True
                            return
                        yield checked(batch, request, totals, self.name)
            finally:
                token.cancel()

        given = batches() if watch is None else watch.batches(batches(), totals, token)
        return EmbeddingStream(cast("GeneratorType[EmbeddingBatch, None, None]", given), totals, token)

    def _aembed(
        self, texts: Texts, options: Mapping[str, object], timeout: object, drop: object
    ) -> AsyncEmbeddingStream:
        with watching(self, "embed") as watch:
            requests, totals, token = self._start_embedding(texts, options, timeout, drop)
            if watch is not None:
                requests = watch.start_embedding(requests, totals.parameters, token)

        async def batches() -> AsyncIterator[EmbeddingBatch]:
            steps = Steps(token)
            try:
                with self._in_flight:
                    for request in requests:
                        self._require_model()  # it may have been unloaded since the last one
                        step = steps.next()
                        batch = await arun_step(self._avectors(request, step), step, self.name)
                        if batch is None:
                            totals.cancelled = True
                            return
                        yield checked(batch, request, totals, self.name)
            finally:
                token.cancel()

        given = batches() if watch is None else watch.abatches(batches(), totals, token)
        return AsyncEmbeddingStream(cast("AsyncGeneratorType[EmbeddingBatch, None]", given), totals, token)

    def _start_embedding(
        self, texts: Texts, given: Mapping[str, object], timeout: object, drop: object
    ) -> tuple[Iterator[EmbeddingRequest], Totals, CancellationToken]:
        """Check all but the texts. Raises a RequestError or ModelNotLoadedError."""
        started = time.perf_counter()
        self._require_task("embed")
        options, dropped = read_options(given, backend=self.name, supported=self.capabilities.embedding, drop=drop)
        token = CancellationToken(read_timeout(timeout), started)
        requests = split_requests(read_texts(texts), options, self.texts_per_request)
        return requests, Totals(started, options.parameters(), dropped), token

    def _start_ranking(
        self,
        query: object,
        documents: Iterable[str],
        top_n: object,
        truncation: object,
        timeout: object,
        drop: object,
    ) -> RerankCall:
        started = time.perf_counter()
        self._require_task("rerank")
        return RerankCall(
            self.name,
            query,
            documents,
            top_n=top_n,
            truncation=truncation,
            timeout=timeout,
            drop=drop,
            supported=self.capabilities.embedding,
            most=self.texts_per_request,
            started=started,
        )

    def _require_task(self, task: Task) -> None:
        raise NotImplementedError

    def _require_model(self) -> None:
        raise NotImplementedError

    def _vectors(self, request: EmbeddingRequest, token: CancellationToken) -> EmbeddingBatch:
        if type(self).compute_embeddings is not EmbeddingCalls.compute_embeddings:
            return self.compute_embeddings(request, token)
        return call_in_loop(lambda: self.acompute_embeddings(request, token), token)

    async def _avectors(self, request: EmbeddingRequest, token: CancellationToken) -> EmbeddingBatch:
        if type(self).acompute_embeddings is not EmbeddingCalls.acompute_embeddings:
            return await self.acompute_embeddings(request, token)
        return await call_in_thread(lambda: self.compute_embeddings(request, token), token)

    def _scores(self, request: RerankRequest, token: CancellationToken) -> ScoreBatch:
        if type(self).compute_scores is not EmbeddingCalls.compute_scores:
            return self.compute_scores(request, token)
        return call_in_loop(lambda: self.acompute_scores(request, token), token)

    async def _ascores(self, request: RerankRequest, token: CancellationToken) -> ScoreBatch:
        if type(self).acompute_scores is not EmbeddingCalls.acompute_scores:
            return await self.acompute_scores(request, token)
        return await call_in_thread(lambda: self.compute_scores(request, token), token)


def _options(dimensions: object, normalize: object, prompt_name: object, truncation: object) -> Mapping[str, object]:
    return {"dimensions": dimensions, "normalize": normalize, "prompt_name": prompt_name, "truncation": truncation}
