"""Models that never end an answer, in schemas that don't make them: the context does, and the answer says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llamaforge.chat import ChatTemplate
from llamaforge.chat.writing import write_calls
from llamaforge.constraints.partial import partial_json
from llamaforge.results import TextDelta, ToolCallDelta
from support.chat_templates import PLAIN, TEMPLATES
from support.talking_engine import TalkingBackend

ASK = [{"role": "user", "content": "Hi"}]
NESTED: dict[str, Any] = {
    "$ref": "#/$defs/n",
    "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
}
ENDLESS: dict[str, tuple[Any, str]] = {
    "string": ({"type": "string"}, '"' + "x" * 900),
    "escapes": ({"type": "string"}, '"' + "\\n" * 900),
    "long string": ({"type": "string", "maxLength": 1_000_000}, '"' + "xé " * 300),
    "short pattern": ({"type": "string", "pattern": "^(ab|c)*$"}, '"' + "abc" * 300),
    "number": ({"type": "integer"}, "1" * 900),
    "items": ({"type": "array", "items": {"type": "integer"}}, "[" + "1, " * 300),
    "many items": ({"type": "array", "items": {"type": "integer"}, "minItems": 100_000}, "[" + "1, " * 300),
    "names": ({"type": "object", "additionalProperties": {"type": "null"}}, "{" + '"a": null, ' * 90),
    "arrays": (NESTED, "[" * 900),
    "objects": ({"type": "object", "additionalProperties": {"$ref": "#"}}, '{"a": ' * 150),
    "any": ({}, '{"a": [' * 130),
    "choices": (
        {"anyOf": [{"type": "string", "maxLength": 5000}, {"type": "array", "items": {"$ref": "#"}}]},
        "[" * 900,
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_the_context_ends_an_endless_answer(name: str) -> None:
    schema, text = ENDLESS[name]
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    with TalkingBackend(TEMPLATES["hermes"], text, context=500) as backend:
        answer = backend.chat(ASK, response_format=wanted)
        assert (answer.finish_reason, answer.parsed) == ("length", None)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens + answer.usage.completion_tokens == 500
        assert text.startswith(answer[:-3]), "a character may be cut"
        stream = backend.chat_stream(ASK, response_format=wanted)
        assert "".join(stream) == answer
        assert stream.result.finish_reason == "length"
        assert stream.partial == partial_json(answer)


@pytest.mark.parametrize("name", [*TEMPLATES, "generic"])
@pytest.mark.parametrize("said", ["x" * 2000, ["x"] * 500], ids=["string", "list"])
def test_the_context_ends_endless_arguments(name: str, said: Any) -> None:
    kind = {"type": "string"} if isinstance(said, str) else {"type": "array", "items": {"type": "string"}}
    schema = {"type": "object", "properties": {"said": kind}, "required": ["said"], "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": "say", "parameters": schema}}]
    template = PLAIN if name == "generic" else TEMPLATES[name]
    form = ChatTemplate(template).output_format(with_tools=True)
    more: dict[str, Any] = {"tools": tools, "tool_choice": {"type": "function", "function": {"name": "say"}}, "seed": 1}
    if form.calls is None:
        text = f"<|channel|>commentary to=functions.say <|constrain|>json<|message|>{json.dumps({'said': said})}"
    else:
        text = write_calls(form.calls, [("say", {"said": said})]).lstrip()
    if form.reasoning is not None:
        more["max_reasoning_tokens"] = 0
    with TalkingBackend(template, lambda prompt: text, context=1200) as backend:
        answer = backend.chat(ASK, **more)
        assert (answer, answer.finish_reason) == ("", "length")
        (call,) = answer.tool_calls
        assert call.function.name == "say"
        assert json.dumps({"said": said}).startswith(call.function.arguments[:-1])
        assert len(call.function.arguments) > 400
        events = list(backend.chat_stream(ASK, **more).events())
        assert not any(isinstance(event, TextDelta) for event in events)
        assert "".join(e.arguments for e in events if isinstance(e, ToolCallDelta)) == call.function.arguments
