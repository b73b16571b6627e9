"""A small sound backend for vectors and rankings, in which tests plant defects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from llamaforge import (
    BackendSpec,
    BaseBackend,
    CancellationToken,
    Capabilities,
    EmbeddingBatch,
    EmbeddingRequest,
    RerankRequest,
    ScoreBatch,
    Usage,
    Vectors,
)
from llamaforge.backends.echo import EchoBackend
from llamaforge.engine import EmbeddingEngine, TokenizedText
from llamaforge.errors import InvalidParameterError


class Toy(BaseBackend):
    """Vectors without an engine: which letters a text has."""

    spec = BackendSpec(
        name="toy-vectors",
        target="m:T",
        config="m:C",
        summary="",
        capabilities=Capabilities(
            tasks=frozenset({"embed", "rerank"}), embedding=frozenset({"normalize", "dimensions"})
        ),
    )

    def load(self, model_path: str, config: Any) -> None: ...

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        rows = [self.vector(str(text)) for text in request.inputs]
        matrix = np.array(rows, dtype=np.float32)[:, : request.dimensions]
        if request.dimensions is not None and request.dimensions > 64:
            raise InvalidParameterError("dimensions", request.dimensions, "at most 64")
        if request.normalize is not False:
            matrix = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)
        tokens = sum(map(len, request.inputs))
        return EmbeddingBatch(
            Vectors(np.ascontiguousarray(matrix, dtype=np.float32).data, matrix.shape[1]),
            Usage(prompt_tokens=tokens, completion_tokens=0),
        )

    def vector(self, text: str) -> list[float]:
        row = [0.01] * 64
        for place, letter in enumerate(text[:500]):
            row[(ord(letter) * 7 + place) % 64] += 1
        return row

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        cancellation.check()
        scores = [self.score(request.query, document) for document in request.documents]
        tokens = sum(len(request.query) + len(document) for document in request.documents)
        return ScoreBatch(scores, Usage(prompt_tokens=tokens, completion_tokens=0))

    def score(self, query: str, document: str) -> float:
        return len(set(query) & set(document)) / len(set(query))


class GivesUp(Toy):
    """A task that is cancelled takes those with it that are computed together."""

    def load(self, model_path: str, config: Any) -> None:
        self.tasks: set[Any] = set()

    async def together(self, work: Callable[[], Any]) -> Any:
        self.tasks.add(own := asyncio.current_task())
        try:
            await asyncio.sleep(0.01)
            return work()
        except asyncio.CancelledError:
            for task in self.tasks - {own}:
                task.cancel()
            raise
        finally:
            self.tasks.discard(own)


class Keeps(Toy):
    """A megabyte with each request."""

    kept: ClassVar[list[Any]] = []

    def compute_embeddings(self, request: EmbeddingRequest, cancellation: CancellationToken) -> EmbeddingBatch:
        self.kept.append(bytearray(2**20))
        return super().compute_embeddings(request, cancellation)

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        self.kept.append(bytearray(2**20))
        return super().compute_scores(request, cancellation)


class Cuts(EchoBackend):
    """Cuts texts that are too long in its own way."""

    def open_engine(self, model_path: str, config: Any) -> Any:
        engine = super().open_engine(model_path, config)
        assert isinstance(engine, EmbeddingEngine)
        engine.truncate = self.cut  # type: ignore[method-assign]
        return engine

    @staticmethod
    def cut(text: TokenizedText, length: int) -> TokenizedText:
        raise NotImplementedError
