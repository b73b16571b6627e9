"""The answer of an OpenAI-compatible server, as it arrives: lines of events, decoded into a record."""

from __future__ import annotations

from typing import Any

import msgspec

from ..records import Record


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct, gc=False):
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Timings(msgspec.Struct, gc=False):
    """llama.cpp's server."""

    cache_n: int | None = None
    draft_n: int | None = None
    draft_n_accepted: int | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: Any = None
    sent: float | None = None
    """The calibration server's clock."""


_decode = msgspec.json.Decoder(_Chunk).decode


class AnswerReader:
    """Reads the events of one streamed answer into *record*.

    Args:
        record: gets the times, as the clock says them, and the counts.
        keep_text: whether to keep the text, for the next turn.
    """

    __slots__ = ("_pieces", "_rest", "done", "record")

    def __init__(self, record: Record, *, keep_text: bool = False) -> None:
        self.record = record
        self.done = False
        self._rest = b""
        self._pieces: list[str] | None = [] if keep_text else None

    @property
    def text(self) -> str:
        """The answer's text, if it is kept."""
        return "".join(self._pieces or ())

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes of the body that were read at *now*. Raises ValueError for what is no event of such a server."""
        if self._rest:
            data = self._rest + data
        lines = data.split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip(), now)

    def _event(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self.done = True
            return
        try:
            chunk = _decode(data)
        except msgspec.MsgspecError as error:
            raise ValueError(f"The server sent an event that can't be read: {error}") from None
        record = self.record
        if chunk.error is not None:
            raise ValueError(f"The server reported an error amid the answer: {_message(chunk.error)}")
        if chunk.choices:
            choice = chunk.choices[0]
            delta = choice.delta
            text = choice.text
            if delta is not None:
                text = delta.content or delta.reasoning_content or delta.reasoning or delta.refusal
                if not text and delta.tool_calls:
                    text = str(delta.tool_calls)
            if text:
                self._piece(text if isinstance(text, str) else str(text), now, chunk)
                if self._pieces is not None:
                    said = choice.text if delta is None else delta.content
                    if isinstance(said, str):
                        self._pieces.append(said)
            if choice.finish_reason is not None:
                record.finish_reason = choice.finish_reason
                record.end = now
        if chunk.usage is not None:
            self._count(chunk.usage)
        if chunk.timings is not None:
            _guesses(record, chunk.timings)

    def _piece(self, text: str, now: float, chunk: _Chunk) -> None:
        record = self.record
        if not record.chunk_times:
            record.first_characters = len(text)
            if chunk.usage is not None and chunk.usage.completion_tokens:
                record.first_chunk_tokens = chunk.usage.completion_tokens
        record.characters += len(text)
        record.chunk_times.append(now)
        if chunk.sent is not None:
            record.server_times.append(chunk.sent)

    def _count(self, usage: _Usage) -> None:
        record = self.record
        record.prompt_tokens = usage.prompt_tokens
        record.completion_tokens = usage.completion_tokens
        if usage.prompt_tokens_details is not None:
            record.cached_tokens = usage.prompt_tokens_details.cached_tokens
        details = usage.completion_tokens_details
        if details is not None and details.accepted_prediction_tokens is not None:
            record.accepted = details.accepted_prediction_tokens
            record.drafted = record.accepted + (details.rejected_prediction_tokens or 0)

    def finish(self, now: float) -> None:
        """The body has ended. Raises ValueError if the answer has not."""
        if not self.done and self.record.finish_reason is None:
            raise ValueError("The stream ended before the answer did: neither a finish reason nor [DONE] came.")
        if self.record.end is None:
            self.record.end = now


def _guesses(record: Record, timings: _Timings) -> None:
    if timings.draft_n is not None:
        record.drafted = timings.draft_n
        record.accepted = timings.draft_n_accepted or 0
    if timings.cache_n is not None and record.cached_tokens is None:
        record.cached_tokens = timings.cache_n


def _message(error: Any) -> str:
    if isinstance(error, dict):
        return str(error.get("message", error))[:500]
    return str(error)[:500]
