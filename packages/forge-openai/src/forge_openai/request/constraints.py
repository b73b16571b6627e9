"""``response_format`` and ``grammar`` in the words of each kind of server."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from llamaforge.constraints import AnswerFormat, read_format
from llamaforge.constraints.gbnf import is_gbnf
from llamaforge.errors import UnsupportedError
from llamaforge.requests import GenerationRequest

from ..config import ServerKind

_ANY: Final = {"type": "object"}


def constraint_fields(request: GenerationRequest, kind: ServerKind, field: str | None, backend: str) -> dict[str, Any]:
    """The fields of the body that say what *request* asks for; none where it asks for nothing.

    Args:
        request: the request.
        kind: whose names the server understands.
        field: the name of the field for grammars, from the load parameter ``extensions``; None: there is none.
        backend: whom refusals name.

    Raises UnsupportedError for what the server has no name for, and ConstraintError for a format that can't be read.
    """
    if request.grammar is not None:
        return _grammar(request.grammar, kind, field, backend)
    if request.response_format is None:
        return {}
    wanted = read_format(request.response_format)
    if wanted.kind == "text":
        return {}
    if kind == "vllm":
        fields = _vllm(wanted)
    elif kind == "llama-server":
        fields = _llama_server(wanted)
    elif kind == "tgi":
        fields = _tgi(wanted)
    elif kind == "llamaforge":  # `llamaforge serve` knows all types by our names
        fields = {"response_format": request.response_format}
    else:
        fields = _openai(wanted)
    if fields is None:
        raise UnsupportedError(
            f"response_format of the type {wanted.kind!r}", backend, "This server has no name for it."
        )
    return fields


def _openai(wanted: AnswerFormat) -> dict[str, Any] | None:
    """https://platform.openai.com/docs/guides/structured-outputs"""
    if wanted.kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if wanted.kind != "json_schema":
        return None
    told = {"name": wanted.name, "schema": wanted.schema, "description": wanted.description, "strict": wanted.strict}
    schema = {name: value for name, value in told.items() if value is not None}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _vllm(wanted: AnswerFormat) -> dict[str, Any] | None:
    """https://docs.vllm.ai/en/latest/features/structured_outputs.html"""
    if wanted.kind == "regex":
        return {"structured_outputs": {"regex": wanted.regex}}
    if wanted.kind == "choice":
        return {"structured_outputs": {"choice": list(wanted.choice)}}
    return _openai(wanted)


def _llama_server(wanted: AnswerFormat) -> dict[str, Any] | None:
    """https://github.com/ggml-org/llama.cpp/tree/master/tools/server"""
    if wanted.kind == "choice":
        return {"grammar": "root ::= " + " | ".join(map(_gbnf_literal, wanted.choice))}
    return {"json_schema": wanted.schema} if wanted.is_json else None


def _tgi(wanted: AnswerFormat) -> dict[str, Any] | None:
    """https://huggingface.co/docs/text-generation-inference/basic_tutorials/using_guidance"""
    if wanted.kind == "regex":
        return {"response_format": {"type": "regex", "value": wanted.regex}}
    if wanted.kind == "choice":
        return {
            "response_format": {"type": "regex", "value": "|".join(f"({re.escape(each)})" for each in wanted.choice)}
        }
    return {"response_format": {"type": "json", "value": wanted.schema if wanted.kind == "json_schema" else _ANY}}


def _grammar(text: str, kind: ServerKind, field: str | None, backend: str) -> dict[str, Any]:
    if field is not None:
        if kind == "llama-server" and not is_gbnf(text):
            raise UnsupportedError("a grammar in Lark", backend, "llama.cpp's server reads GBNF: root ::= ...")
        return {field: text}
    if kind == "vllm":
        return {"structured_outputs": {"grammar": text}}
    raise UnsupportedError("the parameter grammar", backend)


def _gbnf_literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
