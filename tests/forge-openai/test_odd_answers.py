"""Answers as servers of all kinds send them: the text arrives, whatever stands beside it."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_openai import OpenAIBackend
from forge_openai.answer.characters import CharacterJoiner, mend
from forge_openai.answer.decoder import AnswerDecoder
from forge_openai.answer.reader import AnswerReader
from forge_openai.errors import Translator
from forge_openai.side_fields import SideFieldReport
from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    LlamaForgeError,
    RateLimitError,
    ServerError,
)
from llamaforge.requests import read_request
from llamaforge.results import (
    Event,
    Finished,
    GeneratedText,
    ReasoningDelta,
    TextDelta,
    ToolCallBuffer,
    ToolCallDelta,
    Usage,
)
from support.scripted import Reply, ScriptedServer, delta, event, json_reply, stream_of, stream_reply, usage

Load = Callable[..., OpenAIBackend]
Ask = Callable[..., GeneratedText]

TRANSLATOR = Translator(address="http://host/v1", model="m")
DONE = event("[DONE]")


def read(data: bytes, **parameters: Any) -> list[Event]:
    """The events of an answer that consists of *data*; raises its error."""
    request = read_request("Hi", None, parameters)
    report = SideFieldReport("http://host/v1")
    decoder = AnswerDecoder(AnswerReader(request, TRANSLATOR, report), TRANSLATOR, report)
    events: list[Event] = []
    failure = decoder.feed(data, events)
    if failure is not None:
        raise failure
    return events + decoder.finish()


def text_of(events: list[Event]) -> str:
    return "".join(each.text for each in events if isinstance(each, TextDelta))


def reasoning_of(events: list[Event]) -> str:
    return "".join(each.text for each in events if isinstance(each, ReasoningDelta))


def reason_of(events: list[Event]) -> str:
    assert isinstance(events[-1], Finished)
    return events[-1].finish_reason


def calls_of(events: list[Event]) -> list[tuple[str, str]]:
    calls = ToolCallBuffer()
    for each in events:
        if isinstance(each, ToolCallDelta):
            calls.add(each)
    return [(call.function.name, call.function.arguments) for call in calls.tool_calls]


# Any JSON value in any field beside the text.

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.integers(-3, 3).map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMED = st.dictionaries(
    st.sampled_from(
        [
            "content",
            "text",
            "type",
            "token",
            "tokens",
            "logprob",
            "logprobs",
            "top_logprobs",
            "token_logprobs",
            "id",
            "name",
            "function",
            "arguments",
            "index",
            "prompt_tokens",
            "completion_tokens",
            "prompt_tokens_details",
            "cached_tokens",
            "reasoning_tokens",
            "completion_tokens_details",
            "role",
            "code",
            "message",
        ]
    ),
    VALUES | st.lists(VALUES, max_size=2),
    max_size=4,
)
ODD = VALUES | NAMED | st.lists(NAMED, max_size=2)

TOP = ["id", "object", "created", "model", "usage", "system_fingerprint", "service_tier", "timings", "x_groq", "type"]
CHOICE = ["index", "logprobs", "stop_reason", "matched_stop", "content_filter_results", "message", "usage"]
DELTA = ["role", "tool_calls", "function_call", "annotations", "audio", "reasoning_details", "name"]
FIELDS = [("top", name) for name in TOP] + [("choice", name) for name in CHOICE] + [("delta", name) for name in DELTA]


def put(chunk: dict[str, Any], place: str, name: str, value: object) -> dict[str, Any]:
    holders = {"top": chunk, "choice": chunk["choices"][0], "delta": chunk["choices"][0]["delta"]}
    holders[place][name] = value
    return chunk


@pytest.mark.parametrize(("place", "name"), FIELDS)
@given(value=ODD)
def test_no_value_of_a_side_field_loses_the_text(place: str, name: str, value: object) -> None:
    if value == "error" and name in ("object", "type"):
        return  # so servers mark an error
    pieces = ["Two ", "tides ", "a day."]
    chunks = [put(delta(piece), place, name, value) for piece in pieces]
    if name == "index":
        # Different indexes are different answers; one that can't be read belongs to the answer that there is.
        chunks[1:] = [delta(piece) for piece in pieces[1:]] if not isinstance(value, int | float | str) else chunks[1:]
    end = put(delta(None, "stop"), place, name, value)
    events = read(b"".join(map(event, [*chunks, end])) + DONE)
    assert text_of(events) == "Two tides a day."


ITEM = {"token": "Hi", "logprob": -0.5, "id": 3, "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}
CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
COUNTS = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
OLD = {"tokens": ["Hi"], "token_logprobs": [-0.5], "top_logprobs": [{"Hi": -0.5}], "text_offset": [0]}
NESTED: dict[str, tuple[str, Any]] = {
    **{f"usage.{name}": ("usage", COUNTS) for name in COUNTS},
    "usage.prompt_tokens_details.cached_tokens": ("usage", COUNTS),
    **{f"logprobs.content.0.{name}": ("logprobs", {"content": [ITEM]}) for name in ITEM},
    "logprobs.content.0.top_logprobs.0.token": ("logprobs", {"content": [ITEM]}),
    **{f"logprobs.{name}": ("logprobs", OLD) for name in OLD},
    "logprobs.token_logprobs.0": ("logprobs", OLD),
    "logprobs.top_logprobs.0": ("logprobs", OLD),
    "logprobs.top_logprobs.0.Hi": ("logprobs", OLD),
    **{f"tool_calls.0.{name}": ("tool_calls", [CALL]) for name in CALL},
    "tool_calls.0.function.name": ("tool_calls", [CALL]),
    "tool_calls.0.function.arguments": ("tool_calls", [CALL]),
}


@pytest.mark.parametrize("path", NESTED)
@given(value=ODD)
def test_no_value_within_a_side_field_loses_the_text(path: str, value: object) -> None:
    field, sound = NESTED[path]
    holder = copy.deepcopy({field: sound})
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    at: Any = holder
    for step in way:
        at = at[step]
    at[last] = value
    for said in ({"delta": {"content": "Hi"}}, {"text": "Hi"}):
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", **copy.deepcopy(said)}
        chunk: dict[str, Any] = {"choices": [choice]}
        {"usage": chunk, "logprobs": choice, "tool_calls": choice.get("delta", choice)}[field].update(holder)
        events = read(event(chunk) + DONE, logprobs=True, top_logprobs=1)
        assert text_of(events) == "Hi"
        assert isinstance(events[-1], Finished)


@given(value=ODD)
def test_no_finish_reason_loses_the_text(value: object) -> None:
    if isinstance(value, str):
        return  # a string is a reason
    events = read(event({"choices": [{"delta": {"content": "Hi"}, "finish_reason": value}]}) + DONE)
    assert (text_of(events), reason_of(events)) == ("Hi", "unknown")


@given(value=ODD, name=st.sampled_from(["refusal", "reasoning", "reasoning_content", "tool_calls"]))
def test_no_value_of_a_side_field_loses_a_text_that_came_whole(value: object, name: str) -> None:
    if name == "refusal":
        value = None if isinstance(value, str | int | float | list | dict) else value  # a text of its own
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi", name: value}, "finish_reason": "stop"}
    assert text_of(read(json.dumps({"choices": [choice]}).encode())) == "Hi"


# The same through the wire, in a thread and in an event loop, streamed or not.


@pytest.fixture(params=["generate", "stream", "chat", "batch", "agenerate", "astream", "achat", "abatch"])
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Ask a backend for one answer, in one of the ways that there are."""
    messages = [{"role": "user", "content": "Hi"}]

    async def streamed(backend: OpenAIBackend, **more: Any) -> GeneratedText:
        stream = backend.agenerate_stream("Hi", **more)
        pieces = [piece async for piece in stream]
        assert "".join(pieces) == stream.result
        return stream.result

    async def batched(backend: OpenAIBackend, **more: Any) -> GeneratedText:
        (item,) = [item async for item in backend.agenerate_batch(["Hi"], **more)]
        return item.text

    with asyncio.Runner() as runner:

        def ask(backend: OpenAIBackend, **more: Any) -> GeneratedText:
            match request.param:
                case "generate":
                    return backend.generate("Hi", **more)
                case "stream":
                    stream = backend.generate_stream("Hi", **more)
                    assert "".join(stream) == stream.result
                    return stream.result
                case "chat":
                    return backend.chat(messages, **more)
                case "batch":
                    return next(iter(backend.generate_batch(["Hi"], **more))).text
                case "agenerate":
                    return runner.run(backend.agenerate("Hi", **more))
                case "astream":
                    return runner.run(streamed(backend, **more))
                case "achat":
                    return runner.run(backend.achat(messages, **more))
            return runner.run(batched(backend, **more))

        yield ask


