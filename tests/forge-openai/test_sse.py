"""The event parser: the same events for every way of cutting the bytes, and nothing breaks it."""

from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from forge_openai.answer.sse import EventParser, ServerSentEvent


def parse(pieces: list[bytes]) -> list[ServerSentEvent]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def by_the_book(data: bytes) -> list[ServerSentEvent]:
    """The standard's algorithm on the whole, without any regard for speed."""
    events, kind, lines = [], "", []
    parts = re.split(b"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf"))
    for line in parts[:-1]:
        if not line:
            if lines:
                events.append((kind or "message", b"\n".join(lines)))
            kind, lines = "", []
            continue
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if name == b"data":
            lines.append(value)
        elif name == b"event":
            kind = value.decode("utf-8", "replace")
    return events


ALPHABET = [
    b"data",
    b"event",
    b"id",
    b":",
    b" ",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"{}",
    b"x",
    "é€😀".encode(),
    b"\xff",
    b"\xef\xbb\xbf",
]
LINES = [b"data: {}", b"data: x", b"data:y", b"data", b"id: 1", b"event: e", b": ping", b" data: z", b"", b"", b""]
CUTS = st.lists(st.integers(0, 120), max_size=12)
STREAMS = st.one_of(
    st.lists(st.sampled_from(ALPHABET), max_size=40).map(b"".join),
    st.lists(st.sampled_from(LINES), max_size=20).map(b"\n".join),
)


@given(STREAMS, CUTS)
def test_every_cut_gives_the_standards_events(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert parse([data]) == by_the_book(data)
    assert parse(pieces) == by_the_book(data)
    assert parse([data[index : index + 1] for index in range(len(data))]) == by_the_book(data)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    assert parse([data]) == by_the_book(data)


def test_an_event_of_several_lines_among_others() -> None:
    stream = b"data: x\n\ndata: {}\nid: 1\n\ndata: a\ndata: b\n\ndata: y\n\n"
    assert [data for _, data in parse([stream])] == [b"x", b"{}", b"a\nb", b"y"]


def test_a_byte_order_mark_counts_at_the_start_alone() -> None:
    mark = b"\xef\xbb\xbf"
    assert parse([mark + b"data: x\n\n" + mark + b"data: y\n\ndata: z\n\n"]) == [("message", b"x"), ("message", b"z")]
    assert parse([b"\n" + mark + b"data: x\n\n"]) == parse([mark + mark + b"data: x\n\n"]) == []


def test_a_name_that_ends_like_another_is_no_data() -> None:
    for begin in (b"", b"\n\n", b"data: x\n\n"):
        assert [data for _, data in parse([begin + b"xdata: y\n\ndata: z\n\n"])][-1:] == [b"z"]
        assert b"y" not in [data for _, data in parse([begin + b"xdata: y\n\n"])]


def test_a_line_end_that_is_cut_in_two_is_one() -> None:
    for end in (b"\r\n", b"\r", b"\n"):
        stream = end.join([b"event: e", b"data: x", b"data: y", b"", b"data: z", b"", b""])
        events = [("e", b"x\ny"), ("message", b"z")]
        assert parse([stream]) == parse([stream[index : index + 1] for index in range(len(stream))]) == events
        assert all(parse([stream[:cut], b"", stream[cut:]]) == events for cut in range(len(stream)))


def test_a_servers_stream() -> None:
    stream = b': ping\n\ndata: {"a":1}\n\nevent: error\ndata: first\ndata:second\n\ndata: [DONE]\n\ndata: never ended\n'
    assert parse([stream]) == [
        ("message", b'{"a":1}'),
        ("error", b"first\nsecond"),
        ("message", b"[DONE]"),
    ]


def test_a_long_line_in_small_pieces_is_put_together_once() -> None:
    # With a buffer that is searched again for every piece this would take minutes.
    piece = b"x" * 64
    events = parse([b"data: ", *[piece] * 100_000, b"\n", b"\n"])
    assert len(events[0][1]) == 6_400_000
