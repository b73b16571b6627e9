"""What comes back: events, reasons, counts, for all the ways in which servers say them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from forge_openai import OpenAIBackend
from llamaforge.errors import ConnectionFailedError, ModelNotLoadedError, ServerError
from llamaforge.results import Finished, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from support.scripted import ScriptedServer, delta, event, stream_of, stream_reply, usage

Load = Callable[..., OpenAIBackend]


def test_a_plain_answer(server: ScriptedServer, load: Load) -> None:
    backend = load()
    result = backend.generate("Hi")
    assert (result, result.finish_reason, result.stop) == ("Hello", "stop", None)
    assert result.usage == Usage(prompt_tokens=3, completion_tokens=2)
    assert list(backend.generate_stream("Hi")) == ["Hel", "lo"]


def test_events(server: ScriptedServer, load: Load) -> None:
    events = list(load().generate_stream("Hi").events())
    assert events[:2] == [TextDelta("Hel"), TextDelta("lo")]
    assert isinstance(events[2], Finished)
    assert len(events) == 3


async def test_async(server: ScriptedServer, load: Load) -> None:
    backend = load()
    assert await backend.agenerate("Hi") == "Hello"
    assert [piece async for piece in backend.agenerate_stream("Hi")] == ["Hel", "lo"]


def test_without_a_model(load: Load) -> None:
    backend = load()
    backend.unload_model()
    with pytest.raises(ModelNotLoadedError):
        backend.generate("Hi")


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("eos_token", "stop"),
        ("stop_sequence", "stop"),
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("end_turn", "stop"),
        ("tool_use", "tool_calls"),
        ("sensitive", "content_filter"),
        ("brand_new", "unknown"),
    ],
)
def test_finish_reasons(sent: str, reason: str, server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta("Hi"), delta(finish_reason=sent)))
    assert load().generate("Hi").finish_reason == reason


@pytest.mark.parametrize("sent", ["error", "abort", "network_error"])
def test_an_answer_that_failed(sent: str, server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta("Hi"), delta(finish_reason=sent)))
    with pytest.raises(ServerError, match=sent):
        load().generate("Hi")


def test_an_empty_answer_with_a_reason_is_an_answer(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta(finish_reason="stop")))
    assert load().generate("Hi") == ""


def test_no_usage_is_none(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply({**delta("Hi", "stop"), "usage": None}))
    assert load().generate("Hi").usage is None
    server.chat(stream_reply({**delta("Hi", "stop"), "usage": {}}))
    assert load().generate("Hi").usage is None


def test_usage_in_full_and_the_last_one_counts(server: ScriptedServer, load: Load) -> None:
    details = {
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    server.chat(
        stream_reply(
            {**delta("Hi"), "usage": usage(9, 1)["usage"]}, delta(finish_reason="stop"), usage(9, 8, **details)
        )
    )
    expected = Usage(prompt_tokens=9, completion_tokens=8, cached_tokens=4, reasoning_tokens=5)
    assert load().generate("Hi").usage == expected
    server.chat(
        stream_reply(
            {
                **delta("Hi", "stop"),
                **usage(9, 8, prompt_tokens_details=None),
                "choices": delta("Hi", "stop")["choices"],
            }
        )
    )
    assert load().generate("Hi").usage == Usage(prompt_tokens=9, completion_tokens=8)


@pytest.mark.parametrize("names", [["reasoning_content"], ["reasoning"], ["reasoning_content", "reasoning"]])
def test_reasoning_under_both_names_and_never_twice(names: list[str], server: ScriptedServer, load: Load) -> None:
    chunks = [delta(**dict.fromkeys(names, piece)) for piece in ("Let me ", "think.")]
    server.chat(stream_reply(*chunks, delta("42"), delta(finish_reason="stop")))
    stream = load().generate_stream("Hi")
    events = list(stream.events())
    assert events[:3] == [ReasoningDelta("Let me "), ReasoningDelta("think."), TextDelta("42")]
    assert (stream.result, stream.result.reasoning) == ("42", "Let me think.")


def test_a_refusal_is_text(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta(refusal="I can't "), delta(refusal="do that."), delta(finish_reason="stop")))
    assert load().generate("Hi") == "I can't do that."


def tool(index: int, ident: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    return delta(
        tool_calls=[
            {"index": index, "id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}
        ]
    )


@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
def test_tool_calls_come_in_pieces(reason: str, server: ScriptedServer, load: Load) -> None:
    server.chat(
        stream_reply(
            tool(0, "a", "f", '{"x"'), tool(1, None, "g", ""), tool(0, None, None, ":1}"), tool(1, None, None, "{}"),
            delta(finish_reason=reason),
        )
    )  # fmt: skip
    stream = load().generate_stream("Hi", tools=[{"type": "function", "function": {"name": "f"}}])
    events = list(stream.events())
    assert isinstance(events.pop(), Finished)
    pieces = [(event.index, event.name, event.arguments) for event in events if isinstance(event, ToolCallDelta)]
    assert pieces == [(0, "f", '{"x"'), (0, "", ":1}"), (1, "g", "{}")]
    result = stream.result
    assert result.finish_reason == "tool_calls", "one meaning, although OpenAI says stop where the call was forced"
    assert [(call.function.name, call.function.arguments) for call in result.tool_calls] == [
        ("f", '{"x":1}'),
        ("g", "{}"),
    ]
    assert result.tool_calls[0].id == "a"
    assert result.tool_calls[1].id.startswith("call_")


def test_logprobs_of_chat(server: ScriptedServer, load: Load) -> None:
    item = {
        "token": "Hi",
        "logprob": -0.1,
        "bytes": [72, 105],
        "id": 7,
        "top_logprobs": [{"token": "Ho", "logprob": None}, {"token": "Hi", "logprob": -0.1, "id": 7}],
    }
    chunk = delta("Hi", "stop")
    chunk["choices"][0]["logprobs"] = {"content": [item], "refusal": None}
    server.chat(stream_reply(chunk))
    (token,) = load().generate("Hi", logprobs=True, top_logprobs=2).logprobs
    assert (token.token, token.logprob, token.token_id) == ("Hi", -0.1, 7)
    assert [(other.token, other.logprob) for other in token.top] == [("Hi", -0.1), ("Ho", -math.inf)]
    (token,) = load().generate("Hi", logprobs=True).logprobs
    assert token.top == (), "alternatives that were not asked for are not passed on"


def test_logprobs_of_the_older_completions(server: ScriptedServer, load: Load) -> None:
    logprobs = {
        "tokens": ["A", "B"],
        "token_logprobs": [-3.0, -0.5],
        "top_logprobs": [{"X": -0.1, "A": -3.0}, {"B": -0.5}],
        "text_offset": [0, 1],
    }
    chunk = {"choices": [{"index": 0, "text": "AB", "logprobs": logprobs, "finish_reason": "length"}]}
    server.on("POST", "/completions", stream_reply(chunk))
    first, second = load().generate("x", raw=True, logprobs=True, top_logprobs=1).logprobs
    assert (first.token, first.logprob, [other.token for other in first.top]) == ("A", -3.0, ["X"])
    assert (second.token, second.logprob) == ("B", -0.5)


def test_other_choices_and_unknown_fields_pass(server: ScriptedServer, load: Load) -> None:
    chunk = delta("Hi", "stop") | {"surprise": {"deep": [1]}}
    chunk["choices"].append({"index": 1, "delta": {"content": "not me"}, "finish_reason": None})
    server.chat(stream_reply({"choices": [], "prompt_filter_results": []}, chunk))
    assert load().generate("Hi") == "Hi"


def test_any_split_of_the_bytes(server: ScriptedServer, load: Load) -> None:
    body = (
        b": ping\r\n\r\n"
        + b"".join(event(delta(text)) for text in ("Grüße ", "😀", ""))
        + event(delta(finish_reason="stop"))
    )
    for size in (1, 2, 7, len(body)):
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        server.chat(stream_of([*pieces, event("[DONE]")]))
        assert load().generate("Hi") == "Grüße 😀"


def test_an_end_without_done_is_an_end(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta("Hi", "stop"), usage(1, 1), done=False))
    result = load().generate("Hi")
    assert (result, result.usage) == ("Hi", Usage(prompt_tokens=1, completion_tokens=1))


def test_an_end_without_a_reason_is_none(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta("Hel"), done=False))
    with pytest.raises(ConnectionFailedError, match="3 characters"):
        load().generate("Hi")
    server.chat(stream_of([]))
    with pytest.raises(ConnectionFailedError, match="no text"):
        load().generate("Hi")


def test_connections_are_used_again(server: ScriptedServer, load: Load) -> None:
    backend = load()
    for _ in range(5):
        backend.generate("Hi")
    assert server.connections == 1
