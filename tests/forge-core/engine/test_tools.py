"""Tools and reasoning behind the scheduler, with an engine that writes what it likes as far as it may."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from llamaforge.errors import (
    ConflictingParametersError,
    ConstraintError,
    ContextOverflowError,
    InvalidParameterError,
    UnsupportedError,
)
from llamaforge.results import Event, Finished, GeneratedText, ReasoningDelta, TextDelta, ToolCallDelta
from support.chat_templates import PLAIN, TEMPLATES
from support.talking_engine import TalkingBackend

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 6},
        "days": {"type": "integer", "minimum": 1, "maximum": 99},
        "unit": {"enum": ["c", "f"]},
        "where": {
            "type": "object",
            "properties": {
                "ok": {"type": "boolean"},
                "tags": {"type": "array", "items": {"enum": ["x"]}, "maxItems": 2},
            },
            "required": ["ok"],
            "additionalProperties": False,
        },
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


def tool(name: str, parameters: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters or NOTHING, **more}}


TOOLS = [tool("get_weather", SCHEMA), tool("now")]
HERMES = TEMPLATES["hermes"]
ASK = [{"role": "user", "content": "Hi"}]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome", "unit": "c"}}\n</tool_call>'


def check(answer: GeneratedText) -> None:
    assert answer.finish_reason == "tool_calls", answer.to_dict()
    assert answer.tool_calls
    for call in answer.tool_calls:
        schema = {"get_weather": SCHEMA, "now": NOTHING}[call.function.name]
        jsonschema.validate(json.loads(call.function.arguments), schema)
    ids = [call.id for call in answer.tool_calls]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("plain", [False, True], ids=["special", "plain"])
@pytest.mark.parametrize("name", [*TEMPLATES, "generic"])
def test_forced_calls_are_valid_in_every_notation(name: str, plain: bool) -> None:
    template = PLAIN if name == "generic" else TEMPLATES[name]
    with TalkingBackend(template, "<think>", plain=plain) as backend:
        for seed in range(4):
            more: dict[str, Any] = {"seed": seed, "max_tokens": 3000, "tools": TOOLS}
            if name not in ("llama3-json", "pythonic", "generic"):
                more["max_reasoning_tokens"] = 5
            answer = backend.chat(ASK, tool_choice="required", parallel_tool_calls=False, **more)
            check(answer)
            assert len(answer.tool_calls) == 1
            assert not answer.text.strip()
            named = backend.chat(ASK, tool_choice={"type": "function", "function": {"name": "now"}}, **more)
            check(named)
            assert [call.function.name for call in named.tool_calls] == ["now"]


def test_several_calls() -> None:
    two = f'{CALL}\n<tool_call>\n{{"name": "now", "arguments": {{}}}}\n</tool_call>'
    with TalkingBackend(HERMES, two) as backend:
        answer = backend.chat(ASK, tools=TOOLS)
        check(answer)
        assert [call.function.name for call in answer.tool_calls] == ["get_weather", "now"]
        again = backend.chat(ASK, tools=TOOLS, seed=3)
        assert again.tool_calls == backend.chat(ASK, tools=TOOLS, seed=3).tool_calls, "ids too"
        assert again.tool_calls[0].id != answer.tool_calls[0].id
        assert len(backend.chat(ASK, tools=TOOLS, parallel_tool_calls=False).tool_calls) == 1


@pytest.mark.parametrize("choice", ["auto", None])
def test_free_text_until_a_call_begins(choice: str | None) -> None:
    bad = "Let me look.\n" + CALL.replace('"c"', '"kelvin"').replace("Rome", "Constantinople")
    with TalkingBackend(HERMES, lambda prompt: "Hello!" if "say hello" in prompt else bad) as backend:
        hello = backend.generate("say hello", tools=TOOLS, tool_choice=choice)
        assert (hello, hello.finish_reason, hello.tool_calls) == ("Hello!", "stop", ())
        answer = backend.chat(ASK, tools=TOOLS, tool_choice=choice, seed=1, max_tokens=500)
        assert answer.startswith("Let me look.")
        check(answer)


def test_no_call_where_none_is_wanted() -> None:
    with TalkingBackend(HERMES, "I call " + CALL) as backend:
        answer = backend.chat(ASK, tools=TOOLS, tool_choice="none", seed=1, max_tokens=60)
        assert not answer.tool_calls
        assert answer.finish_reason in ("stop", "length")
        assert answer.startswith("I call ")
        assert "<tool_call>" not in answer


def test_arguments_that_are_not_strict() -> None:
    loose = [tool("get_weather", {"type": "object", "not": {}}, strict=False)]
    with TalkingBackend(HERMES, CALL.replace('"c"', "[1, 2]")) as backend:
        answer = backend.chat(ASK, tools=loose)
        assert json.loads(answer.tool_calls[0].function.arguments) == {"city": "Rome", "unit": [1, 2]}
        with pytest.raises(ConstraintError, match=r"tools at /0/function/parameters"):
            backend.chat(
                ASK, tools=[tool("get_weather", {"type": "object", "properties": {"a": {"uniqueItems": True}}})]
            )


@pytest.mark.parametrize("name", [*TEMPLATES, "generic"])
def test_a_function_without_parameters_has_no_arguments(name: str) -> None:
    bare = [{"type": "function", "function": {"name": "now"}}]
    with TalkingBackend(PLAIN if name == "generic" else TEMPLATES[name], "</think>") as backend:
        answer = backend.chat(ASK, tools=bare, tool_choice="required", parallel_tool_calls=False, seed=1)
        assert [call.function.arguments for call in answer.tool_calls] == ["{}"]
        assert answer.finish_reason == "tool_calls"


def test_arguments_are_objects() -> None:
    with TalkingBackend(HERMES, CALL) as backend:
        for kind in ("string", ["array", "null"]):
            with pytest.raises(ConstraintError, match=r"tools at /0/function/parameters/type: arguments are an object"):
                backend.chat(ASK, tools=[tool("get_weather", {"type": kind})])
        for parameters in ({"title": "x"}, {"type": ["object", "null"]}, {"properties": {"city": {"type": "string"}}}):
            answer = backend.chat(ASK, tools=[tool("get_weather", parameters)])
            assert json.loads(answer.tool_calls[0].function.arguments)["city"] == "Rome"


def test_a_cut_call_says_so() -> None:
    with TalkingBackend(HERMES, CALL) as backend:
        answer = backend.chat(ASK, tools=TOOLS, max_tokens=12, tool_choice="required")
        assert answer.finish_reason == "length"


@pytest.mark.parametrize("plain", [False, True], ids=["special", "plain"])
@pytest.mark.parametrize("name", [*TEMPLATES, "generic"])
def test_a_forced_call_that_is_cut_anywhere_leaves_no_content(name: str, plain: bool) -> None:
    template = PLAIN if name == "generic" else TEMPLATES[name]
    with TalkingBackend(template, "<", plain=plain) as backend:
        for limit in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89):
            more: dict[str, Any] = {"seed": 1, "max_tokens": limit, "tools": TOOLS, "tool_choice": "required"}
            if name not in ("llama3-json", "pythonic", "generic"):
                more["max_reasoning_tokens"] = 0
            answer = backend.chat(ASK, **more)
            assert answer == "", limit
            assert answer.finish_reason in ("length", "tool_calls")
            assert answer.usage is not None
            assert answer.usage.completion_tokens <= limit
            stream = backend.chat_stream(ASK, **more)
            assert not any(isinstance(event, TextDelta) and event.text for event in stream.events())
            assert (stream.result.tool_calls, stream.result.reasoning) == (answer.tool_calls, answer.reasoning)


def test_a_call_that_the_model_began_itself_is_no_content_once_it_is_sure() -> None:
    with TalkingBackend(HERMES, "Look:\n" + CALL, plain=True) as backend:
        for limit in range(1, len(CALL) + 7):
            answer = backend.chat(ASK, tools=TOOLS, max_tokens=limit)
            begun = max(0, limit - len("Look:\n"))
            assert answer.finish_reason == "length"
            assert answer.startswith("Look:\n"[:limit].rstrip())
            if begun >= len("<tool_call>"):
                assert answer.strip() == "Look:", limit


def test_events_of_a_call() -> None:
    with TalkingBackend(HERMES, "<think>\nI see.\n</think>\n\nLook:\n" + CALL) as backend:
        stream = backend.chat_stream(ASK, tools=TOOLS)
        events = list(stream.events())
        answer = stream.result
        order = [type(event) for event in events]
        assert order == sorted(order, key=[ReasoningDelta, TextDelta, ToolCallDelta, Finished].index)
        pieces = [event for event in events if isinstance(event, ToolCallDelta)]
        assert len(pieces) > 20, "the arguments come as they are written"
        assert (pieces[0].index, pieces[0].name, pieces[0].id) == (0, "get_weather", answer.tool_calls[0].id)
        assert "".join(piece.arguments for piece in pieces) == answer.tool_calls[0].function.arguments
        assert (answer.reasoning, answer.text) == ("I see.", "Look:")

        async def collect() -> list[Event]:
            return [event async for event in backend.achat_stream(ASK, tools=TOOLS).events()]

        kinds = [type(event) for event in asyncio.run(collect())]
        assert kinds == order


@pytest.mark.parametrize("plain", [False, True], ids=["special", "plain"])
class TestReasoning:
    def test_it_is_told_apart(self, plain: bool) -> None:
        with TalkingBackend(HERMES, "<think>\nI see.\n</think>\n\nHi!", plain=plain) as backend:
            answer = backend.chat(ASK)
            assert (answer, answer.reasoning, answer.finish_reason) == ("Hi!", "I see.", "stop")
            assert answer.usage is not None
            assert 6 <= answer.usage.reasoning_tokens < answer.usage.completion_tokens
            raw = backend.generate("x", raw=True)
            assert raw == ("<think>\nI see.\n</think>\n\nHi!" if plain else "\nI see.\n\n\nHi!"), (
                "a raw prompt's text is text"
            )

    def test_a_prompt_that_opened_it(self, plain: bool) -> None:
        template = TEMPLATES["qwen3-coder"]
        with TalkingBackend(
            template, lambda prompt: "Yes." if "</think>" in prompt else "hm\n</think>\nYes.", plain=plain
        ) as backend:
            answer = backend.chat(ASK)
            assert (answer, answer.reasoning) == ("Yes.", "hm")
            quick = backend.chat(ASK, reasoning_effort="none")
            assert (quick, quick.reasoning) == ("Yes.", "")
            assert quick.usage is not None
            assert quick.usage.reasoning_tokens == 0

    @pytest.mark.parametrize("limit", [0, 1, 7])
    def test_its_length_is_limited(self, plain: bool, limit: int) -> None:
        for name in ("hermes", "qwen3-coder"):
            with TalkingBackend(TEMPLATES[name], "<think>" + "thinking " * 30, plain=plain) as backend:
                answer = backend.chat(ASK, max_reasoning_tokens=limit, max_tokens=100, seed=1)
                assert answer.usage is not None
                assert len(answer.reasoning) <= max(limit, 1) + 8
                assert answer.usage.reasoning_tokens <= limit + 12, "and the marker"
                assert "thinking think" not in answer
                counted = answer.usage.prompt_tokens + answer.usage.completion_tokens
                held = max(map(len, backend.engine.slots))
                assert held == counted - (answer.finish_reason == "length"), "each token counts once"

    def test_a_schema_holds_for_the_answer_after_it(self, plain: bool) -> None:
        wanted = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
        for name, text in (("hermes", "<think>\nhm\n</think>\n\nno JSON"), ("qwen3-coder", "hm\n</think>\n\nno JSON")):
            with TalkingBackend(TEMPLATES[name], text, plain=plain) as backend:
                answer = backend.chat(ASK, response_format=wanted, seed=2)
                assert answer.reasoning == "hm"
                jsonschema.validate(json.loads(answer), SCHEMA)

    def test_white_space_does_not_fill_the_answer(self, plain: bool) -> None:
        wanted = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
        for name, begin in (("hermes", "<think>"), ("qwen3-coder", "")):
            for space in ("\n", " ", "\u3000"):
                with TalkingBackend(TEMPLATES[name], f"{begin}hm</think>{space * 300}", plain=plain) as backend:
                    answer = backend.chat(ASK, response_format=wanted, seed=2, max_tokens=250)
                    assert answer[:1] == "{"
        for space in ("\n", "\u3000"):
            with TalkingBackend(HERMES, space * 300, plain=plain) as backend:
                given = {"response_format": wanted, "max_reasoning_tokens": 3}
                assert backend.chat(ASK, given, seed=2, max_tokens=250)[:1] == "{"

    def test_a_call_after_it(self, plain: bool) -> None:
        with TalkingBackend(HERMES, "<think>\nhm\n</think>\n\n" + CALL, plain=plain) as backend:
            answer = backend.chat(ASK, tools=TOOLS, tool_choice="required")
            check(answer)
            assert answer.reasoning == "hm"

    def test_stop_strings_are_looked_for_in_the_content(self, plain: bool) -> None:
        text = "<think>\nstop here\n</think>\n\nDon't stop now."
        with TalkingBackend(HERMES, text, plain=plain) as backend:
            answer = backend.chat(ASK, stop="stop")
            assert (answer, answer.reasoning, answer.stop) == ("Don't ", "stop here", "stop")
            called = backend.chat(ASK, stop=["Rome", " now"], tools=TOOLS)
            assert called == "Don't stop"


def test_guesses_save_steps_in_an_answer_with_parts() -> None:
    text = f"<think>\n{'so it is, ' * 8}\n</think>\n\n{'Yes, it is. ' * 8}"
    steps, told = {}, set()
    for lookup in (0, 8):
        with TalkingBackend(HERMES, text) as backend:
            backend.load_model("talking", {"prompt_lookup": lookup})
            answer = backend.chat(ASK, max_tokens=300)
            steps[lookup] = backend.engine.steps
            told.add((str(answer), answer.reasoning))
    assert len(told) == 1
    assert steps[8] < steps[0] / 2


def test_what_the_answer_begins_with_counts_against_the_context() -> None:
    with TalkingBackend(TEMPLATES["qwen3-coder"], "Yes.") as backend:
        whole = backend.chat(ASK, max_reasoning_tokens=0)
        assert whole.usage is not None
        tokens = whole.usage.prompt_tokens
        backend.engine.n_ctx = tokens + 1
        assert backend.chat(ASK, max_reasoning_tokens=0) == "Y"
        backend.engine.n_ctx = tokens
        with pytest.raises(ContextOverflowError) as caught:
            backend.chat(ASK, max_reasoning_tokens=0)
        assert (caught.value.prompt_tokens, caught.value.context_size) == (tokens, tokens)
        backend.chat(ASK, max_tokens=1)  # fits, without that beginning


def test_gpt_oss() -> None:
    text = (
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
        '<|constrain|>json<|message|>{"city": "Rome", "unit": "x"}'
    )
    with TalkingBackend(TEMPLATES["harmony"], text) as backend:
        answer = backend.chat(ASK, tools=TOOLS, seed=1)
        check(answer)
        assert answer.reasoning == "hm"
        plain = backend.chat(ASK, max_tokens=300, seed=1)
        assert plain.reasoning == "hm"


def test_log_probabilities_are_those_of_the_content() -> None:
    with TalkingBackend(HERMES, "<think>\nhm\n</think>\n\nHi!") as backend:
        answer = backend.chat(ASK, logprobs=True)
        assert answer == "Hi!"
        assert [each.token for each in answer.logprobs][-3:] == ["72", "105", "33"]


def test_an_engine_without_masks() -> None:
    with TalkingBackend(HERMES, CALL.replace('"c"', '"kelvin"'), masks=False) as backend:
        answer = backend.chat(ASK, tools=TOOLS)
        assert json.loads(answer.tool_calls[0].function.arguments)["unit"] == "kelvin", (
            "read, but not held to the schema"
        )
        for choice in ("required", {"type": "function", "function": {"name": "now"}}):
            with pytest.raises(UnsupportedError, match="tool"):
                backend.chat(ASK, tools=TOOLS, tool_choice=choice)


def test_tools_need_a_template() -> None:
    with TalkingBackend("", "x") as backend, pytest.raises(UnsupportedError, match="tools"):
        backend.generate("Hi", tools=TOOLS)
    with TalkingBackend(HERMES, "x") as backend, pytest.raises(ConflictingParametersError, match="raw"):
        backend.generate("Hi", tools=TOOLS, raw=True)


def test_contradictions_are_refused() -> None:
    with TalkingBackend(HERMES, "x") as backend:
        for wrong in ("sometimes", {"type": "function"}, {"function": {"name": "later"}}):
            with pytest.raises(InvalidParameterError, match="tool_choice"):
                backend.chat(ASK, tools=TOOLS, tool_choice=wrong)
        for name, value in {"tool_choice": "auto", "parallel_tool_calls": False}.items():
            with pytest.raises(ConflictingParametersError, match="tools"):
                backend.chat(ASK, {name: value})
        with pytest.raises(ConflictingParametersError, match="response_format"):
            backend.chat(ASK, tools=TOOLS, tool_choice="required", response_format={"type": "json_object"})


def test_python_functions_run() -> None:
    def get_weather(city: str, days: int = 1) -> str:
        """The weather."""
        return f"sunny in {city} for {days}"

    def wants(prompt: str) -> str:
        if "sunny in Rome for 3" in prompt:
            return "It is sunny."
        return '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome", "days": 3}}\n</tool_call>'

    for template in (HERMES, PLAIN):
        with TalkingBackend(template, wants) as backend:
            done = backend.run_tools(ASK, [get_weather])
            assert done.answer == "It is sunny."
            assert [result.content for result in done.steps[0].results] == ["sunny in Rome for 3"]


@pytest.mark.parametrize("template", ["hermes", "harmony"])
def test_an_error_about_a_tools_schema_says_which_tool(template: str) -> None:
    wrong = {"type": "object", "properties": {"a": {"type": "no-such-type"}}, "required": ["a"]}
    tools = [TOOLS[0], {"type": "function", "function": {"name": "paint", "parameters": wrong}}]
    with TalkingBackend(TEMPLATES[template], "x") as backend:
        for choice in ("required", {"type": "function", "function": {"name": "paint"}}):
            with pytest.raises(ConstraintError) as caught:
                backend.chat(ASK, tools=tools, tool_choice=choice)
            error = caught.value
            assert (error.parameter, error.place) == ("tools", "/1/function/parameters/properties/a")
