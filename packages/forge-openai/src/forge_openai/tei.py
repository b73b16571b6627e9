"""Text Embeddings Inference: its own routes for vectors and rankings, and what it tells of itself.

https://huggingface.github.io/text-embeddings-inference (OpenAPI): ``/embed``, ``/rerank`` and ``/info``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from llamaforge.backends.spec import Task
from llamaforge.requests import EmbeddingRequest, RerankRequest

from .request.body import encode

USUAL_BATCH: Final = 32
"""Texts of a request, where the server doesn't say (its flag ``--max-client-batch-size``)."""

_EITHER: Final[frozenset[Task]] = frozenset({"embed", "rerank"})


@dataclass(frozen=True, slots=True)
class TEIServer:
    """What ``GET /info`` says."""

    batch: int = USUAL_BATCH
    """The most texts of a request."""
    tasks: frozenset[Task] = _EITHER
    model: str | None = None


def read_info(body: object) -> TEIServer | None:
    """What the server says of itself; None for what is no answer of such a server."""
    if not isinstance(body, dict) or "model_id" not in body:
        return None
    batch, kind = body.get("max_client_batch_size"), body.get("model_type")
    tasks: frozenset[Task] = _EITHER
    if isinstance(kind, dict):
        tasks = frozenset({"rerank"} if "reranker" in kind else {"embed"} if "embedding" in kind else set())
    return TEIServer(batch if type(batch) is int and batch > 0 else USUAL_BATCH, tasks, str(body["model_id"]))


def embed_body(request: EmbeddingRequest) -> bytes:
    """The body of ``/embed``. Whether texts are cut off is said, since servers differ in what they do otherwise."""
    body: dict[str, Any] = {"inputs": list(request.inputs), "truncate": request.truncation == "auto"}
    for name in ("normalize", "prompt_name", "dimensions"):
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    return encode(body)


def rerank_body(request: RerankRequest) -> bytes:
    """The body of ``/rerank``. The scores are the logistic function of the logits, as in-process engines have it."""
    body = {"query": request.query, "texts": list(request.documents), "truncate": request.truncation == "auto"}
    return encode({**body, "raw_scores": False})
