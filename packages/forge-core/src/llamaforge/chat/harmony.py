"""gpt-oss's answers: messages with channels and recipients. https://cookbook.openai.com/articles/openai-harmony"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, Protocol

from .call_parser import CallSink
from .reader import Reader, Steps

_START, _CHANNEL, _MESSAGE, _CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
_ENDS: Final = ("<|end|>", "<|call|>", "<|return|>", _START)
_RECIPIENT: Final = re.compile(r"to=([^\s<]+)")
_FUNCTIONS: Final = "functions."


class HarmonySink(CallSink, Protocol):
    """Takes the parts of the messages."""

    def content(self, text: str) -> None:
        """More of what is said to the reader."""

    def begin_reasoning(self) -> None:
        """Reasoning begins."""

    def reasoning(self, text: str) -> None:
        """More of it."""

    def end_reasoning(self) -> None:
        """It is over."""


def read_harmony(reader: Reader, sink: HarmonySink, tools: Collection[str] = ()) -> Steps[None]:
    """Read the messages of one answer, which begins after ``<|start|>assistant``.

    Those to tools that are neither functions nor among *tools*, such as the model's own ``python``, are left out:
    nobody offered them, and what they say is no JSON.
    """
    header: list[str] = []
    first = yield from reader.peek()
    mark = reader.mark()
    yield from reader.space()
    is_message = (yield from reader.one_of((_CHANNEL, _START, _MESSAGE, "to=", "assistant<|"))) != ""
    reader.reset(mark)
    if first and not is_message:  # no header at all: plain words
        found = yield from reader.until(_ENDS, sink.content)
        if not found:
            return
        header = []
    while True:
        ended = yield from reader.until((_MESSAGE, *_ENDS), header.append)
        if not ended:
            return
        if ended != _MESSAGE:  # a header that was begun again
            header = []
            continue
        yield from _read_body(reader, sink, "".join(header), tools)
        header = []


def _read_body(reader: Reader, sink: HarmonySink, header: str, tools: Collection[str]) -> Steps[None]:
    *before, last = header.split(_CHANNEL)
    recipient = _RECIPIENT.search(header) if len(before) < 2 else _RECIPIENT.search(last)
    name = recipient[1] if recipient else ""
    channel = last.split(_CONSTRAIN)[0].split() if before else []
    is_function = name.startswith(_FUNCTIONS) or name in tools
    if name and name not in ("assistant", "user") and not is_function:
        yield from reader.until(_ENDS, lambda _: None)
    elif is_function:
        sink.open_call(name.removeprefix(_FUNCTIONS))
        yield from reader.space()
        if (yield from reader.peek()) == "{":  # a string in it may spell an end
            yield from reader.json(sink.arguments)
            yield from reader.space()
        ended = yield from reader.until(_ENDS, sink.arguments, inside=True)
        sink.close_call(is_whole=bool(ended))
    elif channel[:1] == ["analysis"]:
        sink.begin_reasoning()
        yield from reader.until(_ENDS, sink.reasoning)
        sink.end_reasoning()
    else:
        yield from reader.until(_ENDS, sink.content)
