"""Anthropic's own client against the server."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from support.serving import Running, Scripted

TOOL: Any = {"name": "weather", "description": "Of a city.", "input_schema": {"type": "object"}}


@pytest.fixture
def client(server: Running) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)


def say(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_a_message(client: anthropic.Anthropic) -> None:
    answer: Any = client.messages.create(
        model="one",
        max_tokens=9,
        messages=say("Hi"),
        system="Be brief.",
        stop_sequences=["x"],
        extra_body={"top_k": 3},
    )
    assert (answer.content[0].text, answer.stop_reason) == ("Hello wörld one", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens, answer.usage.output_tokens) == (5, 2, 3)
    asked = Scripted.asked[-1]
    assert [(turn.role, turn.text) for turn in asked.messages] == [("system", "Be brief."), ("user", "Hi")]
    assert (asked.max_tokens, asked.stop, asked.top_k) == (9, ("x",), 3)


def test_a_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="one", max_tokens=9, messages=say("reason")) as stream:
        kinds = [event.type for event in stream]
        final: Any = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[1].text == "Hello wörld one"
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2


def test_tools(client: anthropic.Anthropic) -> None:
    ask: dict[str, Any] = {"model": "one", "max_tokens": 9, "tools": [TOOL]}
    answer: Any = client.messages.create(**ask, messages=say("call"), tool_choice={"type": "any"})
    assert answer.stop_reason == "tool_use"
    call = next(block for block in answer.content if block.type == "tool_use")
    assert (call.name, call.input) == ("weather", {"city": "Oslo"})
    assert Scripted.asked[-1].tool_choice == "required"
    with client.messages.stream(**ask, messages=say("call")) as stream:
        streamed: Any = stream.get_final_message()
    assert next(block for block in streamed.content if block.type == "tool_use").input == {"city": "Oslo"}
    for strict in (False, True):
        client.messages.create(**{**ask, "tools": [{**TOOL, "strict": strict}]}, messages=say("call"))
        (sent,) = Scripted.asked[-1].tools or ()
        assert sent["function"]["strict"] is strict
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}
    turns: Any = [
        *say("call"),
        {"role": "assistant", "content": [block.model_dump() for block in answer.content]},
        {"role": "user", "content": [result, {"type": "text", "text": "Well?"}]},
    ]
    client.messages.create(**ask, messages=turns)
    read = Scripted.asked[-1].messages
    assert [(turn.role, turn.text) for turn in read[2:]] == [("tool", "sunny"), ("user", "Well?")]
    assert read[1].tool_calls[0].id == read[2].tool_call_id


IMAGE = {"role": "user", "content": [{"type": "image", "source": {}}]}


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"model": "three"}, anthropic.NotFoundError, "There is no model"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "max_tokens"),
        ({"tools": [{"type": "web_search_20250305", "name": "web"}]}, anthropic.BadRequestError, "web_search"),
        ({"tool_choice": {"type": "any"}}, anthropic.BadRequestError, "tool_choice needs tools"),
        ({"thinking": {"type": "hard"}}, anthropic.BadRequestError, "thinking.type must be"),
        ({"output_config": {"format": {"type": "xml"}}}, anthropic.BadRequestError, "output_config.format must"),
        (
            {"messages": [IMAGE]},
            anthropic.BadRequestError,
            "image",
        ),
    ],
)
def test_errors(client: anthropic.Anthropic, wrong: dict[str, Any], kind: type[Exception], message: str) -> None:
    asked: dict[str, Any] = {"model": "one", "max_tokens": 5, "messages": say("Hi"), **wrong}
    with pytest.raises(kind, match=message):
        client.messages.create(**asked)


def test_a_failure_amid_a_stream(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError, match="The engine has failed"):
        for _ in client.messages.create(model="one", max_tokens=9, messages=say("fail"), stream=True):
            pass


def test_a_structured_answer(client: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form: Any = {"type": "json_schema", "schema": schema}
    config: Any = {"format": form, "effort": "low"}
    raw = client.messages.with_raw_response.create(model="one", max_tokens=9, messages=say("Hi"), output_config=config)
    assert raw.headers["llamaforge-ignored"] == "output_config.effort"
    for more in ({}, {"extra_body": {"output_format": form}}):
        if more:
            client.messages.create(model="one", max_tokens=9, messages=say("Hi"), **more)
        asked = Scripted.asked[-1].response_format
        assert asked is not None
        assert asked["json_schema"]["schema"] == schema


def test_thinking(client: anthropic.Anthropic) -> None:
    ask: dict[str, Any] = {"model": "one", "max_tokens": 2000, "messages": say("Hi")}
    client.messages.create(**ask, thinking={"type": "enabled", "budget_tokens": 1024})
    assert Scripted.asked[-1].max_reasoning_tokens == 1024
    client.messages.create(**ask, thinking={"type": "disabled"})
    assert Scripted.asked[-1].reasoning_effort == "none"


def test_thinking_of_earlier_turns(client: anthropic.Anthropic) -> None:
    said: Any = [
        *say("Hi"),
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "Hello"},
            ],
        },
        *say("So?"),
    ]
    client.messages.create(model="one", max_tokens=9, messages=said)
    assert [turn.reasoning_content for turn in Scripted.asked[-1].messages] == [None, "hm", None]
