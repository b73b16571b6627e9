"""What embedding and reranking give: vectors and ranked documents, with their details."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from types import AsyncGeneratorType, GeneratorType, TracebackType
from typing import Any, Self

from .cancellation import CancellationToken
from .errors import GenerationError
from .results import Timings, Usage
from .vectors import Row, Vectors


@dataclass(frozen=True, slots=True)
class EmbeddingBatch:
    """The vectors of one :class:`~llamaforge.requests.EmbeddingRequest`: what a backend returns."""

    vectors: Vectors
    """One for each text, in order."""
    usage: Usage | None = None
    """Tokens of the texts (``prompt_tokens``) and tokens cut off (``truncated_tokens``); None if unknown."""


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """The scores of one :class:`~llamaforge.requests.RerankRequest`: what a backend returns."""

    scores: Sequence[float]
    """One for each document, in the order of the documents. Greater is more relevant."""
    usage: Usage | None = None
    """Tokens of queries and documents (``prompt_tokens``), and tokens cut off; None if unknown."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Embeddings(Sequence[Row]):
    """The vectors of some texts. It is the sequence of its vectors, in the order of the texts."""

    vectors: Vectors
    """The vectors as one matrix; ``numpy.asarray(result.vectors)`` takes no copy."""
    usage: Usage | None
    """Token counts; None if the engine gives none."""
    timings: Timings
    parameters: dict[str, Any]
    """The parameters in effect."""
    dropped: tuple[str, ...] = ()
    """Parameters that were dropped because of ``on_unsupported="drop"``."""

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: Any) -> Any:
        return self.vectors[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.vectors)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.vectors.__array__(dtype, copy)

    def __repr__(self) -> str:
        return f"<Embeddings: {len(self)} of {self.vectors.dimensions} dimensions>"


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document and how relevant it is to the query."""

    index: int
    """Its position among the documents of the call, from 0."""
    score: float
    """Greater is more relevant. In-process engines give the model's estimate from 0 to 1: the logistic function of its
    logit. A server may use another scale."""
    document: str
    """Its text."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Ranking(Sequence[RankedDocument]):
    """Documents in the order of their relevance, best first; equal scores keep the order of the call."""

    documents: tuple[RankedDocument, ...]
    usage: Usage | None
    """Token counts; None if the engine gives none."""
    timings: Timings
    parameters: dict[str, Any]
    """The parameters in effect."""
    dropped: tuple[str, ...] = ()
    """Parameters that were dropped because of ``on_unsupported="drop"``."""

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, index: Any) -> Any:
        return self.documents[index]

    def __repr__(self) -> str:
        return f"<Ranking of {len(self)} documents>"


@dataclass
class Totals:
    """What adds up over the batches of one call."""

    started: float
    parameters: dict[str, Any]
    dropped: tuple[str, ...] = ()
    dimensions: int = 0
    usage: Usage | None = None
    batches: int = 0
    total: float | None = None
    """Seconds until the last batch was there."""
    cancelled: bool = False
    """Whether the call was cancelled before all batches were there."""
    _unknown: bool = field(default=False, repr=False)

    def add(self, usage: Usage | None) -> None:
        """Count a batch."""
        self.batches += 1
        self.total = time.perf_counter() - self.started
        self._unknown = self._unknown or usage is None
        if usage is None or self._unknown:
            self.usage = None
        elif self.usage is None:
            self.usage = usage
        else:
            self.usage = Usage(
                prompt_tokens=self.usage.prompt_tokens + usage.prompt_tokens,
                completion_tokens=0,
                truncated_tokens=self.usage.truncated_tokens + usage.truncated_tokens,
                cached_tokens=self.usage.cached_tokens + usage.cached_tokens,
                estimated=self.usage.estimated or usage.estimated,
            )

    @property
    def timings(self) -> Timings:
        """How long it took until now."""
        return Timings(total=self.total)

    @property
    def details(self) -> dict[str, Any]:
        """What results of both kinds have in common."""
        usage = self.usage if self.batches else Usage(prompt_tokens=0, completion_tokens=0)
        return {
            "usage": usage,
            "timings": self.timings,
            "parameters": self.parameters,
            "dropped": self.dropped,
        }


class _Stream:
    """The state that both kinds of stream keep."""

    def __init__(self, totals: Totals, cancellation: CancellationToken) -> None:
        self._totals = totals
        self._cancellation = cancellation
        self._closed = False
        self._rows: Iterator[Row] = iter(())

    @property
    def usage(self) -> Usage | None:
        """Token counts so far; None if the engine gives none."""
        return self._totals.usage

    @property
    def timings(self) -> Timings:
        """Seconds until the last vectors were there."""
        return self._totals.timings

    @property
    def dropped(self) -> tuple[str, ...]:
        """Parameters that were dropped because of ``on_unsupported="drop"``."""
        return self._totals.dropped

    def _result(self, data: bytearray) -> Embeddings:
        if self._closed:
            raise GenerationError("The stream was closed before all vectors were there.")
        return Embeddings(vectors=Vectors(data, self._totals.dimensions), **self._totals.details)


class EmbeddingStream(_Stream, Iterator[Row]):
    """Vectors in the order of the texts, which are read as needed: constant memory for any number of them.

    Leaving a ``with`` block early, :meth:`close`, or dropping the stream ends the work.
    """

    def __init__(
        self, batches: GeneratorType[EmbeddingBatch, None, None], totals: Totals, cancellation: CancellationToken
    ) -> None:
        super().__init__(totals, cancellation)
        self._batches = batches

    def __next__(self) -> Row:
        while (row := next(self._rows, None)) is None:
            self._rows = iter(next(self._batches).vectors)
        return row

    def read(self) -> Embeddings:
        """Read all vectors that are left into one matrix. Raises GenerationError if the stream was closed."""
        data = bytearray(b"".join(self._rows))
        for batch in self._batches:
            data += batch.vectors.tobytes()
        return self._result(data)

    def close(self) -> None:
        """End the work, from any thread. A thread that waits for the next vector gets the end of the stream."""
        self._closed = True
        self._cancellation.cancel()
        if not self._batches.gi_running:
            self._batches.close()
        self._rows = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncEmbeddingStream(_Stream, AsyncIterator[Row]):
    """Like :class:`EmbeddingStream`, for event loops: ``async with`` and ``async for``."""

    def __init__(
        self, batches: AsyncGeneratorType[EmbeddingBatch, None], totals: Totals, cancellation: CancellationToken
    ) -> None:
        super().__init__(totals, cancellation)
        self._batches = batches

    async def __anext__(self) -> Row:
        while (row := next(self._rows, None)) is None:
            self._rows = iter((await anext(self._batches)).vectors)
        return row

    async def read(self) -> Embeddings:
        """Read all vectors that are left into one matrix. Raises GenerationError if the stream was closed."""
        data = bytearray(b"".join(self._rows))
        async for batch in self._batches:
            data += batch.vectors.tobytes()
        return self._result(data)

    async def aclose(self) -> None:
        """End the work."""
        self._closed = True
        self._cancellation.cancel()
        if not self._batches.ag_running:
            await self._batches.aclose()
        self._rows = iter(())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
