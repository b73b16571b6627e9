"""A row's request, carried out, and its answer in OpenAI's shape."""

from __future__ import annotations

import base64
import functools
import secrets
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from ..backends.base import BaseBackend
from ..errors import ConflictingParametersError, InvalidParameterError, UnsupportedError
from ..openai_objects import (
    HOUSEKEEPING,
    chat_choice,
    completion_choice,
    embedding_usage,
    sum_choices,
    sum_prompts,
    usage_object,
)
from ..openai_responses import READ, begin_response, end_response, output_items, read_request, summarizes
from ..results import GeneratedText
from ..streams import TextStream

_MOST_CHOICES: Final = 16
_SEED_LIMIT: Final = 2**32
_EMPTY_FIELDS: Final = ("refusal", "annotations", "audio", "function_call", "tool_calls")
"""Fields of messages that clients send back as they got them; empty, they say nothing."""

Read = Callable[[TextStream], GeneratedText]
"""Reads a stream to its end. The run does it, which may be asked to stop meanwhile."""


def answer_body(
    backend: BaseBackend, url: str, body: Mapping[str, Any], model: str, defaults: Mapping[str, Any], read: Read
) -> dict[str, Any]:
    """Carry out the request *body* and make the body of its answer.

    Args:
        backend: a loaded model.
        url: one of :data:`.rows.URLS`.
        body: the request.
        model: the model's name, for the answer.
        defaults: generation parameters for what the body leaves open.
        read: reads a stream to its end.

    Raises a RequestError for what can't be done, or an EngineError.
    """
    return _ANSWERS[url](backend, body, model, defaults, read)


