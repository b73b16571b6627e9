"""What comes in place of an answer: the error shows it, without our secrets and not too long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from forge_openai.answer.decoder import EXCERPT, AnswerDecoder, read_json
from forge_openai.answer.reader import AnswerReader
from forge_openai.errors import Translator
from llamaforge.errors import ConnectionFailedError, LlamaForgeError, ServerError
from llamaforge.requests import read_request
from llamaforge.results import Event, Finished, TextDelta, Usage
from support.scripted import delta, event, usage

ADDRESS = "http://host/v1"
KEY = "sk-secret"
MASK = "***"
TRANSLATOR = Translator(address=ADDRESS, model="m", secrets=(KEY,))
PAGE = b"<html><p>Gr\xfc\xc3\xbc\xc3\x9fe, sk-secret"
SHOWN = "<html><p>Gr\ufffdüße, "


class Reading:
    """One answer on its way through the decoder."""

    def __init__(self, content_type: str = "", **given: Any) -> None:
        self.reports: list[tuple[str, object]] = []
        self.events: list[Event] = []
        request = read_request("Hi", None, given)
        reader = AnswerReader(request, TRANSLATOR, self._report)
        self.decoder = AnswerDecoder(reader, TRANSLATOR, self._report)
        self.decoder.content_type = content_type

    def _report(self, field: str, value: object) -> None:
        self.reports.append((field, value))

    def feed(self, *pieces: bytes) -> LlamaForgeError | None:
        for piece in pieces:
            if (failure := self.decoder.feed(piece, self.events)) is not None:
                return failure
        return None

    def end(self) -> list[Event]:
        return [*self.events, *self.decoder.finish()]

    def error(self, *pieces: bytes) -> LlamaForgeError:
        """What is wrong, found at once or at the end."""
        if (failure := self.feed(*pieces)) is not None:
            return failure
        with pytest.raises(LlamaForgeError) as caught:
            self.end()
        return caught.value

    def text(self, *pieces: bytes) -> str:
        assert self.feed(*pieces) is None
        return "".join(each.text for each in self.end() if isinstance(each, TextDelta))


def reason(error: LlamaForgeError) -> str:
    assert isinstance(error, ServerError)
    assert (error.endpoint, error.status, type(error)) == (ADDRESS, None, ServerError)
    return error.reason


@pytest.mark.parametrize(("kind", "what"), [("", "a web page"), ("text/html", "text/html")])
@pytest.mark.parametrize("cut", [0, 1, 5, 20])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf \r\n\t"])
def test_a_web_page(kind: str, what: str, cut: int, before: bytes) -> None:
    said = "it sent {} instead of an answer. Is the address right? It begins: {}"
    page = before + PAGE
    error = Reading(kind).error(page[:cut], page[cut:])
    masked = SHOWN.replace("sk-secret", MASK)
    assert reason(error).startswith(said.format(what, masked))
    assert KEY not in str(error)


@pytest.mark.parametrize("size", [1, 7, 299, 300, 301, 2 * EXCERPT])
def test_a_long_web_page_is_left_as_soon_as_enough_of_it_is_there(size: int) -> None:
    page = b"<" + b"x" * (3 * EXCERPT)
    reading = Reading()
    seen = 0
    failure = None
    while failure is None and seen < len(page):
        failure = reading.feed(page[seen : seen + size])
        seen += size
    assert failure is not None
    assert EXCERPT <= seen < EXCERPT + size
    assert reason(failure).endswith(f"It begins: <{'x' * (EXCERPT - 1)}")
    short = Reading()
    assert short.feed(b"<", b"x" * (EXCERPT - 2)) is None
    assert reason(short.error()).endswith(f"It begins: <{'x' * (EXCERPT - 2)}")


@pytest.mark.parametrize("size", [1, 15, 100, 5000])
def test_a_stream_behind_a_tag_is_no_page(size: int) -> None:
    sent = b"<!-- proxy -->\n" + event({**delta("Hi", "stop"), "id": "x" * 900})
    assert Reading().text(*(sent[start : start + size] for start in range(0, len(sent), size))) == "Hi"


def test_an_event_that_is_no_part_of_an_answer() -> None:
    said = "it sent an event that is not part of an answer: "
    assert reason(Reading().error(b"data: Gr\xfc\xc3\xbc sk-secret\n\n")) == f"{said}Gr\ufffdü {MASK}"
    assert reason(Reading().error(b"data: " + b"x" * 400 + b"\n\n")) == said + "x" * EXCERPT
    assert reason(Reading().error(event(delta("Hi")), b"data: {oops\n\n")) == f"{said}{{oops"
    deep = b'{"choices":' + b"[" * 3000 + b"]" * 3000 + b"}"
    assert reason(Reading().error(b"data: " + deep + b"\n\n")).startswith(said + '{"choices":[[[')


def test_an_event_behind_the_answer_is_reported_and_no_error() -> None:
    reading = Reading()
    assert reading.text(event(delta("Hi", "stop")), b"data: {oops\n\n") == "Hi"
    assert reading.reports == [("(an event after the answer)", b"{oops")]


@pytest.mark.parametrize("data", [b"Bro\xfcken.", b'{"message": "Bro\xfcken."}', b'"Bro\xfcken."'])
def test_an_event_of_the_type_error(data: bytes) -> None:
    error = Reading().error(event(delta("Hi")), b"event: error\ndata: " + data + b"\n\n")
    assert "Bro" in reason(error)
    assert "ken." in reason(error)
    assert "event" not in reason(error)


def test_errors_of_that_type_in_any_json() -> None:
    for sent, said in (
        (b'{"choices": [], "message": "Slow."}', "Slow."),
        (b'{"choices": [{"delta": {"content": "x"}}], "detail": "Slow."}', "Slow."),
        (b'{"choices": 5, "detail": "Slow."}', "Slow."),
        (b'[{"detail": "Slow."}]', "Slow."),
    ):
        reading = Reading()
        assert reason(reading.error(b"event: error\ndata: " + sent + b"\n\n")) == said
        assert reading.events == []


CUT = "it sent an incomplete answer ({}), then: {}"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"Bad gate\xfcway.\nsk-secret", f"Bad gate\ufffdway. {MASK}"),
        (b": ping\n\nBad gateway.\n\n", "Bad gateway."),
        (b"dat: x\nda\n:\nretry: 5\nid: 3\nevent: x\ndata: {\n", "dat: x"),
        (b"x" * 400, "x" * EXCERPT),
        (b" \n\xef\xbb\xbf\tBad.", "Bad."),
        (b'{"status": "Gr\xc3\xbc\xc3\x9fe"}', '{"status": "Grüße"}'),
        (b'[1, "a"]', '[1, "a"]'),
    ],
)
def test_what_is_no_event_at_all(sent: bytes, said: str) -> None:
    for pieces in ([sent], [sent[:3], sent[3:]], [sent[index : index + 1] for index in range(len(sent))]):
        assert reason(Reading().error(*pieces)) == CUT.format("no text", said)


@pytest.mark.parametrize(
    "sent", [{"note": "Full."}, {"note": "Full.", "type": "x"}, "Full.", {"note": "Full.", "usage": 5}]
)
def test_words_of_a_server_that_stops(sent: object) -> None:
    """Not an error by itself, and shown where the answer ends too early."""
    data = b"data: " + json.dumps(sent).encode() + b"\n\n"
    said = json.dumps(sent) if isinstance(sent, dict) else sent
    assert reason(Reading().error(event(delta("Hi")), data)) == CUT.format("2 characters", said)
    assert reason(Reading().error(data, event(delta("Hi")))) == CUT.format("2 characters", said)
    reading = Reading()
    assert reading.text(event(delta("Hi")), data, event(delta(None, "stop"))) == "Hi"


@pytest.mark.parametrize(
    "sent", [{"choices": []}, {}, {"type": "ping", "n": 1}, "ping", " ", "[PONG]", None, [], 5, {"choices": [], "x": 1}]
)
def test_nothing_is_shown_of_what_only_keeps_the_connection_alive(sent: object) -> None:
    data = b"data: " + json.dumps(sent).encode() + b"\n\n"
    error = Reading().error(event(delta("Hi")), data)
    assert isinstance(error, ConnectionFailedError)
    assert error.reason == "the server ended the stream before the answer was complete, after 2 characters"


@pytest.mark.parametrize(
    "sent",
    [
        *(
            b"ping",
            b"PING",
            b": a\n b",
            b"[ping]",
            b"<keep-alive>",
            b"keepalive",
            b"SSE_HEARTBEAT",
            b"'pong'",
            b"",
            b"  ",
        ),
        *(b"heart beat 12:30:05.1Z", b"(server ping)"),
    ],
)
def test_data_that_keeps_the_connection_alive(sent: bytes) -> None:
    data = b"".join(b"data: " + line + b"\n" for line in sent.split(b"\n")) + b"\n"
    assert Reading().text(data, event(delta("Hi", "stop"))) == "Hi"
    assert Reading().text(event(delta("Hi", "stop")), data) == "Hi"


@pytest.mark.parametrize("sent", [b"pinged", b"ping x", b"the ping pong", b"a: b"])
def test_data_that_does_not(sent: bytes) -> None:
    assert reason(Reading().error(b"data: " + sent + b"\n\n")).endswith(": " + sent.decode())


@pytest.mark.parametrize("mark", [b"[DONE]", b"[done]", b' "[Done]" ', b"[DONE] "])
def test_nothing_counts_behind_the_end_mark(mark: bytes) -> None:
    reading = Reading()
    data = event(delta("Hi")) + b"data: " + mark + b"\n\n" + event(delta("x")) + b"data: {oops\n\n"
    assert reading.feed(data) is None
    assert reading.decoder.is_over
    assert reading.end() == [TextDelta("Hi"), Finished(finish_reason="unknown", usage=None)]
    assert reading.reports == []


def test_the_state_between_pieces() -> None:
    reading = Reading(timeout=60)
    assert (reading.decoder.is_over, reading.decoder.leaves, reading.decoder.text) == (False, False, "")
    assert reading.feed(event(delta("Hi"))) is None
    assert (reading.decoder.is_over, reading.decoder.leaves, reading.decoder.text) == (False, False, "Hi")
    stopped = Reading(stop=["i"])
    assert stopped.feed(event(delta("Hi")), event(delta("!"))) is None
    assert (stopped.decoder.is_over, stopped.decoder.leaves) == (True, True)


def test_what_was_read_before_the_fault_comes_out() -> None:
    reading = Reading()
    assert reading.feed(event(delta("Hi")) + b"data: {oops\n\n" + event(delta("x"))) is not None
    assert reading.events == [TextDelta("Hi")]


def test_json_in_lines() -> None:
    lines = [json.dumps(each).encode() for each in (delta("Hi"), delta("!", "stop"), usage(3, 2))]
    counts = Usage(prompt_tokens=3, completion_tokens=2)
    for end in (b"\n", b"\r\n", b"\n \n", b"\n\xef\xbb\xbf"):
        reading = Reading()
        assert reading.feed(end.join(lines)) is None
        assert reading.end() == [TextDelta("Hi"), TextDelta("!"), Finished(finish_reason="stop", usage=counts)]
    reading = Reading()
    assert reading.feed(b"\n".join(lines)[:-5]) is None
    assert "not part of an answer" not in str(reading.end())
    stopped = Reading(stop=["i"])
    assert stopped.feed(b"\n".join([lines[0], lines[0], b"{oops"])) is None
    assert stopped.end()[0] == TextDelta("H")


def test_one_value_of_json_is_whole_unless_it_is_a_chunk() -> None:
    message = {"choices": [{"message": {"content": "Hi"}}]}
    assert Reading().text(json.dumps(message).encode()) == "Hi"
    assert Reading().text(b"\xef\xbb\xbf" + json.dumps([message]).encode()) == "Hi"
    chunk = json.dumps(delta("Hi"))
    assert reason(Reading().error(chunk.encode())) == CUT.format("2 characters", chunk)
    error = Reading().error(json.dumps([message, {"error": "Broke."}, message]).encode())
    assert reason(error) == "Broke."


def test_json_or_text() -> None:
    assert read_json(b'{"a": 1}') == {"a": 1}
    assert read_json(b"Gr\xfc\xc3\xbc") == "Gr\ufffdü"
    assert read_json(b'"\xff"') == '"\ufffd"'
    assert read_json(b"[" * 5000) == "[" * 5000
