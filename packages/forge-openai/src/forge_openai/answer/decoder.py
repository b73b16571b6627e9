"""The bytes of one answer as events: parsed, decoded, read."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from llamaforge.errors import LlamaForgeError, ServerError
from llamaforge.results import Event

from ..error_shapes import is_error
from ..errors import Translator
from ..side_fields import Report
from .characters import load_json, mend
from .chunks import Chunk
from .lenient import LenientReader
from .reader import AnswerReader
from .sse import EventParser

DONE: Final = b"[DONE]"
EXCERPT: Final = 300
"""How much of what a server sent a message shows, in bytes."""

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are no JSON, or JSON that is nested without end."""

_decode = msgspec.json.Decoder(Chunk).decode
_is_done = re.compile(rb'\s*"?\[DONE\]"?\s*', re.IGNORECASE).fullmatch
_is_keep_alive = re.compile(
    rb"\s*(:.*|[\[<\"'(]?(\w+[ _-])?(ping|pong|keep[-_ ]?alive|heart[-_ ]?beat)[\])>\"']?[ \d.:TZ+-]*)?\s*",
    re.IGNORECASE | re.DOTALL,
).fullmatch
"""Whether an event's data is there only so that the connection isn't silent; servers write that as comments, too."""
_FIELDS: Final = (b":", b"data:", b"event:", b"id:", b"retry:")
_BLANK: Final = b"\xef\xbb\xbf \t\r\n"


def read_json(data: bytes) -> object:
    """*data* decoded from JSON; as text if it is not JSON."""
    try:
        found: object = msgspec.json.decode(data)
    except UNREADABLE:
        return data.decode("utf-8", "replace")
    return found


