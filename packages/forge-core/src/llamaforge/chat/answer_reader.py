"""From the text of an answer to its parts: content, reasoning and tool calls, while it arrives."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from ..messages import ToolCall
from ..results import Event, ReasoningDelta, TextDelta, ToolCallBuffer, ToolCallDelta
from .call_parser import CallParser
from .harmony import read_harmony
from .output_format import CallFormat, OutputFormat
from .reader import Reader, Steps

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ID_LENGTH: Final = 24


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an answer."""

    content: str = ""
    """What the model says to its reader."""
    reasoning: str = ""
    """What it thought before."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The calls that it makes. The arguments of the last one are incomplete where the text was cut in it."""


class Collector:
    """Puts the events of an answer together."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls = ToolCallBuffer()

    def add(self, events: Iterable[Event]) -> None:
        """Take *events* in."""
        for event in events:
            if isinstance(event, TextDelta):
                self._content.append(event.text)
            elif isinstance(event, ReasoningDelta):
                self._reasoning.append(event.text)
            elif isinstance(event, ToolCallDelta):
                self._calls.add(event)

    @property
    def answer(self) -> Answer:
        """Everything so far."""
        return Answer(
            content="".join(self._content),
            reasoning="".join(self._reasoning),
            tool_calls=self._calls.tool_calls,
        )


class AnswerReader:
    """Parses one answer of a known format, piece by piece.

    Args:
        form: how the model writes.
        tools: the schemas of the tools' parameters, by name; None where calls aren't looked for.
        is_reasoning: whether the prompt opened the reasoning already.
        only_calls: whether the answer has calls and no content, because its grammar says so.
        id_seed: makes the calls' ids reproducible; None: they are random.
    """

    def __init__(
        self,
        form: OutputFormat,
        *,
        tools: Mapping[str, Any] | None = None,
        is_reasoning: bool = False,
        only_calls: bool = False,
        id_seed: bytes | None = None,
    ) -> None:
        self._form = form
        self._reader = Reader()
        self._sink = _Sink(form.calls, id_seed, only_calls=only_calls)
        self._tools = tools
        self._is_over = False
        self._steps = self._read(is_reasoning)
        self._advance()

    @property
    def in_reasoning(self) -> bool:
        """Whether the text so far ends within reasoning."""
        return self._sink.in_reasoning

    @property
    def in_content(self) -> bool:
        """Whether the text so far ends within the content."""
        return not (self._sink.in_reasoning or self._sink.in_call or self._sink.only_calls)

    @property
    def has_calls(self) -> bool:
        """Whether a call was begun."""
        return self._sink.count > 0

    def feed(self, piece: str) -> list[Event]:
        """The events that are certain with this piece."""
        if piece:
            self._reader.feed(piece)
            self._advance()
        return self._sink.taken()

    def finish(self, *, cut: bool = False) -> list[Event]:
        """The remaining events: no more text will come. Where it was *cut*, a call that was begun is no content."""
        self._reader.is_cut = cut
        self._reader.ended = True
        self._advance()
        self._sink.finish()
        return self._sink.taken()

    def _advance(self) -> None:
        if not self._is_over and next(self._steps, self) is self:
            self._is_over = True

    def _read(self, is_reasoning: bool) -> Steps[None]:
        if self._form.is_harmony:
            yield from read_harmony(self._reader, self._sink, self._tools or ())
        else:
            yield from self._read_plain(is_reasoning)

    def _read_plain(self, is_reasoning: bool) -> Steps[None]:
        reader, sink, reasoning = self._reader, self._sink, self._form.reasoning
        calls = None
        if self._form.calls is not None and self._tools is not None:
            calls = CallParser(self._form.calls, self._tools, reader, sink)
        if reasoning is not None and is_reasoning:
            begin = reasoning.begin.strip()
            mark = reader.mark()
            yield from reader.space()
            if (yield from reader.literal(begin)):  # some models write again what the prompt has
                reader.keep()
            else:
                reader.reset(mark)
            yield from self._read_reasoning(reasoning.end, calls)
        at_start = True
        stray: tuple[str, ...] = ()
        if reasoning is not None and "|" in reasoning.end:
            stray = (reasoning.begin.strip(), reasoning.end.strip())
        while True:
            if at_start:
                space = yield from reader.space()
                if reasoning is not None and (yield from reader.literal(reasoning.begin.strip())):
                    yield from self._read_reasoning(reasoning.end, calls)
                    continue
                if reasoning is not None and (yield from reader.literal(reasoning.end.strip())):
                    continue  # the end of reasoning that never began
                sink.content(space)
            if calls is not None and calls.is_bare and (yield from reader.peek()) in ("{", "["):
                if (yield from calls.bare()):
                    at_start = True
                    continue
                sink.content((yield from reader.take()))
            at_start = False
            markers = (*stray, *(calls.triggers if calls is not None else ()))
            if calls is not None and calls.is_bare:
                markers = (*markers, "\n")
            found = yield from reader.until(markers, sink.content)
            if not found:
                return
            if reasoning is not None and found in stray:  # Gemma thinks again in the middle of an answer
                if found == stray[0]:
                    yield from self._read_reasoning(reasoning.end, calls)
                continue
            if calls is None or found == "\n":
                sink.content(found)
            elif (yield from calls.triggered(found)):
                at_start = True
            else:
                sink.content(found)

    def _read_reasoning(self, end: str, calls: CallParser | None) -> Steps[None]:
        """Read up to *end*. Models that think within ``<think>`` may forget to end it before a call; others draft calls
        in their reasoning."""
        reader, sink = self._reader, self._sink
        end = end.strip()
        triggers = calls.triggers if calls is not None and not calls.is_bare and end == "</think>" else ()
        sink.begin_reasoning()
        while (found := (yield from reader.until((end, *triggers), sink.reasoning))) not in ("", end):
            if calls is not None and (yield from calls.triggered(found)):
                return
            sink.reasoning(found)
        sink.end_reasoning()


class _Sink:
    """Makes events of what is read."""

    def __init__(self, form: CallFormat | None, id_seed: bytes | None, *, only_calls: bool) -> None:
        self._events: list[Event] = []
        self.only_calls = only_calls
        self._id_seed = id_seed
        self._id_length = form.id_length if form is not None else 0
        self._ids: set[str] = set()
        self.count = 0
        self.in_call = False
        self.in_reasoning = False
        self._has_arguments = False
        self._space = ""
        self._has_reasoning = False
        self._trims = False
        self._reasoning_space = ""
        self._fresh = True

    def taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def content(self, text: str) -> None:
        """Text for the reader. White space is held back until it is known whether a call follows."""
        if self.only_calls:  # the beginning of a call that was cut, or the end of one
            return
        if self._trims:
            text = text.lstrip()
            if not text:
                return
            self._trims = False
        solid = text.rstrip()
        if solid:
            self._add_text(self._space + solid)
            self._space = text[len(solid) :]
        else:
            self._space += text

    def _add_text(self, text: str) -> None:
        self._events.append(TextDelta(text))

    def begin_reasoning(self) -> None:
        self.in_reasoning = True
        self._reasoning_space = ""
        self._space = ""

    def reasoning(self, text: str) -> None:
        """More reasoning, without white space at its edges; several stretches of it are paragraphs."""
        solid = text.rstrip()
        if not solid:
            self._reasoning_space += text
            return
        before = self._reasoning_space + text[: len(text) - len(text.lstrip())]
        if self._fresh:
            before = "\n\n" if self._has_reasoning else ""
            self._fresh = False
        self._has_reasoning = True
        self._events.append(ReasoningDelta(before + solid.lstrip()))
        self._reasoning_space = text[len(solid) :]

    def end_reasoning(self) -> None:
        self.in_reasoning = False
        self._fresh = True
        self._trims = True

    def open_call(self, name: str, call_id: str = "") -> None:
        if self.in_reasoning:
            self.end_reasoning()
        self._space = ""
        self.in_call = True
        self._has_arguments = False
        if not call_id or call_id in self._ids:
            call_id = self._new_id()
        self._ids.add(call_id)
        self._events.append(ToolCallDelta(index=self.count, id=call_id, name=name))
        self.count += 1

    def arguments(self, text: str) -> None:
        if text:
            self._has_arguments = True
            self._events.append(ToolCallDelta(index=self.count - 1, arguments=text))

    def close_call(self, *, is_whole: bool = True) -> None:
        if is_whole and not self._has_arguments:
            self.arguments("{}")
        self.in_call = False
        self._trims = True

    def finish(self) -> None:
        if self._space and not self._trims:
            self._add_text(self._space)
        self._space = ""

    def _new_id(self) -> str:
        if self._id_seed is None:
            number = uuid.uuid4().int
        else:
            number = int.from_bytes(hashlib.blake2b(self._id_seed + self.count.to_bytes(4, "big")).digest()[:24], "big")
        digits = ""
        for _ in range(self._id_length or _ID_LENGTH):
            number, digit = divmod(number, len(_ALPHABET))
            digits += _ALPHABET[digit]
        return digits if self._id_length else f"call_{digits}"
