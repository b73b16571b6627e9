"""What we read past the HTTP library: heads go to it, chunked bodies to us, for every way of cutting the bytes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_openai.wire.framing import ChunkedDecoder, Inlet, Outlet, is_plain_chunked

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def one_by_one(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


class BadFraming(Exception):
    pass


def decode(pieces: list[bytes]) -> tuple[bytes, bool, bytes]:
    decoder, content, rest = ChunkedDecoder(), b"", b""
    for piece in pieces:
        if decoder.ended:
            rest += piece
        else:
            content += decoder.feed(piece)
            rest = decoder.rest
        if decoder.failure is not None:
            raise BadFraming(content)
    return content, decoder.ended, rest


CUTS = st.lists(st.integers(1, 400), max_size=10)
CONTENTS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
STYLES = st.sampled_from([b"%x\r\n", b"%X\r\n", b"000%x\r\n", b"%x \r\n", b"%x;name=value\r\n"])
TRAILERS = st.sampled_from([b"", b"X-Sum: 1\r\n", b"A: b\r\nC: d\r\n"])


@given(CONTENTS, STYLES, TRAILERS, st.binary(max_size=5), CUTS)
def test_every_cut_of_a_chunked_body(
    contents: list[bytes], style: bytes, trailers: bytes, after: bytes, cuts: list[int]
) -> None:
    chunks = [style % len(content) + content + b"\r\n" for content in contents]
    body = b"".join(chunks) + b"0\r\n" + trailers + b"\r\n"
    expected = (b"".join(contents), True, after)
    assert decode([body + after]) == expected
    assert decode(pieces_of(body + after, cuts)) == expected
    assert decode(one_by_one(body + after)) == expected


@given(CONTENTS, CUTS, st.integers(1, 60))
def test_a_body_that_is_cut_off_has_not_ended(contents: list[bytes], cuts: list[int], lost: int) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (len(content), content) for content in contents) + b"0\r\n\r\n"
    short = body[: max(0, len(body) - lost)]
    content, ended, _ = decode(pieces_of(short, cuts))
    assert not ended
    assert b"".join(contents).startswith(content)


@given(st.binary(max_size=60), CUTS)
def test_any_bytes_are_a_body_or_refused_and_the_same_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> tuple[bytes, bool | None]:
        try:
            return decode(pieces)[:2]
        except BadFraming as error:
            return error.args[0], None

    assert outcome([data]) == outcome(pieces_of(data, cuts)) == outcome(one_by_one(data))


@pytest.mark.parametrize(
    "body",
    [b"x\r\n", b"\r\n", b"-1\r\nx\r\n", b"0x1\r\na\r\n", b"1_0\r\n", b"3\r\nabcd\r\n", b"ffffffffffffffffff\r\n"],
)
def test_what_is_no_chunk_is_refused(body: bytes) -> None:
    with pytest.raises(BadFraming):
        decode([body])
    with pytest.raises(BadFraming):
        decode(one_by_one(body))


def test_a_size_without_an_end_is_refused_in_time() -> None:
    decoder = ChunkedDecoder()
    decoder.feed(b"1" * 20_000)
    assert decoder.failure == "a line without an end"


@given(st.sampled_from([b"\r\n", b"\n"]), st.booleans(), st.binary(max_size=30), CUTS)
def test_the_library_gets_the_head_and_not_a_byte_more(
    line: bytes, interim: bool, body: bytes, cuts: list[int]
) -> None:
    heads = [b"HTTP/1.1 100 Continue\r\n\r\n"] if interim else []
    heads.append(HEAD.replace(b"\r\n", line))
    for pieces in (pieces_of(b"".join(heads) + body, cuts), one_by_one(b"".join(heads) + body)):
        inlet, given, waiting = Inlet(), [], iter(pieces)
        inlet.request_sent()
        while len(given) < len(heads):
            head = inlet.take()
            while not head:
                head = inlet.accept(next(waiting))
            given.append(head)
        assert given == heads
        assert inlet.take() + b"".join(waiting) == body
        assert inlet.accept(b"more") == b"more", "a body that the library reads itself passes"


def test_what_is_no_head_is_the_librarys_to_refuse() -> None:
    inlet = Inlet()
    inlet.request_sent()
    assert inlet.accept(b"half a head") == b""
    assert inlet.accept(b"") == b"half a head", "the connection ended"
    inlet.request_sent()
    given = b""
    for _ in range(1000):
        given += inlet.accept(b"x" * 1000)
    assert len(given) > 800_000, "nothing is held without a bound"


def test_a_request_is_sent_in_one_piece() -> None:
    outlet = Outlet()
    assert (outlet.accept(b"head"), outlet.accept(b"body"), outlet.accept(b"")) == (b"", b"", b"headbody")
    assert outlet.accept(b"head") == b""
    assert outlet.rest() == b"head"
    large = b"x" * 100_000
    assert outlet.accept(large) == large, "a large one isn't gathered"


@pytest.mark.parametrize(
    ("status", "headers", "ours"),
    [
        (200, {"transfer-encoding": "chunked"}, True),
        (200, {"transfer-encoding": "Chunked", "content-encoding": "identity"}, True),
        (200, {"transfer-encoding": "gzip, chunked"}, False),
        (200, {"transfer-encoding": "chunked", "content-encoding": "gzip"}, False),
        (200, {"content-length": "3"}, False),
        (200, {}, False),
        (500, {"transfer-encoding": "chunked"}, False),
    ],
)
def test_which_bodies_are_ours(status: int, headers: dict[str, str], ours: bool) -> None:
    assert is_plain_chunked(status, headers) is ours
