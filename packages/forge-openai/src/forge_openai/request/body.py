"""A checked request as the path and the body that the server gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from llamaforge.errors import InvalidParameterError, UnsupportedError
from llamaforge.parameters import ALIASES, NAMES
from llamaforge.requests import GenerationRequest

from ..config import OpenAIConfig
from ..endpoint import Endpoint
from .fields import SET_BY_US
from .reasoning import effort_fields, message_fields

CHAT: Final = "/chat/completions"
COMPLETIONS: Final = "/completions"

_SAME_NAME: Final = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")
_TOOLS: Final = ("tools", "tool_choice", "parallel_tool_calls")
_CHAT_ONLY: Final = (*_TOOLS, "reasoning_effort", "max_reasoning_tokens", "chat_template_kwargs")


def build(
    request: GenerationRequest, model: str, endpoint: Endpoint, config: OpenAIConfig, backend: str = "openai"
) -> tuple[str, bytes]:
    """Path and JSON body. Refusals name *backend*.

    Raises UnsupportedError for what the endpoint has no way to say, and InvalidParameterError for values that JSON
    can't hold.
    """
    body: dict[str, Any] = {"model": model, "stream": True}
    if config.include_usage:
        body["stream_options"] = {"include_usage": True}
        if config.include_usage == "continuous":
            body["stream_options"]["continuous_usage_stats"] = True
    for name in _SAME_NAME:
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    if request.stop and not stops_here(request, endpoint, config):
        body["stop"] = list(request.stop)
    if request.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in request.logit_bias.items()}
    names = config.wire_names()
    for name, field in names.items():
        value = getattr(request, name)
        if value is not None and name != "grammar":
            body[field] = value
    constraint: dict[str, Any] = {}
    if request.response_format is not None or request.grammar is not None:
        from .constraints import constraint_fields

        constraint = constraint_fields(request, config.constraints, names.get("grammar"), backend)
        body |= constraint
    if request.raw:
        if "response_format" in constraint and config.constraints in {"openai", "tgi"}:
            unable = "response_format with raw=True"
            raise UnsupportedError(unable, backend, "The completions endpoint has none.")
        path = COMPLETIONS
        _add_completion(body, request, backend)
    else:
        path = CHAT
        _add_chat(body, request, endpoint, config, backend)
    body |= request.engine or {}
    return path, encode(body)


def stops_here(request: GenerationRequest, endpoint: Endpoint, config: OpenAIConfig) -> bool:
    """Whether the stop strings are ours to find: the server isn't told of them."""
    most = endpoint.most_stop_strings
    return config.stop_strings == "client" or (most is not None and len(request.stop or ()) > most)


def _add_completion(body: dict[str, Any], request: GenerationRequest, backend: str) -> None:
    unable = [name for name in _CHAT_ONLY if getattr(request, name) is not None]
    if unable:
        raise UnsupportedError(
            f"{', '.join(unable)} with raw=True", backend, "The completions endpoint doesn't support it."
        )
    body["prompt"] = request.prompt
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if request.logprobs:
        # A number here: of alternatives. Some servers take 0 for "no log-probabilities at all".
        body["logprobs"] = max(1, request.top_logprobs or 0)


def _add_chat(
    body: dict[str, Any], request: GenerationRequest, endpoint: Endpoint, config: OpenAIConfig, backend: str
) -> None:
    messages = request.as_messages()
    if messages[-1].role == "assistant":
        if config.prefill == "refuse":
            raise UnsupportedError(
                "a conversation that ends with the assistant",
                backend,
                "OpenAI's API would start a new answer. If this server can continue one, set the load parameter "
                "prefill.",
            )
        if config.prefill == "continue_final_message":
            body |= {"add_generation_prompt": False, "continue_final_message": True}
    body["messages"] = [message_fields(message, config.constraints, endpoint) for message in messages]
    body |= effort_fields(request, config.constraints)
    if request.max_tokens is not None:
        body[endpoint.max_tokens_field] = request.max_tokens
    for name in ("logprobs", "top_logprobs", *_TOOLS):
        value = getattr(request, name)
        # llama.cpp takes top_logprobs=0 for "no log-probabilities at all"; 0 is the default everywhere else.
        if value is not None and (name != "top_logprobs" or value > 0):
            body[name] = list(value) if name == "tools" else value


def encode(body: Mapping[str, object]) -> bytes:
    """*body* as JSON in UTF-8. Raises InvalidParameterError, naming the field, where it can't be."""
    try:
        return _encode(body)
    except (TypeError, ValueError, RecursionError):
        for name, value in body.items():
            try:
                _encode(value)
            except (TypeError, ValueError, RecursionError) as error:
                message = f"{name} can't be sent as JSON: {error}."
                raise InvalidParameterError(name, None, "JSON", show_value=False, message=message) from None
        raise


def _encode(value: object) -> bytes:
    # UnicodeEncodeError, of half a surrogate pair, is a ValueError.
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def check_engine_options(
    options: Mapping[str, object], honoured: frozenset[str], extensions: Mapping[str, str]
) -> None:
    """Refuse fields that already have a meaning; the server decides about all others.

    Raises InvalidParameterError, which says what to pass instead.
    """
    canonical = {field: name for name, field in extensions.items()}
    for field in options:
        name = ALIASES.get(field, field)
        why = SET_BY_US.get(field)
        if why is None and field in canonical:
            why = f"pass the parameter {canonical[field]} instead"
        if why is None and name in NAMES:
            why = f"pass the parameter {name} instead"
            if name not in honoured:
                why += f", and load the model with extensions=[{name!r}]"
        if why is not None:
            message = f"engine can't contain {field!r}: {why}."
            raise InvalidParameterError(f"engine[{field!r}]", None, "left out", show_value=False, message=message)
    encode(options)
