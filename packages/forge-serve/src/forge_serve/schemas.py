"""What bodies hold, for the OpenAPI description: those of requests, of answers and of errors."""

from __future__ import annotations

from typing import Any, Final


def has(fields: dict[str, Any]) -> dict[str, Any]:
    """An object that has all these fields."""
    return {"type": "object", "required": [*fields], "properties": fields}


TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_WHOLE: Final = {"type": "integer"}
_LIST: Final = {"type": "array"}
_OBJECT: Final = {"type": "object"}
MODEL: Final = {"type": "string", "minLength": 1, "description": "A model's name, from /v1/models."}
_SAID: Final = {"type": "string", "minLength": 1}
_TEXT_OR_LIST: Final = {"oneOf": [_SAID, {"type": "array", "minItems": 1}]}
_KEEP: Final = {
    "oneOf": [{"type": "number"}, {"type": "string", "pattern": r"^\s*-?[0-9]+(\.[0-9]+)?\s*(ms|s|m|h)?\s*$"}],
    "description": "How long the model stays: seconds, or a text such as '5m'.",
}
_OLLAMA: Final = {
    "stream": _FLAG,
    "options": _OBJECT,
    "format": {"oneOf": [{"enum": ["json", ""]}, _OBJECT]},
    "think": {"oneOf": [_FLAG, TEXT]},
    "keep_alive": _KEEP,
}
_STREAM: Final = {"stream": _FLAG, "stream_options": _OBJECT, "n": {"type": "integer", "minimum": 1, "maximum": 16}}
_SYSTEM: Final = {"oneOf": [TEXT, {"type": "array", "items": _OBJECT}]}
_COUNT: Final = {"type": "integer", "minimum": 1}
_DOCUMENTS: Final = {"type": "array", "minItems": 1, "items": {"oneOf": [TEXT, _OBJECT]}}
_THINKING: Final = {
    "type": "object",
    "required": ["type"],
    "properties": {"type": {"enum": ["enabled", "adaptive", "disabled"]}},
}
_MESSAGE: Final = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"oneOf": [TEXT, _LIST, {"type": "null"}]},
    },
}
_MESSAGES: Final = {"type": "array", "minItems": 1, "items": _MESSAGE}

BODIES: Final[dict[str, tuple[tuple[str, ...], dict[str, Any], bool]]] = {
    "/v1/chat/completions": (("messages",), {"messages": _MESSAGES, **_STREAM}, True),
    "/v1/completions": (("prompt",), {"prompt": _TEXT_OR_LIST, **_STREAM}, True),
    "/v1/responses": (
        ("input",),
        {
            "input": _TEXT_OR_LIST,
            "instructions": TEXT,
            "stream": _FLAG,
            "store": _FLAG,
            "background": _FLAG,
            "previous_response_id": TEXT,
            "max_output_tokens": _COUNT,
            "text": _OBJECT,
            "reasoning": _OBJECT,
            "tools": _LIST,
            "metadata": _OBJECT,
        },
        True,
    ),
    "/v1/messages": (
        ("messages", "max_tokens"),
        {"messages": _MESSAGES, "max_tokens": _COUNT, "system": _SYSTEM, "stream": _FLAG, "thinking": _THINKING},
        True,
    ),
    "/v1/messages/count_tokens": (("messages",), {"messages": _MESSAGES, "system": _SYSTEM}, False),
    "/v1/embeddings": (
        ("input",),
        {"input": _TEXT_OR_LIST, "encoding_format": {"enum": ["float", "base64"]}, "dimensions": _COUNT},
        False,
    ),
    "/v1/rerank": (("query", "documents"), {"query": _SAID, "documents": _DOCUMENTS, "top_n": _COUNT}, False),
    "/v2/rerank": (("query", "documents"), {"query": _SAID, "documents": _DOCUMENTS, "top_n": _COUNT}, False),
    "/tokenize": ((), {"prompt": TEXT, "content": TEXT, "messages": _MESSAGES}, False),
    "/detokenize": (("tokens",), {"tokens": {"type": "array", "items": _WHOLE}}, False),
    "/apply-template": (("messages",), {"messages": _MESSAGES}, False),
    "/api/chat": (("messages",), {"messages": {**_MESSAGES, "minItems": 0}, "tools": _LIST, **_OLLAMA}, False),
    "/api/generate": ((), {"prompt": TEXT, "system": TEXT, "raw": _FLAG, **_OLLAMA}, False),
    "/api/embed": (("input",), {"input": _TEXT_OR_LIST, "truncate": _FLAG, "dimensions": _COUNT}, False),
    "/api/embeddings": (("prompt",), {"prompt": _SAID}, False),
    "/admin/load": ((), {"wait": _FLAG}, False),
    "/admin/unload": ((), {"force": _FLAG}, False),
}
"""By path: fields that must be there beside the model, the fields, and whether parameters of generation are taken."""

