"""Tools and formats, beyond the one call: which function, none at all, and objects of any shape."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from ...errors import ConstraintError, InvalidAnswerError, LlamaForgeError, RequestError
from ...results import GeneratedText
from ..expect import NotAsExpected, expect, expect_equal
from ..kit import Kit
from ..refusing import expect_a_refusal
from ..subject import Subject
from ..ways import ways
from .constraints import schema_format

_COLOUR: Final = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
_STATE: Final = {
    "type": "object",
    "properties": {"open": {"type": "boolean"}},
    "required": ["open"],
    "additionalProperties": False,
}
_SWITCH: Final = {
    "properties": {"on": {"enum": [0, 1]}},
    "required": ["on"],
    "additionalProperties": False,
}
"""Arguments are an object even where a schema doesn't say it."""
TOOLS: Final = [
    {"type": "function", "function": {"name": "paint_boat", "description": "Paint the boat.", "parameters": _COLOUR}},
    {"type": "function", "function": {"name": "open_door", "description": "Open or close it.", "parameters": _STATE}},
    {
        "type": "function",
        "function": {"name": "set_lamp", "description": "Turn it on or off.", "parameters": _SWITCH},
    },
]
_ANY_SET: Final = {"type": "object", "properties": {"of": {"type": "array", "uniqueItems": True}}}
"""What no engine enforces token by token."""
TOKENS: Final = 64


