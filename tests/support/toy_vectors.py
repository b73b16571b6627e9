"""A small sound backend for vectors and rankings, in which tests plant defects."""

from __future__ import annotations

from typing import Any

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