class AnswerDecoder:
    """Bytes in, events out.

    Most answers are streams of server-sent events. A server that was asked for one and sends a JSON value, or one in
    each line, is read as well, whatever its content type says.

    Args:
        reader: what makes events of chunks.
        translator: makes our errors.
        report: is told of fields that are left out.
    """

    __slots__ = (
        "_body",
        "_head",
        "_is_json",
        "_lenient",
        "_other",
        "_parser",
        "_reader",
        "_report",
        "_saw_event",
        "_translator",
        "content_type",
        "is_over",
    )

    def __init__(self, reader: AnswerReader, translator: Translator, report: Report) -> None:
        self._parser = EventParser()
        self._reader = reader
        self._translator = translator
        self._report = report
        self._lenient = LenientReader(report)
        self._head = b""  # until there is a byte that tells events from JSON; then what the answer begins with
        self._is_json: bool | None = None
        self._body: list[bytes] = []
        self._saw_event = False
        self._other = b""
        self.content_type = ""
        """What the server says that it sends. It is shown, and nothing else: servers send answers under any type."""
        self.is_over = False
        """Whether nothing is left to be read: the server has said so, or a stop string has."""

    @property
    def text(self) -> str:
        """What has come so far."""
        return str(self._reader.text)

    @property
    def leaves(self) -> bool:
        """Whether the server would go on, so that only closing the connection ends its work."""
        return self._reader.is_over

    def feed(self, data: bytes, events: list[Event]) -> LlamaForgeError | None:
        """Append to *events* those that are complete now.

        What is wrong with the answer is returned, so that the events before it still come out.
        """
        if self._is_json is None:
            data = self._begin(data)
        elif not self._saw_event and len(self._head) < EXCERPT:
            self._head = (self._head + data)[:EXCERPT]
        if self._is_json:
            self._body.append(data)
            return None
        failure = self._read_events(self._parser.feed(data), events)
        if failure is None and self._is_page() and len(self._head) == EXCERPT and b"\ndata:" not in self._head:
            return self._web_page()  # it may have no end
        return failure

    def finish(self) -> list[Event]:
        """The last events, once the stream is at its end. Raises what :meth:`.reader.AnswerReader.finish` does."""
        events: list[Event] = []
        failure: LlamaForgeError | None = None
        if self._is_page():
            failure = self._web_page()
        last = self._other
        if failure is None and self._is_json:
            last = b"".join(self._body)
            failure = self._read_body(last, events)
        elif failure is None and not self.is_over:
            # An event whose blank line never came: whole if it can be read, else a part of one that was cut.
            left = [each for each in self._parser.close() if _is_done(each[1]) or _is_json_value(each[1])]
            failure = self._read_events(left, events)
            if not self._saw_event:
                last = b" ".join(line for line in self._head.splitlines() if not _is_field(line))
        if failure is not None:
            raise failure
        return events + self._reader.finish(self.is_over, last[:EXCERPT].decode("utf-8", "replace").strip())

    def _begin(self, data: bytes) -> bytes:
        """Find out what kind of answer it is; what there is to be read of it now."""
        head = self._head = self._head + data
        first = head.lstrip(_BLANK)[:1]
        if not first:
            return b""
        self._is_json = first in b"{["
        self._head = head.lstrip(_BLANK)[:EXCERPT]
        return head

    def _read_events(self, sent_events: list[tuple[str, bytes]], events: list[Event]) -> LlamaForgeError | None:
        read, may_end = self._reader.read, self._reader.has_stops
        if sent_events:
            self._saw_event = True
        for kind, sent in sent_events:
            if sent == DONE:
                self.is_over = True
                return None
            failure = None
            try:
                chunk = _decode(sent)
            except UNREADABLE:
                failure = self._read_other(kind, sent, events)
            else:
                if chunk.error or chunk.base_resp or kind == "error" or not chunk.choices:
                    failure = self._read_side(kind, sent)
                if failure is None:
                    read(chunk, events)
            if failure is not None:
                return failure
            if self.is_over or (may_end and self._reader.is_over):
                self.is_over = True
                return None
        return None

    def _read_side(self, kind: str, sent: bytes) -> LlamaForgeError | None:
        """The error in a chunk without an answer; None if it is not an error."""
        found = read_json(sent)
        if kind == "error" or is_error(found):
            return self._translator.answer_error(None, found)
        if isinstance(found, dict) and found and "choices" not in found and found.get("type") != "ping":
            self._other = sent
        return None

    def _read_other(self, kind: str, sent: bytes, events: list[Event]) -> LlamaForgeError | None:
        """An event that is no chunk of the usual types."""
        if _is_done(sent):
            self.is_over = True
            return None
        try:
            found = load_json(sent)
        except (ValueError, RecursionError):
            if kind == "error":
                return self._translator.answer_error(None, sent.decode("utf-8", "replace"))
            if _is_keep_alive(sent):
                return None
            if self._reader.has_ended:
                self._report("(an event after the answer)", sent)
                return None
            return self._no_chunk(sent)
        return self._read_value(kind, found, sent, events)

    def _read_value(self, kind: str, found: object, sent: bytes, events: list[Event]) -> LlamaForgeError | None:
        """A JSON value of any shape."""
        if kind == "error" or is_error(found):
            return self._translator.answer_error(None, found)
        if isinstance(found, dict):
            if found and "choices" not in found and found.get("type") != "ping":
                self._other = sent
            try:
                chunk = self._lenient.chunk(found)
            except RecursionError:
                return self._no_chunk(sent)
            self._reader.read_mended(chunk, events)
        elif isinstance(found, list) and found and all(isinstance(each, dict) for each in found):
            for each in found:
                if (failure := self._read_value(kind, each, sent, events)) is not None:
                    return failure
        elif isinstance(found, str) and found.strip() and not _is_keep_alive(found.encode("utf-8", "replace")):
            self._other = mend(found).encode()
        return None

    def _read_body(self, body: bytes, events: list[Event]) -> LlamaForgeError | None:
        """An answer that is JSON: one value, which is whole; or a chunk in each line, which may be cut."""
        parts = [body]
        if not _is_json_value(body):
            parts = [line for line in body.splitlines() if line.strip()]
        self.is_over = len(parts) == 1 and b'"delta"' not in body
        for part in parts:
            if (failure := self._read_other("message", part.removeprefix(_BLANK[:3]), events)) is not None:
                return failure
            if self._reader.has_stops and self._reader.is_over:
                break
        return None

    def _is_page(self) -> bool:
        return self._head.startswith(b"<") and not self._saw_event

    def _web_page(self) -> ServerError:
        shown = self._head.decode("utf-8", "replace")
        what = self.content_type or "a web page"
        reason = self._translator.clean(
            f"it sent {what} instead of an answer. Is the address right? It begins: {shown}"
        )
        return ServerError(self._translator.address, None, reason)

    def _no_chunk(self, sent: bytes) -> ServerError:
        shown = sent[:EXCERPT].decode("utf-8", "replace")
        reason = self._translator.clean(f"it sent an event that is not part of an answer: {shown}")
        return ServerError(self._translator.address, None, reason)


def _is_field(line: bytes) -> bool:
    """Whether a line is a field of an event, or the beginning of one that was cut."""
    return any(line.startswith(name) or name.startswith(line) for name in _FIELDS)


def _is_json_value(data: bytes) -> bool:
    try:
        load_json(data.removeprefix(_BLANK[:3]))
    except (ValueError, RecursionError):
        return False
    return True