class ToolingChecks(Kit):
    """A model that can't do what is declared says so with a typed error; then there is nothing to compare."""

    def test_the_named_tool_is_called(self, subject: Subject) -> None:
        """With a tool_choice that names a function, that one is called, whichever place it has in the list, with
        arguments that its schema allows, and no text beside the call.

        Why: the choice is the program's. Look at: the first tool of the list, taken for the chosen one.
        """
        if not subject.declares("tools", "tool_choice"):
            subject.refuses(tools=TOOLS)
            return
        for name in ("open_door", "paint_boat", "set_lamp"):
            for tools in (TOOLS, TOOLS[::-1]):
                choice = {"type": "function", "function": {"name": name}}
                answer = self._answered_with(subject, tools=tools, tool_choice=choice)
                if answer is None:
                    return
                called = [call.function.name for call in answer.tool_calls]
                expect(called and set(called) == {name}, f"calls of {name} alone", called)
                self._is_sound(answer)

    def test_a_tool_that_is_not_strict_has_any_arguments(self, subject: Subject) -> None:
        """A tool with ``"strict": False`` is called with any JSON object, though its schema can't be enforced and is
        refused otherwise.

        Why: a program that checks arguments itself needs no schema that an engine can enforce. Look at: schemas that
        are compiled whatever ``strict`` says.
        """
        if not subject.declares("tools", "tool_choice"):
            subject.refuses(tools=TOOLS)
            return

        def asked(**more: Any) -> GeneratedText:
            tool = {"type": "function", "function": {"name": "sort_sails", "parameters": _ANY_SET, **more}}
            given = {**subject.greedy, **subject.limit(TOKENS), "tools": [tool], "tool_choice": "required"}
            return subject.generate(None, given)

        try:
            asked()
        except ConstraintError:
            answer = subject.answered(lambda: asked(strict=False), "an answer with a tool that is not strict")
        except LlamaForgeError:
            return  # a server's own rule
        else:
            return
        expect(answer.tool_calls, "a tool call", answer.to_dict())
        if answer.finish_reason == "tool_calls":
            for call in answer.tool_calls:
                value = _read(call.function.arguments)
                expect(isinstance(value, dict), "a JSON object", call)

    def test_no_tool_is_called_where_none_may_be(self, subject: Subject) -> None:
        """With tool_choice="none" the answer is text, and without tools there are no calls.

        Why: programs ask for a summary after the calls. Look at: tools that are taken for required.
        """
        if not subject.declares("tools", "tool_choice"):
            subject.refuses(tools=TOOLS)
            return
        for given in ({"tools": TOOLS, "tool_choice": "none"}, {}):
            answer = self._answered_with(subject, **given)
            if answer is None:
                continue
            expect(not answer.tool_calls, f"no tool calls with {list(given)}", answer.tool_calls)
            expect(answer.finish_reason in ("stop", "length"), "a finish_reason of text", answer.finish_reason)

    def test_a_tool_that_nobody_asked_for_is_not_forced(self, subject: Subject) -> None:
        """Where the model may choose (no tool_choice, or "auto") and its own continuation of the rendered text names
        no tool, none is called.

        Why: a program that offers tools wants the model's decision. Look at: constraints that are set whenever there
        are tools.
        """
        if not subject.declares("tools", "tool_choice"):
            subject.refuses(tools=TOOLS)
            return
        turns = [{"role": "user", "content": subject.prompt}]
        given = {**subject.greedy, **subject.limit(TOKENS)}
        for choice in ({}, {"tool_choice": "auto"}):
            asked = {"tools": TOOLS, **choice}
            try:
                rendered = subject.backend.render(messages=turns, parameters=asked)
                plain = subject.generate(rendered, {**given, "raw": True})
                answer = subject.backend.chat(turns, {**given, **asked})
            except LlamaForgeError:
                pytest.skip("could not be measured: the backend renders no tools, or takes no raw prompt")
            named = any(tool["function"]["name"] in plain for tool in TOOLS)  # type: ignore[index]
            expect(named or not answer.tool_calls, f"no call with {choice or 'no tool_choice'}", answer.tool_calls)

    def test_calls_are_the_same_on_every_path(self, subject: Subject) -> None:
        """A required tool is called on every path, streamed or not, with the same arguments, and each call has an id.

        Why: agents stream. Look at: calls that only one path takes out of the text.
        """
        if not subject.declares("tools", "tool_choice"):
            subject.refuses(tools=TOOLS)
            return
        given: dict[str, Any] = {"tools": TOOLS, "tool_choice": "required"}
        wanted = self._answered_with(subject, **given)
        if wanted is None:
            return
        expect(wanted.tool_calls, "a tool call", wanted.to_dict())
        self._is_sound(wanted)
        if subject.declares("parallel_tool_calls"):  # a model may call without end; one call is as long as it is
            given["parallel_tool_calls"] = False
            wanted = self._answered_with(subject, **given)
            if wanted is None:
                return
            expect(len(wanted.tool_calls) == 1, "one tool call with parallel_tool_calls=False", wanted.to_dict())
        for way in ways(subject):
            if way.is_raw:
                continue
            try:
                came = way.ask(subject.prompt, {**subject.greedy, **subject.limit(TOKENS), **given})
            except InvalidAnswerError as error:
                raise NotAsExpected(f"a call on the path {way.name}", error) from error
            self._is_sound(came)
            if not subject.rounding:
                calls = [[(c.function.name, c.function.arguments) for c in each.tool_calls] for each in (came, wanted)]
                expect_equal(calls[0], calls[1], f"the calls of {way.name}")

    def test_formats_are_followed_on_every_path(self, subject: Subject) -> None:
        """With {"type": "json_object"} the answer is a JSON object, with a schema one that follows it, greedy and
        sampled, on every path.

        Why: one answer that is no JSON stops a pipeline. Look at: the plain format, which has no schema; paths that
        lose it.
        """
        plain = {"type": "json_object"}
        if not subject.declares("response_format"):
            subject.refuses(response_format=plain)
            return
        schema = {"type": "json_schema", "json_schema": {"name": "door", "strict": True, "schema": _STATE}}
        hot = {"temperature": 1.5, "seed": 3} if subject.declares("temperature", "seed") else {}
        for wanted, heat in ((plain, {}), (schema, {}), (schema, hot), (plain, hot)):
            given = {**subject.greedy, **subject.limit(TOKENS), **heat, "response_format": wanted}
            for way in ways(subject):
                try:
                    answer = way.ask("Is the door open? Answer as a small JSON object.", given)
                except RequestError:
                    continue  # this model can't, and says so
                except LlamaForgeError as error:
                    raise NotAsExpected(f"an answer of {way.name} in the format {wanted['type']}", error) from error
                if answer.finish_reason == "length":  # cut before its end
                    begun = str(answer).lstrip()[:1]
                    expect(begun in ("", "{"), f"the beginning of a JSON object of {way.name}", answer)
                    continue
                value = _read(str(answer))
                expect(isinstance(value, dict), f"a JSON object of {way.name} with {wanted['type']}", answer)
                if wanted is schema:
                    follows = set(value) == {"open"} and isinstance(value["open"], bool)
                    expect(follows, f"JSON that follows {_STATE} of {way.name}", answer)

    def test_a_format_holds_beside_tools(self, subject: Subject) -> None:
        """With tools that must not be called, an answer follows its format all the same.

        Why: after the calls, agents ask for the result as JSON, and send the tools along. Look at: formats that are
        left out wherever there are tools.
        """
        choice = {"type": "choice", "choice": ["aye", "nay"]}
        if not subject.declares("response_format", "tools", "tool_choice"):
            subject.refuses(tools=TOOLS, response_format=choice)
            return
        for wanted in (schema_format(_STATE), choice):
            given = {**subject.greedy, **subject.limit(TOKENS), "response_format": wanted}
            try:
                answer = subject.generate(None, {**given, "tools": TOOLS, "tool_choice": "none"})
            except LlamaForgeError as error:
                expect_a_refusal(error, "an answer in a format, beside tools")
                continue
            expect(not answer.tool_calls, "no tool calls", answer.tool_calls)
            if wanted is choice:
                expect(answer in ("aye", "nay"), "one of the choices", answer)
            elif answer.finish_reason != "length":
                value = _read(str(answer))
                expect(value in ({"open": True}, {"open": False}), f"JSON that follows {_STATE}", answer)

    def test_the_format_text_changes_nothing(self, subject: Subject) -> None:
        """With {"type": "text"} the answer is what it is without a format.

        Why: clients send it as their default. Look at: a constraint that allows every text, but costs the model its
        own words.
        """
        wanted = {"type": "text"}
        if not subject.declares("response_format"):
            subject.refuses(response_format=wanted)
            return
        came = subject.say(16, response_format=wanted)
        subject.agrees(came, subject.say(16), "the answer with the format text")

    def _answered_with(self, subject: Subject, **given: Any) -> GeneratedText | None:
        try:
            return subject.generate(None, {**subject.greedy, **subject.limit(TOKENS), **given})
        except RequestError:
            return None
        except Exception as error:
            raise NotAsExpected(f"an answer or a typed error with {given}", error) from error

    def _is_sound(self, answer: GeneratedText) -> None:
        __tracebackhide__ = True
        used = None if answer.usage is None else answer.usage.completion_tokens
        cut = answer.finish_reason == "length" and (used is None or used >= TOKENS)  # in the middle of one more call
        if not cut:
            expect_equal(answer.finish_reason, "tool_calls", "finish_reason of an answer with calls")
            expect(not str(answer).strip(), "no text beside the calls", answer)
        arguments: dict[str, list[Any]] = {
            "paint_boat": [{"colour": "red"}, {"colour": "green"}],
            "open_door": [{"open": True}, {"open": False}],
            "set_lamp": [{"on": 0}, {"on": 1}],
        }
        for call in answer.tool_calls:
            expect(call.id, "an id of each call", call)
            expect(call.function.name in arguments, "a call of one of the tools", call)
            value = _read(call.function.arguments)
            if cut and value is None and call is answer.tool_calls[-1]:
                continue
            allowed = arguments[call.function.name]
            expect(value in allowed, f"one of the arguments that the schema allows, {allowed}", call)
        expect(
            len({call.id for call in answer.tool_calls}) == len(answer.tool_calls), "ids that differ", answer.tool_calls
        )


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
