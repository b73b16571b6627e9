"""From bytes to events: the same for every cut; and for malformed bytes an error of ours, never a crash or a loss."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from forge_openai.answer.characters import mend
from forge_openai.answer.decoder import AnswerDecoder
from forge_openai.answer.reader import AnswerReader
from forge_openai.answer.sse import EventParser
from forge_openai.errors import Translator
from forge_openai.side_fields import SideFieldReport
from llamaforge.errors import LlamaForgeError
from llamaforge.requests import read_request
from llamaforge.results import Event, Finished, ReasoningDelta, TextDelta, ToolCallBuffer, ToolCallDelta
from support.scripted import delta, event, usage

TRANSLATOR = Translator(address="http://host/v1", model="m")
REPORT = SideFieldReport("http://host/v1")

Outcome = tuple[str, str, list[Any], str | None]


def outcome(pieces: list[bytes], stops: tuple[str, ...] = ()) -> Outcome:
    """Text, reasoning, tool calls, and how it ended: a reason, or the error's kind in capitals."""
    request = read_request("Hi", None, {"stop": stops})
    decoder = AnswerDecoder(AnswerReader(request, TRANSLATOR, REPORT), TRANSLATOR, REPORT)
    events: list[Event] = []
    failure: LlamaForgeError | None = None
    for piece in pieces:
        if decoder.is_over or failure is not None:
            break
        failure = decoder.feed(piece, events)
    end: str | None = None
    try:
        if failure is not None:
            raise failure
        events += decoder.finish()
    except LlamaForgeError as error:
        end = type(error).__name__.upper()
    for each in events:
        if isinstance(each, Finished):
            end = each.finish_reason
    return (
        "".join(each.text for each in events if isinstance(each, TextDelta)),
        "".join(each.text for each in events if isinstance(each, ReasoningDelta)),
        calls_of(events),
        end,
    )


def calls_of(events: list[Event]) -> list[tuple[str, str]]:
    calls = ToolCallBuffer()
    for each in events:
        if isinstance(each, ToolCallDelta):
            calls.add(each)
    return [(call.function.name, call.function.arguments) for call in calls.tool_calls]


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def part(index: int, ident: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    return {"index": index, "id": ident, "function": {"name": name, "arguments": arguments}}


TEXTS = st.text(max_size=12)
CHUNKS = st.one_of(
    TEXTS.map(delta),
    TEXTS.map(lambda text: delta(reasoning_content=text)),
    st.builds(lambda a, b: delta(a, tool_calls=[part(0, "id", "f", b)]), TEXTS, TEXTS),
    st.builds(lambda a: delta(tool_calls=[part(1, None, None, a)]), TEXTS),
    st.just({"choices": []}),
    st.just(usage(1, 2)),
)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
CUTS = st.lists(st.integers(0, 5000), max_size=12)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A sound answer, as servers write it."""
    chunks = draw(st.lists(CHUNKS, max_size=8))
    sent = [event(chunk) for chunk in [*chunks, delta(finish_reason="stop")]]
    if draw(st.booleans()):
        sent.append(event("[DONE]"))
    for place in draw(st.lists(st.integers(0, len(sent)), max_size=2)):
        sent.insert(place, draw(st.sampled_from([b": ping\n\n", b"id: 3\n", b"retry: 5\n\n", b"\n"])))
    return b"".join(sent).replace(b"\n", draw(LINE_ENDS))


def by_the_book(data: bytes) -> tuple[str, str]:
    """Text and reasoning of the events up to the end mark, read by other means.

    What can't be read may stand behind the end of the answer only.
    """
    text = reasoning = ""
    ended = False
    parser = EventParser()
    for _, sent in [*parser.feed(data), *parser.close()]:
        if sent.strip() == b"[DONE]":
            break
        try:
            found = json.loads(sent.decode("utf-8", "surrogateescape"), strict=False)
        except ValueError:
            assert ended or b"{" not in sent
            continue
        for choice in (found.get("choices") or []) if isinstance(found, dict) else []:
            if (choice.get("index") or 0) == 0:
                ended = ended or bool(choice.get("finish_reason"))
                said = choice.get("delta") or {}
                text += (choice.get("text") or "") + (said.get("content") or "") + (said.get("refusal") or "")
                reasoning += said.get("reasoning_content") or said.get("reasoning") or ""
    return mend(text), mend(reasoning)


@given(streams(), CUTS)
def test_every_cut_of_an_answer(data: bytes, cuts: list[int]) -> None:
    whole = outcome([data])
    assert whole[:2] == by_the_book(data)
    assert whole[3] in ("stop", "tool_calls")
    assert outcome(cut_at(data, cuts)) == whole
    assert outcome([data[index : index + 1] for index in range(len(data))]) == whole


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound answer with a few bytes lost, added, changed, doubled or exchanged; or any bytes at all."""
    data = draw(st.one_of(streams(), streams(), streams(), st.binary(max_size=200)))
    junk = st.one_of(
        st.binary(max_size=4),
        st.sampled_from([b"\n\n", b"data: ", b"}", b"{", b'"', b"null", b"[DONE]", b"\x00", b"\xff", b"\xed\xa0\x80"]),
    )
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 6)))
        data = data[:start] + draw(st.one_of(junk, st.just(data[start:end] * 2))) + data[end:]
    return data


@settings(max_examples=600)
@given(damaged(), CUTS, st.sampled_from([(), ("\n",), ("a", "ab")]))
def test_malformed_bytes(data: bytes, cuts: list[int], stops: tuple[str, ...]) -> None:
    """The same outcome for every cut; an answer that is taken for whole has every word that was in its events."""
    whole = outcome([data], stops)
    assert outcome(cut_at(data, cuts), stops) == whole
    text, _, _, end = whole
    assert end is not None
    is_stream = not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"["))
    if not stops and not end.isupper() and is_stream:
        assert text == by_the_book(data)[0]


@settings(max_examples=300)
@given(streams(), st.integers(0, 5000))
def test_an_answer_that_is_cut_off_is_an_error_or_whole(data: bytes, length: int) -> None:
    short = data[: length % (len(data) + 1)]
    text, reasoning, _, end = outcome([short])
    whole = outcome([data])
    assert whole[0].startswith(text)
    assert whole[1].startswith(reasoning)
    assert (end in ("stop", "tool_calls")) == ((text, end) == (whole[0], whole[3]) and end is not None)
    assert end in ("stop", "tool_calls", "CONNECTIONFAILEDERROR")


def test_deep_nesting_is_an_error() -> None:
    deep = b"data: " + b'{"x":' * 100_000 + b"1" + b"}" * 100_000 + b"\n\n"
    assert outcome([deep])[3] == "SERVERERROR"


def test_an_error_event_that_is_no_json_is_shown() -> None:
    assert outcome([b"event: error\ndata: Broke.\n\n"])[3] == "SERVERERROR"
    assert outcome([b'event: error\ndata: {"x": "\xff"}\n\n'])[3] == "SERVERERROR"