def with_type(reply: Reply, kind: str) -> Reply:
    reply.headers["Content-Type"] = kind
    return reply


WHOLE = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "High tide.", "refusal": None}}],
    "usage": {"prompt_tokens": "3", "completion_tokens": 2.0},
}
WHOLE["choices"][0]["finish_reason"] = "stop"  # type: ignore[index]
STREAM = [delta("High "), delta("tide.", "stop"), usage(3, 2)]
THINKING = [{"type": "thinking", "thinking": [{"type": "text", "text": "Moon?"}]}]

SOUND: dict[str, Callable[[], Reply]] = {
    "JSON in place of a stream": lambda: json_reply(WHOLE),
    "JSON that is called a stream": lambda: stream_of([json.dumps(WHOLE, indent=1).encode()]),
    "JSON in a stream": lambda: stream_reply(WHOLE),
    "JSON in a list": lambda: json_reply([WHOLE]),
    "a chunk in each line": lambda: with_type(
        stream_of([json.dumps(chunk).encode() + b"\n" for chunk in STREAM]), "application/x-ndjson"
    ),
    "a chunk in each line, and the end mark": lambda: stream_of(
        [json.dumps(chunk).encode() + b"\n" for chunk in STREAM] + [b"[DONE]\n"]
    ),
    "a stream that is called JSON": lambda: with_type(stream_reply(*STREAM), "application/json"),
    "a stream that is called a page": lambda: with_type(stream_reply(*STREAM), "text/html; charset=utf-8"),
    "a stream of no type": lambda: with_type(stream_reply(*STREAM), ""),
    "no empty line at the end": lambda: stream_of(
        [event(STREAM[0]), event(STREAM[2]), event(delta("tide.", "stop")).rstrip()]
    ),
    "keep-alives as data": lambda: stream_reply(
        b"data:\n\n", b"data: \n\n", b"data: ping\n\n", STREAM[0], b"data: : keep-alive\n\n", {"type": "ping"}, {},
        b"data: null\n\n", b'data: "ping"\n\n', b"data: [HEARTBEAT]\n\n", b"event: ping\ndata: {}\n\n", *STREAM[1:],
    ),
    "the end mark in another spelling": lambda: stream_reply(*STREAM, b"data: [done] \n\n", b"data: {oops\n\n"),
    "something behind the end": lambda: stream_reply(*STREAM, b"data: [END]\n\n"),
    "content in parts": lambda: stream_reply(
        delta(THINKING), delta([{"type": "text", "text": "High "}, "tide."]),
        delta(None, "stop"), usage(3, 2),
    ),
    "numbers of other types": lambda: stream_reply(
        {"choices": [{"index": "0", "delta": {"content": "High "}}]},
        {"choices": [{"index": 0.0, "delta": {"content": "tide."}, "finish_reason": "STOP", "logprobs": []}]},
        {"choices": [], "usage": {"prompt_tokens": 3.0, "completion_tokens": "2", "prompt_tokens_details": 7}},
    ),
    "message in place of delta": lambda: stream_reply(
        {"choices": [{"index": 0, "message": {"content": "High "}, "finish_reason": None}]},
        {"choices": [{"index": 0, "message": {"content": "High tide."}, "finish_reason": "stop"}]}, usage(3, 2),
    ),
    "message beside delta": lambda: stream_reply(
        {"choices": [{"index": 0, "delta": {"content": "High "}, "message": {"content": "High "}}]},
        {"choices": [{"index": 0, "delta": {"content": "tide."}, "message": {"content": "High tide."}}]},
        {"choices": [{"index": 0, "message": {"content": "High tide."}, "finish_reason": "stop"}]}, usage(3, 2),
    ),
    "choices as an object": lambda: stream_reply(
        {"choices": {"delta": {"content": "High tide."}, "finish_reason": "stop"}}, usage(3, 2)
    ),
    "refusal beside content": lambda: stream_reply(
        delta("High ", refusal=False), delta("tide.", "stop", refusal=None), usage(3, 2)
    ),
    "a reason in every chunk": lambda: stream_reply(delta("High ", "stop"), delta("tide.", "stop"), usage(3, 2)),
    "the word null for no reason": lambda: stream_reply(delta("High ", "null"), delta("tide.", "stop"), usage(3, 2)),
    "counts in the choice": lambda: stream_reply(
        delta("High "), {"choices": [{**delta("tide.", "stop")["choices"][0], "usage": usage(3, 2)["usage"]}]}
    ),
    "an empty error": lambda: stream_reply(
        {**STREAM[0], "error": {"message": "", "type": "", "param": None, "code": 0}}, *STREAM[1:]
    ),
    "a mark before the JSON": lambda: stream_of([b"data: \xef\xbb\xbf" + event(chunk)[6:] for chunk in STREAM]),
    "a success that is told": lambda: stream_reply(
        {**STREAM[0], "base_resp": {"status_code": 0, "status_msg": ""}, "code": 0, "error": None}, *STREAM[1:]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_the_text_arrives(name: str, server: ScriptedServer, load: Load, ask: Ask) -> None:
    server.chat(lambda _: SOUND[name]())
    answer = ask(load())
    assert (str(answer), answer.finish_reason) == ("High tide.", "stop")
    thought = int(name == "content in parts")
    assert answer.usage == Usage(prompt_tokens=3, completion_tokens=2, reasoning_tokens=thought)
    assert answer.reasoning == ("Moon?" if name == "content in parts" else "")


UNKNOWN: dict[str, Callable[[], Reply]] = {
    "the end mark without a reason": lambda: stream_reply(delta("High tide."), delta()),
    "an empty reason and the end mark": lambda: stream_reply(delta("High ", ""), delta("tide.", "")),
    "a reason that is no text": lambda: stream_reply(
        {"choices": [{"delta": {"content": "High tide."}, "finish_reason": {"type": 7}}]}, done=False
    ),
    "JSON without a reason": lambda: json_reply({"choices": [{"message": {"content": "High tide."}}]}),
}


@pytest.mark.parametrize("ask", ["generate", "astream"], indirect=True)
@pytest.mark.parametrize("name", UNKNOWN)
def test_a_whole_answer_without_a_reason(name: str, server: ScriptedServer, load: Load, ask: Ask) -> None:
    server.chat(lambda _: UNKNOWN[name]())
    answer = ask(load())
    assert (str(answer), answer.finish_reason) == ("High tide.", "unknown")


CUT: dict[str, Callable[[], Reply]] = {
    "an empty reason in every chunk": lambda: stream_reply(delta("High ", ""), delta("ti", ""), done=False),
    "an empty reason in the only chunk": lambda: stream_reply(delta("High ti", ""), done=False),
    "the word null in the only chunk": lambda: stream_reply(delta("High ti", "null"), done=False),
    "the word null in every chunk": lambda: stream_reply(delta("High ", "null"), delta("ti", "null"), done=False),
    "a reason in every chunk": lambda: stream_reply(delta("High ", "stop"), delta("ti", "stop"), done=False),
    "half an event": lambda: stream_of([event(delta("High ti")), event(delta("de.", "stop"))[:-9]]),
    "a reason that is false": lambda: stream_reply(
        {"choices": [{"delta": {"content": "High ti"}, "finish_reason": False}]}, done=False
    ),
    "half of the end mark": lambda: stream_of([event(delta("High ti")), b"data: [DON"]),
    "lines of JSON": lambda: stream_of([json.dumps(delta(piece)).encode() + b"\n" for piece in ("High ", "ti")]),
    "a single line of JSON": lambda: stream_of([json.dumps(delta("High ti")).encode() + b"\n"]),
    "half of a JSON value": lambda: with_type(stream_of([json.dumps(WHOLE).encode()[:-9]]), "application/json"),
    "nothing but the end mark": lambda: stream_reply(),
    "no text and no reason": lambda: stream_reply(delta(""), delta()),
}


@pytest.mark.parametrize("ask", ["generate", "astream"], indirect=True)
@pytest.mark.parametrize("name", CUT)
def test_a_cut_answer_is_an_error(name: str, server: ScriptedServer, load: Load, ask: Ask) -> None:
    server.chat(lambda _: CUT[name]())
    with pytest.raises((ConnectionFailedError, ServerError)):
        ask(load())


def test_raw_answers_too(server: ScriptedServer, load: Load) -> None:
    chunks: list[Any] = [
        {"choices": [{"index": "0", "text": "High ", "logprobs": []}]},
        {"choices": [{"index": None, "text": [{"type": "text", "text": "tide."}], "finish_reason": ""}]},
    ]
    server.on("POST", "/completions", stream_reply(*chunks))
    assert load().generate("x", raw=True) == "High tide."
    server.on("POST", "/completions", json_reply({"choices": [{"text": "High tide.", "finish_reason": "length"}]}))
    answer = load().generate("x", raw=True)
    assert (answer, answer.finish_reason) == ("High tide.", "length")


def test_a_field_that_is_left_out_is_reported_once(
    server: ScriptedServer, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {"prompt_tokens": [1], "completion_tokens": 2}
    server.chat(stream_reply({**delta("Hi"), "usage": odd}, {**delta(None, "stop"), "usage": odd}))
    backend = load()
    with caplog.at_level(logging.WARNING, "forge_openai"):
        assert backend.generate("Hi").usage == Usage(prompt_tokens=0, completion_tokens=2)
        assert backend.generate("Hi") == "Hi"
    (record,) = caplog.records
    assert server.url in record.getMessage()
    assert "usage.prompt_tokens as a list" in record.getMessage()


def test_a_server_can_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    report = SideFieldReport("http://host/v1")
    with caplog.at_level(logging.WARNING, "forge_openai"):
        for number in range(1000):
            report(f"content ({number}\n{'x' * 1000})", {})
    assert 1 <= len(caplog.records) <= 100
    assert all("\n" not in record.getMessage() and len(record.getMessage()) < 300 for record in caplog.records)


def test_nothing_is_reported_of_a_sound_answer(
    server: ScriptedServer, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "forge_openai"):
        load().generate("Hi")
    assert not caplog.records


def test_stop_strings_hold_in_an_answer_that_is_json(server: ScriptedServer, load: Load) -> None:
    server.chat(json_reply(WHOLE))
    answer = load().generate("Hi", stop=["tide"])
    assert (answer, answer.finish_reason, answer.stop) == ("High ", "stop", "tide")


# Characters in halves.


def escaped(text: str) -> bytes:
    """An event whose text is *text*, surrogates as escapes."""
    return event(delta(text))


def test_a_surrogate_pair_in_two_chunks() -> None:
    data = escaped("Tide \ud83c") + escaped("\udf0a and \ud83c") + escaped("\udf19.")
    assert text_of(read(data + event(delta(None, "stop")))) == "Tide 🌊 and 🌙."


def test_bytes_of_a_character_in_two_chunks() -> None:
    first, second = '{"choices":[{"delta":{"content":"🌊'.encode()[:-2], b'"},"finish_reason":null}]}'
    rest = b'{"choices":[{"delta":{"content":"' + "🌊".encode()[-2:] + b'!"},"finish_reason":"stop"}]}'
    data = b"data: " + first + second + b"\n\ndata: " + rest + b"\n\n"
    assert text_of(read(data)) == "🌊!"


def test_half_a_character_that_stays_alone() -> None:
    assert text_of(read(escaped("a\ud83c") + escaped("b\ud83c") + event(delta(None, "stop")))) == "a\ufffdb\ufffd"


def test_halves_in_reasoning_and_in_tool_calls() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":"\ud83c'}}
    rest = {"index": 0, "function": {"arguments": '\udf0a"}'}}
    data = event(delta(reasoning="\ud83c")) + event(delta(reasoning="\udf0a"))
    events = read(data + event(delta(tool_calls=[call])) + event(delta(None, "stop", tool_calls=[rest])))
    assert reasoning_of(events) == "🌊"
    assert calls_of(events) == [("f", '{"x":"🌊"}')]


@given(st.text(), st.lists(st.integers(0, 200)), st.booleans())
def test_every_cut_of_a_text(text: str, cuts: list[int], as_bytes: bool) -> None:
    if as_bytes:
        data = text.encode()
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        pieces = [data[a:b].decode("utf-8", "surrogateescape") for a, b in itertools.pairwise(places)]
    else:
        data = text.encode("utf-16-le")
        places = sorted({0, len(data), *(cut * 2 % (len(data) + 2) for cut in cuts)})
        pieces = [data[a:b].decode("utf-16-le", "surrogatepass") for a, b in itertools.pairwise(places)]
    joiner = CharacterJoiner()
    assert "".join(map(joiner.feed, pieces)) + joiner.finish() == text


def test_what_is_complete_comes_at_once_and_no_more() -> None:
    half, other = "\ud83c", "\udf0a"
    bytes_of = "é€🌊".encode().decode("ascii", "surrogateescape")
    for pieces, told in (
        (["a" + half + other + "é", "b"], ["a🌊é", "b", ""]),
        (["a" + half, other, "b"], ["a", "🌊", "b", ""]),
        ([half, half], ["", "\ufffd", "\ufffd"]),
        ([half, "x"], ["", "\ufffdx", ""]),
        ([other, "x"], ["\ufffd", "x", ""]),
        ([bytes_of, "!"], ["é€🌊", "!", ""]),
        (["a" + bytes_of[0], bytes_of[1], bytes_of[2:4], bytes_of[4] + "!"], ["a", "é", "", "€!", ""]),
        ([bytes_of[5], bytes_of[6], bytes_of[7], bytes_of[8]], ["", "", "", "🌊", ""]),
        ([bytes_of[5:8], "!"], ["", "\ufffd!", ""]),
        ([bytes_of[1], bytes_of[0] * 2], ["\ufffd", "\ufffd", "\ufffd"]),
    ):
        joiner = CharacterJoiner()
        assert [*map(joiner.feed, pieces), joiner.finish()] == told


@given(st.text(st.characters(categories=None)))
def test_mended_text_can_be_encoded(text: str) -> None:
    mend(text).encode()
    joiner = CharacterJoiner()
    assert (joiner.feed(text) + joiner.finish()) == mend(text)


# Errors in every shape.

SAID: dict[str, object] = {
    "OpenAI": {"error": {"message": "Out of credit.", "code": "insufficient_quota"}},
    "a bare string": {"error": "Out of credit."},
    "MiniMax": {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "Out of credit."}},
    "MiniMax with choices": {
        "choices": [{"delta": {}}], "base_resp": {"status_code": 1027, "status_msg": "Out of credit."},
    },
    "Zhipu": {"code": 1113, "msg": "Out of credit.", "success": False},
    "Zhipu with a string": {"code": "1113", "msg": "Out of credit."},
    "DashScope": {"code": "Arrearage", "message": "Out of credit.", "request_id": "r"},
    "FastAPI": {"detail": "Out of credit."},
    "FastAPI's validation": {"detail": [{"loc": ["body", "messages"], "msg": "Out of credit.", "type": "missing"}]},
    "Baidu": {"error_code": 17, "error_msg": "Out of credit."},
    "Spark": {"header": {"code": 11200, "message": "Out of credit."}, "choices": []},
    "Cloudflare": {"success": False, "errors": [{"code": 7003, "message": "Out of credit."}], "result": None},
    "Gemini": [{"error": {"code": 402, "message": "Out of credit.", "status": "RESOURCE_EXHAUSTED"}}],
    "Apigee": {"fault": {"faultstring": "Out of credit."}},
    "a status in words": {"status": "failed", "reason": "Out of credit."},
    "Anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": "Out of credit."}},
    "vLLM": {"object": "error", "message": "Out of credit.", "code": 400},
    "words without a mark": {"message": "Out of credit."},
    "plain text": "Out of credit.",
    "in the choice": {"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "Out of credit."}}]},
}  # fmt: skip


@pytest.mark.parametrize("ask", ["generate", "astream"], indirect=True)
@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("first", [False, True])
def test_an_error_in_a_stream_is_told_in_the_servers_words(
    name: str, first: bool, server: ScriptedServer, load: Load, ask: Ask
) -> None:
    said = SAID[name]
    before = [event(delta("Hi"))] if first else []
    server.chat(lambda _: stream_of([*before, event(said)]))
    with pytest.raises(LlamaForgeError, match=r"Out of credit\.") as caught:
        ask(load())
    assert server.url in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(SAID) - {"words without a mark"}))
