"""Vectors and rankings over HTTP: what is asked, and what the answers say.

https://platform.openai.com/docs/api-reference/embeddings; rankings have Jina's shape, which vLLM and llama-server
share, or Cohere's (https://docs.cohere.com/reference/rerank), which has the same fields. :mod:`.tei` has its own.
"""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from typing import Any, Final

from llamaforge.embeddings import EmbeddingBatch, ScoreBatch
from llamaforge.errors import LlamaForgeError, ServerError, UnsupportedError
from llamaforge.requests import EmbeddingRequest, RerankRequest
from llamaforge.results import Event, Usage
from llamaforge.vectors import Vectors, shortened

from .answer.decoder import read_json
from .request.body import encode

EMBEDDINGS: Final = "/embeddings"
RERANK: Final = "/rerank"
SECOND_RERANK: Final = "/v2/rerank"
"""Cohere's second version, below the server's root."""
MOST_TEXTS: Final = 2048
"""What OpenAI takes in one call."""


class BodyDecoder:
    """Collects the body of an answer that is no stream; its only "event" is the body itself."""

    leaves = False
    text = ""

    def __init__(self) -> None:
        self.content_type = ""
        self.is_over = False
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes, events: list[Event]) -> LlamaForgeError | None:
        """Keep *piece*."""
        self._pieces.append(piece)
        return None

    def finish(self) -> list[Any]:
        """The whole body."""
        return [b"".join(self._pieces)]


def embeddings_body(request: EmbeddingRequest, model: str, backend: str) -> bytes:
    """The body of ``/v1/embeddings``. Base64 takes a quarter of the bytes of decimal numbers.

    Raises UnsupportedError for vectors that are not to have length 1: servers differ, and none says.
    """
    if request.normalize is False:
        raise UnsupportedError("normalize=False", backend, "Servers scale vectors as they like. Leave it out.")
    body: dict[str, Any] = {"model": model, "input": list(request.inputs), "encoding_format": "base64"}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return encode(body)


def rerank_body(request: RerankRequest, model: str) -> bytes:
    """The body of ``/v1/rerank``."""
    return encode({"model": model, "query": request.query, "documents": list(request.documents)})


def read_embeddings(data: bytes, request: EmbeddingRequest, endpoint: str) -> EmbeddingBatch:
    """The vectors, put in the order of the texts. Raises ServerError for an answer that is none."""
    body = read_json(data)
    rows: dict[int, array[float]] = {}
    try:
        if isinstance(body, list):  # TEI's own
            rows = {place: _floats(row) for place, row in enumerate(body)}
        else:
            for place, item in enumerate(_fields(body)["data"]):
                rows[item.get("index", place)] = _floats(item["embedding"])
        floats = [rows[index] for index in range(len(request.inputs))]
        vectors = Vectors(b"".join(row.tobytes() for row in floats), len(floats[0]))
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise _bad(endpoint, "vectors", error) from None
    if request.dimensions is not None and vectors.dimensions != request.dimensions:
        reason = f"its vectors have {vectors.dimensions} dimensions instead of {request.dimensions}"
        raise ServerError(endpoint, None, reason)
    return EmbeddingBatch(shortened(vectors, None, normalize=request.normalize is True), _usage(body))


def read_scores(data: bytes, request: RerankRequest, endpoint: str) -> ScoreBatch:
    """The scores in the order of the documents. Raises ServerError for an answer that is none."""
    body = read_json(data)
    try:
        if isinstance(body, list):  # TEI's own
            found = {item["index"]: float(item["score"]) for item in body}
        else:
            found = {item["index"]: float(item["relevance_score"]) for item in _fields(body)["results"]}
        scores = [found[index] for index in range(len(request.documents))]
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(endpoint, "scores", error) from None
    return ScoreBatch(scores, _usage(body))


def _fields(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise TypeError("it is no JSON object")
    return body


def _floats(told: Any) -> array[float]:
    """A vector as base64 of little-endian 32-bit floats, or as a list: servers may not know the first."""
    if not isinstance(told, str):
        return array("f", told)
    floats = array("f", base64.b64decode(told, validate=True))
    if sys.byteorder == "big":
        floats.byteswap()
    return floats


def _usage(body: object) -> Usage | None:
    if not isinstance(body, dict):
        return None
    usage = body.get("usage")
    counts = [usage.get(name) for name in ("prompt_tokens", "total_tokens")] if isinstance(usage, dict) else []
    meta = body.get("meta")  # Cohere's
    if isinstance(meta, dict) and isinstance(meta.get("tokens"), dict):
        counts.append(meta["tokens"].get("input_tokens"))
    tokens = next((count for count in counts if type(count) is int and count > 0), None)
    return None if tokens is None else Usage(prompt_tokens=tokens, completion_tokens=0)


def _bad(endpoint: str, what: str, error: Exception) -> ServerError:
    return ServerError(endpoint, None, f"its answer has no {what} for all texts ({type(error).__name__}: {error})")
