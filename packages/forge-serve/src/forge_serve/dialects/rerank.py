"""Ranking documents: Jina's ``/v1/rerank`` (https://api.jina.ai/redoc) and Cohere's ``/v2/rerank``
(https://docs.cohere.com/reference/rerank)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, ClassVar, Final

from llamaforge import BaseBackend
from llamaforge.openai_objects import embedding_usage
from llamaforge.results import Usage

from .. import sse
from ..asked import Work, needed, take
from ..errors import invalid
from .openai import OpenAIVoice

if TYPE_CHECKING:
    from llamaforge.observers import Operation

_MOST_DOCUMENTS: Final = 10_000
_KNOWN: Final = frozenset({"model", "query", "documents", "top_n", "return_documents", "truncation"})


class Rerank(OpenAIVoice):
    """``POST /v1/rerank``: the results hold their documents unless ``return_documents`` is false."""

    operation: ClassVar[Operation | None] = "rerank"

    returns_documents = True

    def read(self, body: dict[str, Any]) -> Work:
        """The request in *body*."""
        model = needed(body, "model", str, "a model's name")
        query = _document(needed(body, "query", (str, dict), "a text"), "query")
        documents = needed(body, "documents", list, "a list of texts")
        if not 0 < len(documents) <= _MOST_DOCUMENTS:
            raise invalid(f"documents must hold from 1 to {_MOST_DOCUMENTS:,} texts.", "documents")
        texts = [_document(each, f"documents[{place}]") for place, each in enumerate(documents)]
        top_n = take(body, "top_n", int, "a whole number")
        shown = take(body, "return_documents", bool, "true or false", self.returns_documents)
        truncation = take(body, "truncation", (str, bool), "'auto' or 'disabled'")
        if isinstance(truncation, bool):
            truncation = "auto" if truncation else "disabled"

        async def run(backend: BaseBackend, seconds: float | None) -> bytes:
            ranking = await backend.arerank(query, texts, top_n=top_n, truncation=truncation, timeout=seconds)
            results = []
            for each in ranking:
                result: dict[str, Any] = {"index": each.index, "relevance_score": each.score}
                if shown:
                    result["document"] = {"text": each.document}
                results.append(result)
            return sse.encode(self._whole(model, results, ranking.usage))

        ignored = [name for name, value in body.items() if name not in _KNOWN and value is not None]
        return Work(model=model, run=run, ignored=ignored)

    def _whole(self, model: str, results: list[dict[str, Any]], usage: Usage | None) -> dict[str, Any]:
        return {"model": model, "usage": embedding_usage(usage), "results": results}


class CohereRerank(Rerank):
    """``POST /v2/rerank``."""

    returns_documents = False

    def _whole(self, model: str, results: list[dict[str, Any]], usage: Usage | None) -> dict[str, Any]:
        tokens = usage.prompt_tokens if usage is not None else 0
        meta = {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": tokens, "output_tokens": 0},
        }
        return {"id": str(uuid.uuid4()), "results": results, "meta": meta}


def _document(given: Any, where: str) -> str:
    """A text, or an object with one."""
    if isinstance(given, dict) and isinstance(given.get("text"), str):
        return str(given["text"])
    if not isinstance(given, str):
        raise invalid(f"{where} must be a text, or an object with a text; only texts are served.", where)
    return given
