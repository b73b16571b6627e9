"""The OpenAPI description (https://spec.openapis.org/oas/v3.1.0) of everything that is served, at ``/openapi.json``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from llamaforge import __version__
from llamaforge.parameters import Parameters

from .asked import Voice
from .endpoint import Endpoint
from .models import json_answer
from .schemas import ANSWERS, BODIES, ERROR_SHAPES, MODEL, STATUSES, STREAMS, TEXT, has
from .work import Answering

_FILES: Final = ("/assets/", "/favicon")
"""The page's own files."""


def routes_of(described: Iterable[BaseRoute], voice_of: Callable[[str], Voice]) -> list[Route]:
    """The route of the description of these routes, whose errors are told in the dialect of their paths."""
    known = [route for route in described if isinstance(route, Route) and not route.path.startswith(_FILES)]

    async def openapi(request: Request) -> Response:
        """This description."""
        return json_answer(_description([*known, own], voice_of))

    own = Route("/openapi.json", openapi, methods=["GET"])
    return [own]


def _description(routes: list[Route], voice_of: Callable[[str], Voice]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path.replace(":path}", "}").replace(":response}", "}")
        for method in sorted((route.methods or set()) - {"HEAD"}):
            paths.setdefault(path, {})[method.lower()] = _operation(route, path, method, voice_of(path))
    parts = {"schemas": _schemas(), "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    info = {"title": "LlamaForge", "version": __version__, "description": "Language models of every backend."}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": parts, "security": [{}, {"key": []}]}


def _operation(route: Route, path: str, method: str, voice: Voice) -> dict[str, Any]:
    told: dict[str, Any] = {"summary": _summary(route.endpoint), "responses": _responses(path, voice.name)}
    named = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    if named:
        told["parameters"] = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in named]
    if method == "POST" and not named:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": _body(path)}}}
    return told


def _body(path: str) -> dict[str, Any]:
    needed, fields, generates = BODIES.get(path, ((), {}, False))
    optional = {name: {"anyOf": [kind, {"type": "null"}]} for name, kind in fields.items() if name not in needed}
    own = {"type": "object", "required": ["model", *needed], "properties": {"model": MODEL, **fields, **optional}}
    return {"allOf": [own, {"$ref": "#/components/schemas/Parameters"}]} if generates else own


def _responses(path: str, dialect: str) -> dict[str, Any]:
    fields = ANSWERS.get(path)
    kind = "text/plain" if path == "/metrics" else "text/html" if path == "/" else "application/json"
    content: dict[str, Any] = {kind: {"schema": has(fields)} if fields is not None else {}}
    if path in STREAMS:
        content[STREAMS[path]] = {}
    if path == "/admin/events":
        content = {"text/event-stream": {}}
    failed = {"application/json": {"schema": {"$ref": f"#/components/schemas/Error_{dialect}"}}}
    errors = {status: {"description": text, "content": failed} for status, text in STATUSES.items()}
    return {"200": {"description": "The answer.", "content": content}} | errors


@functools.cache
def _schemas() -> dict[str, Any]:
    _, definitions = msgspec.json.schema_components([Parameters], ref_template="#/components/schemas/{name}")
    return definitions | {f"Error_{dialect}": shape for dialect, shape in ERROR_SHAPES.items()}


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