def _fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something."""
    fields = {name: value for name, value in body.items() if value is not None and name not in HOUSEKEEPING}
    fields.pop("model", None)
    if fields.pop("stream", False) is not False:
        raise _refused("the field stream", "Leave it out: a batch has whole answers.")
    fields.pop("stream_options", None)
    return fields


def _generation(fields: dict[str, Any], defaults: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """How many answers are wanted, and the parameters: all fields that are left."""
    choices = fields.pop("n", 1)
    if isinstance(choices, bool) or not isinstance(choices, int) or not 1 <= choices <= _MOST_CHOICES:
        raise InvalidParameterError("n", choices, f"a whole number from 1 to {_MOST_CHOICES}")
    limit = fields.pop("max_completion_tokens", None)
    if limit is not None:
        if fields.get("max_tokens", limit) != limit:
            raise ConflictingParametersError(["max_tokens", "max_completion_tokens"])
        fields["max_tokens"] = limit
    if not fields.get("tools"):  # clients send an empty list, and a choice with it
        fields.pop("tools", None)
        if fields.get("tool_choice") in ("auto", "none"):
            del fields["tool_choice"]
    return choices, {**defaults, **fields}


def _several(
    start: Callable[[dict[str, Any]], TextStream], choices: int, parameters: dict[str, Any], read: Read
) -> Iterator[GeneratedText]:
    """The answers. With a seed each has its own, or all would be the same."""
    for number in range(choices):
        own = dict(parameters)
        if number and isinstance(own.get("seed"), int):
            own["seed"] = (own["seed"] + number) % _SEED_LIMIT
        yield read(start(own))


def _chat(
    backend: BaseBackend, body: Mapping[str, Any], model: str, defaults: Mapping[str, Any], read: Read
) -> dict[str, Any]:
    fields = _fields(body)
    messages = fields.pop("messages", None)
    if not isinstance(messages, list):
        raise InvalidParameterError("messages", messages, "a list of messages", show_value=False)
    messages = [_message(message) for message in messages]
    choices, parameters = _generation(fields, defaults)
    answers = list(_several(functools.partial(backend.chat_stream, messages), choices, parameters, read))
    return {
        **_head("chatcmpl", "chat.completion", model),
        "choices": [chat_choice(index, answer) for index, answer in enumerate(answers)],
        "usage": usage_object(sum_choices([answer.usage for answer in answers])),
    }


def _completion(
    backend: BaseBackend, body: Mapping[str, Any], model: str, defaults: Mapping[str, Any], read: Read
) -> dict[str, Any]:
    fields = _fields(body)
    prompt = fields.pop("prompt", None)
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts or not all(isinstance(each, str) for each in prompts):
        raise InvalidParameterError("prompt", prompt, "a text, or a list of texts", show_value=False)
    if fields.pop("echo", False) or fields.get("suffix"):
        raise _refused("the fields echo and suffix", "Leave them out.")
    fields.pop("suffix", None)
    wanted = fields.pop("logprobs", None)
    if wanted is not None:
        fields |= {"logprobs": True, "top_logprobs": wanted}
    best_of = fields.pop("best_of", None)
    choices, parameters = _generation(fields, {"max_tokens": 16, **defaults})  # this endpoint's default
    if best_of not in (None, choices):
        raise _refused("the field best_of", "Leave it out; n asks for several answers.")
    parameters["raw"] = True
    answers, counts = [], []
    for each in prompts:
        found = list(_several(functools.partial(backend.generate_stream, each), choices, parameters, read))
        answers += found
        counts.append(sum_choices([answer.usage for answer in found]))
    return {
        **_head("cmpl", "text_completion", model),
        "choices": [completion_choice(index, answer) for index, answer in enumerate(answers)],
        "usage": usage_object(sum_prompts(counts)),
    }


def _embedding(
    backend: BaseBackend, body: Mapping[str, Any], model: str, defaults: Mapping[str, Any], read: Read
) -> dict[str, Any]:
    fields = _fields(body)
    texts = fields.pop("input", None)
    encoding = fields.pop("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise InvalidParameterError("encoding_format", encoding, "float or base64")
    if not isinstance(texts, str | list) or not texts:
        raise InvalidParameterError("input", None, "a text, token ids, or a list of these", show_value=False)
    known = ("dimensions", "normalize", "prompt_name", "truncation", "timeout")
    for name in fields:
        if name not in known:
            raise InvalidParameterError(name, fields[name], "left out: embeddings have no such parameter")
    found = backend.embed([texts] if isinstance(texts, list) and isinstance(texts[0], int) else texts, **fields)

    def shaped(row: Sequence[float]) -> object:
        return base64.b64encode(array("f", row).tobytes()).decode() if encoding == "base64" else list(row)

    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": shaped(row)} for index, row in enumerate(found)],
        "model": model,
        "usage": embedding_usage(found.usage),
    }


def _response(
    backend: BaseBackend, body: Mapping[str, Any], model: str, defaults: Mapping[str, Any], read: Read
) -> dict[str, Any]:
    fields = _fields(body)
    for name in ("previous_response_id", "conversation", "prompt"):
        if name in fields:
            raise _refused(f"the field {name}", "Put the whole conversation into input.")
    fields.pop("background", None)  # a batch is one
    asked = read_request(fields)
    for name in asked.ignored:
        raise _refused(f"the field {name}", "Leave it out.")
    others = {name: value for name, value in fields.items() if name not in READ}
    answer = read(backend.chat_stream(asked.messages, {**defaults, **others, **asked.parameters}))
    response = begin_response(body, model, asked.tools)
    output = output_items(answer, summarize=summarizes(fields))
    end_response(response, output, answer.finish_reason, answer.usage, answer.parameters)
    return response


_ANSWERS: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/embeddings": _embedding,
    "/v1/responses": _response,
}


def _refused(what: str, advice: str) -> UnsupportedError:
    """The error for *what* rows of a batch can't ask for."""
    return UnsupportedError(what, "batch", message=f"A batch does not support {what}. {advice}")


def _message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message  # refused with its place where messages are read
    return {
        name: value
        for name, value in message.items()
        if value is not None and not (name in _EMPTY_FIELDS and not value)
    }


def _head(prefix: str, kind: str, model: str) -> dict[str, Any]:
    return {"id": f"{prefix}-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": model}
