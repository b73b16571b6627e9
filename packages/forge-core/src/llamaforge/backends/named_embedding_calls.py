"""``embed`` and ``rerank`` for named models: each call goes to the backend that runs the model."""

from __future__ import annotations

from collections.abc import Iterable

from ..embeddings import AsyncEmbeddingStream, Embeddings, EmbeddingStream, Ranking
from .embedding_calls import EmbeddingCalls, OnUnsupported, Texts, Truncation
from .watching import Operation, refused


class NamedModelEmbeddingCalls:
    """The calls for vectors and rankings, with the name of a model."""

    def backend(self, name: str | None = None) -> EmbeddingCalls:
        """The backend that runs the model *name*; None: the current one."""
        raise NotImplementedError

    def _reached(self, model: str | None, operation: Operation) -> EmbeddingCalls:
        """The backend of the model. An error ends a request."""
        try:
            return self.backend(model)
        except Exception as error:
            refused(None, operation, None, error, model)
            raise

    def embed(
        self,
        texts: Texts,
        *,
        model: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,
        on_unsupported: OnUnsupported | None = None,
    ) -> Embeddings:
        """The vectors of *texts*; see :meth:`BaseBackend.embed`. *model*: a loaded model's name; None: the current
        one."""
        return self._reached(model, "embed").embed(
            texts,
            dimensions=dimensions,
            normalize=normalize,
            prompt_name=prompt_name,
            truncation=truncation,
            timeout=timeout,
            on_unsupported=on_unsupported,
        )

    def embed_stream(
        self,
        texts: Texts,
        *,
        model: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,
        on_unsupported: OnUnsupported | None = None,
    ) -> EmbeddingStream:
        """:meth:`embed` for any number of texts in constant memory: an iterator of vectors."""
        return self._reached(model, "embed").embed_stream(
            texts,
            dimensions=dimensions,
            normalize=normalize,
            prompt_name=prompt_name,
            truncation=truncation,
            timeout=timeout,
            on_unsupported=on_unsupported,
        )

    async def aembed(
        self,
        texts: Texts,
        *,
        model: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as its twin has it
        on_unsupported: OnUnsupported | None = None,
    ) -> Embeddings:
        """Asynchronous :meth:`embed`; it never blocks the event loop."""
        return await self._reached(model, "embed").aembed(
            texts,
            dimensions=dimensions,
            normalize=normalize,
            prompt_name=prompt_name,
            truncation=truncation,
            timeout=timeout,
            on_unsupported=on_unsupported,
        )

    def aembed_stream(
        self,
        texts: Texts,
        *,
        model: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,
        on_unsupported: OnUnsupported | None = None,
    ) -> AsyncEmbeddingStream:
        """Asynchronous :meth:`embed_stream`: ``async for vector in forge.aembed_stream(texts)``."""
        return self._reached(model, "embed").aembed_stream(
            texts,
            dimensions=dimensions,
            normalize=normalize,
            prompt_name=prompt_name,
            truncation=truncation,
            timeout=timeout,
            on_unsupported=on_unsupported,
        )

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        model: str | None = None,
        top_n: int | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,
        on_unsupported: OnUnsupported | None = None,
    ) -> Ranking:
        """The *documents* by their relevance to *query*, best first; see :meth:`BaseBackend.rerank`."""
        return self._reached(model, "rerank").rerank(
            query, documents, top_n=top_n, truncation=truncation, timeout=timeout, on_unsupported=on_unsupported
        )

    async def arerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        model: str | None = None,
        top_n: int | None = None,
        truncation: Truncation | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as its twin has it
        on_unsupported: OnUnsupported | None = None,
    ) -> Ranking:
        """Asynchronous :meth:`rerank`; it never blocks the event loop."""
        return await self._reached(model, "rerank").arerank(
            query, documents, top_n=top_n, truncation=truncation, timeout=timeout, on_unsupported=on_unsupported
        )
