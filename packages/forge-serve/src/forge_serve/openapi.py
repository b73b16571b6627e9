"""The OpenAPI description (https://spec.openapis.org/oas/v3.1.0) of everything that is served, at ``/openapi.json``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from llamaforge import __version__
from llamaforge.parameters import Parameters

from .endpoint import Endpoint
from .models import json_answer
from .work import Answering

_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_WHOLE: Final = {"type": "integer"}
_LIST: Final = {"type": "array"}
_OBJECT: Final = {"type": "object"}
_MODEL: Final = {"type": "string", "description": "A model's name, from /v1/models."}
_TEXT_OR_LIST: Final = {"oneOf": [_TEXT, {"type": "array", "minItems": 1}]}
_KEEP: Final = {"description": "How long the model stays: seconds, or a text such as '5m'."}
_OLLAMA: Final = {
    "stream": _FLAG,
    "options": _OBJECT,
    "format": {"oneOf": [{"const": "json"}, _OBJECT]},
    "think": {"oneOf": [_FLAG, _TEXT]},
    "keep_alive": _KEEP,
}
_STREAM: Final = {"stream": _FLAG, "stream_options": _OBJECT, "n": {"type": "integer", "minimum": 1, "maximum": 16}}
_MESSAGES: Final = {"type": "array", "items": _OBJECT}

_BODIES: Final[dict[str, tuple[tuple[str, ...], dict[str, Any], bool]]] = {
    "/v1/chat/completions": (("messages",), {"messages": _MESSAGES, **_STREAM}, True),
    "/v1/completions": (("prompt",), {"prompt": _TEXT_OR_LIST, **_STREAM}, True),
    "/v1/responses": (
        ("input",),
        {
            "input": _TEXT_OR_LIST,
            "instructions": _TEXT,
            "stream": _FLAG,
            "store": _FLAG,
            "background": _FLAG,
            "previous_response_id": _TEXT,
            "max_output_tokens": _WHOLE,
            "text": _OBJECT,
            "reasoning": _OBJECT,
            "tools": _LIST,
            "metadata": _OBJECT,
        },
        True,
    ),
    "/v1/messages": (
        ("messages", "max_tokens"),
        {"messages": _MESSAGES, "max_tokens": _WHOLE, "system": _TEXT_OR_LIST, "stream": _FLAG, "thinking": _OBJECT},
        True,
    ),
    "/v1/messages/count_tokens": (("messages",), {"messages": _MESSAGES, "system": _TEXT_OR_LIST}, False),
    "/v1/embeddings": (
        ("input",),
        {"input": _TEXT_OR_LIST, "encoding_format": {"enum": ["float", "base64"]}, "dimensions": _WHOLE},
        False,
    ),
    "/v1/rerank": (("query", "documents"), {"query": _TEXT, "documents": _LIST, "top_n": _WHOLE}, False),
    "/v2/rerank": (("query", "documents"), {"query": _TEXT, "documents": _LIST, "top_n": _WHOLE}, False),
    "/tokenize": ((), {"prompt": _TEXT, "content": _TEXT, "messages": _MESSAGES}, False),
    "/detokenize": (("tokens",), {"tokens": {"type": "array", "items": _WHOLE}}, False),
    "/apply-template": (("messages",), {"messages": _MESSAGES}, False),
    "/api/chat": (("messages",), {"messages": _MESSAGES, "tools": _LIST, **_OLLAMA}, False),
    "/api/generate": ((), {"prompt": _TEXT, "system": _TEXT, "raw": _FLAG, **_OLLAMA}, False),
    "/api/embed": (("input",), {"input": _TEXT_OR_LIST, "truncate": _FLAG, "dimensions": _WHOLE}, False),
    "/api/embeddings": (("prompt",), {"prompt": _TEXT}, False),
    "/admin/load": ((), {"wait": _FLAG}, False),
    "/admin/unload": ((), {"force": _FLAG}, False),
}
"""By path: fields that must be there beside the model, the fields, and whether parameters of generation are taken."""

_FILES: Final = ("/assets/", "/favicon")
"""The page's own files."""
_ERRORS: Final = {
    "400": "The request can't be carried out as it stands.",
    "401": "A valid API key is needed.",
    "403": "The key, the host name or the web page's origin isn't permitted.",
    "404": "There is no such model, response or path.",
    "408": "The body came too slowly.",
    "413": "The body is too large.",
    "429": "The model's queue is full; Retry-After says when to come again.",
    "500": "The server failed.",
    "502": "A server behind this one failed.",
    "503": "The model can't be loaded now; Retry-After says when to come again.",
    "504": "The deadline passed.",
}


def routes_of(described: Iterable[BaseRoute]) -> list[Route]:
    """The route of the description of these routes."""
    known = [route for route in described if isinstance(route, Route) and not route.path.startswith(_FILES)]

    async def openapi(request: Request) -> Response:
        """This description."""
        return json_answer(_description([*known, own]))

    own = Route("/openapi.json", openapi, methods=["GET"])
    return [own]


def _description(routes: list[Route]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path.replace(":path}", "}").replace(":response}", "}")
        for method in sorted((route.methods or set()) - {"HEAD"}):
            paths.setdefault(path, {})[method.lower()] = _operation(route, path, method)
    parts = {"schemas": _schemas(), "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    info = {"title": "LlamaForge", "version": __version__, "description": "Language models of every backend."}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": parts, "security": [{}, {"key": []}]}


def _operation(route: Route, path: str, method: str) -> dict[str, Any]:
    told: dict[str, Any] = {"summary": _summary(route.endpoint), "responses": _responses(path)}
    named = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    if named:
        told["parameters"] = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in named]
    if method == "POST" and not named:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": _body(path)}}}
    return told


def _body(path: str) -> dict[str, Any]:
    needed, fields, generates = _BODIES.get(path, ((), {}, False))
    own = {"type": "object", "required": ["model", *needed], "properties": {"model": _MODEL, **fields}}
    return {"allOf": [own, {"$ref": "#/components/schemas/Parameters"}]} if generates else own


def _responses(path: str) -> dict[str, Any]:
    kind = "text/plain" if path == "/metrics" else "text/html" if path == "/" else "application/json"
    good = {"description": "The answer.", "content": {kind: {}}}
    if path == "/admin/events":
        good["content"] = {"text/event-stream": {}}
    return {"200": good} | {status: {"description": text} for status, text in _ERRORS.items()}


@functools.cache
def _schemas() -> dict[str, Any]:
    _, definitions = msgspec.json.schema_components([Parameters], ref_template="#/components/schemas/{name}")
    return definitions


def _summary(endpoint: Any) -> str:
    """The first line of what documents an endpoint."""
    source = endpoint
    if isinstance(endpoint, Answering):
        source = endpoint.answer
    elif isinstance(endpoint, Endpoint):
        source = type(endpoint.voice)
    elif not inspect.isroutine(endpoint):
        source = type(endpoint)
    return (inspect.getdoc(source) or "").strip().partition("\n")[0].replace("``", "`")