def test_an_error_is_none_the_less_one_for_the_end_mark(name: str, server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta("Hi"), SAID[name]))
    with pytest.raises(LlamaForgeError, match=r"Out of credit\."):
        load().generate("Hi")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"code": "429", "msg": "Slowly."}, RateLimitError),
        ({"error": {"code": "429", "message": "Slowly."}}, RateLimitError),
        ({"code": 401, "msg": "Bad key.", "success": False}, AuthenticationError),
        ({"base_resp": {"status_code": 1008, "status_msg": "No."}}, ServerError),
    ],
)
def test_what_kind_of_error_it_is(said: object, kind: type[Exception], server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(said))
    with pytest.raises(kind) as caught:
        load().generate("Hi")
    assert type(caught.value) is kind


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_error_in_place_of_a_stream(name: str, status: int, server: ScriptedServer, load: Load) -> None:
    said = SAID[name]
    reply = Reply(status, {"Content-Type": "text/plain"}, said.encode()) if isinstance(said, str) else None
    server.chat(reply if reply is not None else json_reply(said, status))
    with pytest.raises(LlamaForgeError, match=r"Out of credit\."):
        load().generate("Hi")
    with pytest.raises(LlamaForgeError, match=r"Out of credit\."):
        asyncio.run(load().agenerate("Hi"))


def test_a_code_of_success_is_no_error() -> None:
    for code in (0, 200, "0", "200", "success", "OK", None, ""):
        events = read(event({"code": code, "msg": "fine"}) + event(delta("Hi", "stop")))
        assert text_of(events) == "Hi"