_CARD: Final = {"id": TEXT, "object": {"const": "model"}, "backend": {}, "state": TEXT, "capabilities": _OBJECT}
_RESPONSE: Final = {"id": TEXT, "object": {"const": "response"}, "status": TEXT, "model": TEXT, "output": _LIST}
_USED: Final = {"model": TEXT, "usage": _OBJECT}
_VECTORS: Final = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}

ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "/v1/chat/completions": {"id": TEXT, "object": {"const": "chat.completion"}, "choices": _LIST, **_USED},
    "/v1/completions": {"id": TEXT, "object": {"const": "text_completion"}, "choices": _LIST, **_USED},
    "/v1/responses": _RESPONSE,
    "/v1/responses/{id}": {"id": TEXT, "object": {"enum": ["response", "response.deleted"]}},
    "/v1/responses/{id}/cancel": _RESPONSE,
    "/v1/responses/{id}/input_items": {"object": {"const": "list"}, "data": _LIST, "has_more": _FLAG},
    "/v1/messages": {"id": TEXT, "type": {"const": "message"}, "role": TEXT, "content": _LIST, **_USED},
    "/v1/messages/count_tokens": {"input_tokens": _WHOLE},
    "/v1/embeddings": {"object": {"const": "list"}, "data": _LIST, **_USED},
    "/v1/rerank": {"results": _LIST, **_USED},
    "/v2/rerank": {"id": TEXT, "results": _LIST},
    "/v1/models": {"object": {"const": "list"}, "data": {"type": "array", "items": has(_CARD)}},
    "/v1/models/{name}": _CARD,
    "/v1/parameters/{name}": {"model": TEXT, "schema": _OBJECT, "values": _OBJECT},
    "/tokenize": {"tokens": _LIST},
    "/apply-template": {"prompt": TEXT},
    "/api/chat": {"model": TEXT, "created_at": TEXT, "message": _OBJECT, "done": {"const": True}},
    "/api/generate": {"model": TEXT, "created_at": TEXT, "response": TEXT, "done": {"const": True}},
    "/api/embed": {"model": TEXT, "embeddings": _VECTORS},
    "/api/embeddings": {"embedding": {"type": "array", "items": {"type": "number"}}},
    "/api/tags": {"models": _LIST},
    "/api/ps": {"models": _LIST},
    "/api/show": {"details": _OBJECT, "model_info": _OBJECT, "capabilities": _LIST},
    "/api/pull": {"status": TEXT},
    "/api/version": {"version": TEXT},
    "/health": {"status": {"const": "ok"}},
    "/ready": {"status": {"const": "ok"}},
    "/admin/models": {"object": {"const": "list"}, "data": {"type": "array", "items": has(_CARD)}, "memory": _OBJECT},
    **dict.fromkeys(("/admin/load", "/admin/unload", "/admin/pin", "/admin/unpin"), _CARD),
}
"""By path: what is in an answer at least."""

STREAMS: Final = {
    **dict.fromkeys(("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"), "text/event-stream"),
    **dict.fromkeys(("/api/chat", "/api/generate"), "application/x-ndjson"),
}
"""By path: the type of an answer that is streamed."""

_TOLD: Final = {"message": TEXT, "type": TEXT}
ERROR_SHAPES: Final[dict[str, dict[str, Any]]] = {
    "openai": has({"error": has(_TOLD)}),
    "anthropic": has({"type": {"const": "error"}, "error": has(_TOLD)}),
    "ollama": has({"error": TEXT}),
}
"""By dialect: the body of an error."""

STATUSES: Final = {
    "400": "The request can't be carried out as it stands.",
    "401": "A valid API key is needed.",
    "403": "The key, the host name or the web page's origin isn't permitted.",
    "404": "There is no such model, response or path.",
    "408": "The body came too slowly.",
    "413": "The body is too large.",
    "415": "The body is compressed.",
    "429": "The model's queue is full; Retry-After says when to come again.",
    "500": "The server failed.",
    "502": "A server behind this one failed.",
    "503": "The model can't be loaded now; Retry-After says when to come again.",
    "504": "The deadline passed.",
}
