"""Requests that rank documents by their relevance to a query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from ..errors import InvalidParameterError
from ..validation import plain_value
from .embedding import check_text


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A query and some of a call's documents. A call with many documents becomes several requests."""

    query: str
    documents: tuple[str, ...]
    first: int = 0
    """The position of the first document among those of the call."""
    truncation: Literal["disabled", "auto"] | None = None
    """``auto`` uses the beginning of a document that is too long."""

    def name_of(self, index: int) -> str:
        """What an error calls the document number *index* of this request."""
        return f"documents[{self.first + index}]"


def read_documents(query: object, documents: Iterable[str]) -> tuple[str, list[str]]:
    """The query and the documents of a call, checked.

    Raises InvalidParameterError or EmptyPromptError.
    """
    if not isinstance(query, str):
        raise InvalidParameterError("query", query, "a string", show_value=not isinstance(query, bytes))
    check_text(query, "query")
    if isinstance(documents, str | bytes | bytearray | memoryview | Mapping) or not isinstance(documents, Iterable):
        message = (
            f"documents must be a list of texts, not {type(documents).__name__}. For a single text, pass [document]."
        )
        raise InvalidParameterError("documents", None, "a list of texts", show_value=False, message=message)
    read = []
    for index, document in enumerate(documents):
        name = f"documents[{index}]"
        if not isinstance(document, str):
            raise InvalidParameterError(name, document, "a string", show_value=not isinstance(document, bytes))
        check_text(document, name)
        read.append(document if type(document) is str else str.__str__(document))
    return query if type(query) is str else str.__str__(query), read


def read_top_n(top_n: object) -> int | None:
    """How many documents are wanted. Raises InvalidParameterError."""
    value = plain_value(top_n)
    if value is not None and (type(value) is not int or value < 1):
        raise InvalidParameterError("top_n", top_n, "a whole number of at least 1")
    number: int | None = value
    return number
