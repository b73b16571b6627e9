"""Stop strings: the server's work, looked after; or all of it ours, where the server can't."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_openai import OpenAIBackend, OpenAIConfig
from forge_openai.answer.chunks import Chunk
from forge_openai.answer.reader import AnswerReader
from forge_openai.endpoint import find_endpoints
from forge_openai.errors import Translator
from forge_openai.request.body import build
from forge_openai.side_fields import SideFieldReport
from llamaforge.requests import read_request
from llamaforge.results import Event, Finished, TextDelta, Usage
from support.scripted import ScriptedServer, delta, event, stream_of, stream_reply, usage

Load = Callable[..., OpenAIBackend]


def endless(*first: object) -> Iterator[bytes]:
    yield from map(event, first)
    while True:
        yield event(delta(" more" * 1000))


def with_tokens(*tokens: str, **fields: Any) -> dict[str, Any]:
    chunk = delta("".join(tokens), **fields)
    chunk["choices"][0]["logprobs"] = {"content": [{"token": token, "logprob": -0.5} for token in tokens]}
    return chunk


def test_a_leaked_stop_string_is_held_back(server: ScriptedServer, load: Load) -> None:
    chunks = [delta("one E"), delta("N"), delta("D"), delta(finish_reason="stop"), usage(3, 4)]
    server.chat(stream_reply(*chunks))
    result = load().generate("Hi", stop=["END"])
    assert server.last.body["stop"] == ["END"]
    assert (result, result.stop, result.finish_reason) == ("one ", "END", "stop")
    assert result.usage == Usage(prompt_tokens=3, completion_tokens=4), "the counts of a server that did stop are kept"


def test_a_server_that_ignores_stop_strings_is_left(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: stream_of(endless(delta("one END"))))
    result = load().generate("Hi", stop=["END"])
    assert (result, result.stop, result.finish_reason) == ("one ", "END", "stop")
    assert result.usage == Usage(prompt_tokens=1, completion_tokens=1, estimated=True)
    assert server.left.wait(10)


def test_text_that_only_begins_a_stop_string_comes_out(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta("one E"), delta("N"), delta(finish_reason="length")))
    for who in ("server", "client"):
        assert load(stop_strings=who).generate("Hi", stop=["END"]) == "one EN"


def test_the_stop_string_that_the_server_names(server: ScriptedServer, load: Load) -> None:
    chunk = delta("one ", "stop")
    chunk["choices"][0]["stop_reason"] = "END"
    server.chat(stream_reply(chunk))
    assert load().generate("Hi", stop=["END", "."]).stop == "END"


def test_ours_are_not_sent_and_the_connection_is_closed_at_the_match(server: ScriptedServer, load: Load) -> None:
    """The server says nothing after the match: whoever waited for more would hang."""

    def quiet() -> Iterator[bytes]:
        yield event(delta("one E"))
        yield event(delta("ND, two"))
        yield from server.hang()

    server.chat(lambda _: stream_of(quiet()))
    stream = load(stop_strings="client").generate_stream("Hi", stop=["END"])
    assert list(stream) == ["one "]
    assert (stream.result.stop, stream.result.finish_reason) == ("END", "stop")
    assert stream.result.parameters["stop"] == ("END",)
    assert "stop" not in server.last.body
    server.chat(lambda _: stream_of(endless(delta("one END"))))
    assert load(stop_strings="client").generate("Hi", stop="END") == "one "
    assert server.left.wait(10), "the server is told to end its work"


def test_raw_text_too(server: ScriptedServer, load: Load) -> None:
    chunks = [{"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in ("a", "b\n", "c")]
    server.on("POST", "/completions", lambda _: stream_of(endless(*chunks)))
    result = load(stop_strings="client").generate("x", raw=True, stop=["b\nc"])
    assert (result, result.stop) == ("a", "b\nc")
    assert "stop" not in server.last.body


def test_more_than_openai_takes_are_ours() -> None:
    four, five = (read_request("Hi", None, {"stop": list(letters)}) for letters in ("abcd", "abcde"))
    addresses = ["https://api.openai.com/v1", "http://127.0.0.1:1/v1"]
    official, other = find_endpoints(OpenAIConfig.read({"api_key": "sk-1", "api_base": addresses}), "m", {})
    bodies = {
        (where.address, len(request.stop or ())): msgspec.json.decode(build(request, "m", where, OpenAIConfig())[1])
        for where in (official, other)
        for request in (four, five)
    }
    assert {key: "stop" in body for key, body in bodies.items()} == {
        (official.address, 4): True,
        (official.address, 5): False,
        (other.address, 4): True,
        (other.address, 5): True,
    }


def test_counts_are_the_server_s_where_it_ends_by_itself(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta("one"), delta(" two", "stop"), usage(3, 2)))
    result = load(stop_strings="client").generate("Hi", stop=["two"])
    assert (result, result.stop, result.usage) == ("one ", "two", Usage(prompt_tokens=3, completion_tokens=2))
    result = load(stop_strings="client").generate("Hi", stop=["three"])
    assert (result, result.stop, result.usage) == ("one two", None, Usage(prompt_tokens=3, completion_tokens=2))


def test_counts_that_came_with_the_match_are_exact(server: ScriptedServer, load: Load) -> None:
    chunks = [{**delta(text), **usage(7, count), "choices": delta(text)["choices"]} for count, text in enumerate("xEN")]
    server.chat(lambda _: stream_of(endless(*chunks)))
    result = load(stop_strings="client", include_usage="continuous").generate("Hi", stop=["EN"])
    assert server.last.body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert result.usage == Usage(prompt_tokens=7, completion_tokens=2)


def test_counts_from_before_the_match_are_a_guess(server: ScriptedServer, load: Load) -> None:
    first = {**delta("x"), **usage(7, 1), "choices": delta("x")["choices"]}
    server.chat(lambda _: stream_of(endless(first, delta("E"), delta("N"))))
    result = load(stop_strings="client").generate("Hi", stop=["EN"])
    assert result.usage == Usage(prompt_tokens=7, completion_tokens=3, estimated=True)


def test_guessed_tokens_of_the_prompt_grow_with_it(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: stream_of(endless(delta("END"))))
    backend = load(stop_strings="client")
    counts = [backend.generate("four words to count " * times, stop="END").usage for times in (1, 10)]
    assert [count.prompt_tokens for count in counts if count is not None] == [5, 50]


@pytest.mark.parametrize(
    ("chunks", "tokens"),
    [
        ([with_tokens("one "), with_tokens("E"), with_tokens("ND.")], ["one ", "E", "ND."]),
        ([with_tokens("one ", "E", "ND", " two"), with_tokens(" three")], ["one ", "E", "ND"]),
        ([with_tokens("one END")], ["one END"]),
    ],
)
def test_logprobs_end_with_the_token_that_completes_the_match(
    chunks: list[Any], tokens: list[str], server: ScriptedServer, load: Load
) -> None:
    """One for each token of the answer, those of the stop string among them, as engines of this process have it."""
    server.chat(lambda _: stream_of(endless(*chunks)))
    result = load(stop_strings="client").generate("Hi", stop=["END"], logprobs=True)
    assert result == "one "
    assert [each.token for each in result.logprobs] == tokens
    assert result.usage is not None
    assert (result.usage.completion_tokens, result.usage.estimated) == (len(tokens), True)


def test_reasoning_is_not_searched(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta(reasoning="END"), delta("yes"), delta(finish_reason="stop")))
    result = load(stop_strings="client").generate("Hi", stop=["END"])
    assert (result, result.reasoning, result.stop) == ("yes", "END", None)


def read(pieces: list[str], stops: list[str], logprobs: bool) -> list[Event]:
    request = read_request("Hi", None, {"stop": stops, "logprobs": logprobs or None})
    address = "http://host/v1"
    reader = AnswerReader(request, Translator(address=address, model="m"), SideFieldReport(address), stops_here=True)
    events: list[Event] = []
    for piece in pieces:
        sent = with_tokens(*piece) if logprobs and piece else delta(piece)
        reader.read(msgspec.convert(sent, Chunk), events)
        if reader.is_over:
            return events + reader.finish()
    reader.read(msgspec.convert(delta(finish_reason="stop"), Chunk), events)
    return events + reader.finish()


SHORT = st.text(alphabet="abé", max_size=14)


@given(SHORT, st.lists(st.text(alphabet="abé", min_size=1, max_size=4), min_size=1, max_size=4), st.data())
def test_the_same_answer_for_every_cut(text: str, stops: list[str], data: st.DataObject) -> None:
    ends = {stop: text.find(stop) + len(stop) for stop in stops if stop in text}
    first = min(ends, key=lambda stop: (ends[stop], -len(stop)), default=None)
    wanted = text if first is None else text[: ends[first] - len(first)]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)])]
    for logprobs in (False, True):
        events = read(pieces, stops, logprobs)
        said = [each for each in events if isinstance(each, TextDelta)]
        assert "".join(each.text for each in said) == wanted
        assert isinstance(events[-1], Finished)
        assert (events[-1].stop, events[-1].finish_reason) == (first, "stop")
        if logprobs:
            spelt = "".join(token.token for each in said for token in each.logprobs)
            assert spelt == (text if first is None else text[: ends[first]])
