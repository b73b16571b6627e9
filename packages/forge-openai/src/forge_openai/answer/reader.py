"""From chunks to events: what one answer adds up to."""

from __future__ import annotations

from typing import Final

from llamaforge.errors import ServerError
from llamaforge.requests import GenerationRequest
from llamaforge.results import (
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from llamaforge.text import StopMatcher, TextBuffer

from ..errors import Translator
from .chunks import Choice, Chunk, Delta
from .counts import estimate_usage, read_usage
from .logprobs import read_logprobs
from .tools import ToolCallAssembler

FINISH_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",  # OpenAI's older name
    "content_filter": "content_filter",
    "eos_token": "stop",  # TGI
    "stop_sequence": "stop",  # TGI
}
"""Any other reason is ``unknown``: the answer is whole, but nobody can say what ended it."""

FAILURES: Final = frozenset({"error", "abort"})
"""Reasons with which servers (vLLM, OpenRouter) end an answer that failed."""


class AnswerReader:
    """Reads the chunks of one answer.

    Stop strings are looked for here in any case, because some servers let them through.

    Args:
        request: what was asked for.
        translator: makes our errors.
        stops_here: whether the server wasn't told of the stop strings, so that it would go on after one.
    """

    __slots__ = (
        "_alternatives",
        "_finish_reason",
        "_goes_on",
        "_length",
        "_request",
        "_stop",
        "_stops",
        "_stops_here",
        "_tokens",
        "_tools",
        "_translator",
        "_usage",
        "_usage_is_final",
        "has_stops",
        "text",
    )

    def __init__(self, request: GenerationRequest, translator: Translator, stops_here: bool = False) -> None:
        self._request = request
        self._alternatives = request.top_logprobs or 0
        self.has_stops = bool(request.stop)
        """Whether there are stop strings to be met."""
        self._stops_here = stops_here
        self._stops = StopMatcher(request.stop or ())
        self._tools = ToolCallAssembler()
        self._translator = translator
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._usage_is_final = False
        self._tokens = 0
        self._stop: str | None = None
        self._goes_on = False
        self._length = 0
        self.text = TextBuffer()
        """What has come so far, where there is a deadline that may ask for it."""

    def read(self, chunk: Chunk, events: list[Event]) -> None:
        """Append the events of the next chunk to *events*."""
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._read_choice(choice, events)
        if chunk.usage is not None and (usage := read_usage(chunk.usage)) is not None:
            self._usage, self._usage_is_final = usage, True

    @property
    def is_over(self) -> bool:
        """Whether a stop string was met and the server goes on, so that nothing is left for us to read.

        A server that did stop is read to its end, for the token counts.
        """
        return self._goes_on or (self._stops_here and self._stops.matched is not None and self._finish_reason is None)

    def finish(self) -> list[Event]:
        """The last events, once the stream is at its end.

        Raises ConnectionFailedError where that end came too early, and ServerError where the answer failed.
        """
        reason = self._finish_reason
        if reason in FAILURES:
            raise ServerError(self._translator.address, None, f"the answer ended with the reason {reason!r}")
        matched = self._stops.matched
        if reason is None and matched is None:
            raise self._translator.gone(f"it ended the stream before the answer was complete, after {self._so_far()}")
        events: list[Event] = []
        if tail := self._stops.finish():
            events.append(TextDelta(self._note(tail)))
        calls = self._tools.finish()
        events.extend(ToolCallDelta(call) for call in calls)
        ended: FinishReason = FINISH_REASONS.get(reason, "unknown") if reason is not None else "stop"
        if matched is not None:
            ended = "stop"
        elif calls and ended == "stop":
            ended = "tool_calls"  # OpenAI says "stop" where the call was forced
        usage = self._usage
        if self.is_over and not self._usage_is_final:
            usage = estimate_usage(self._request, self._tokens, usage)
        events.append(Finished(finish_reason=ended, usage=usage, stop=matched or self._stop))
        return events

    def _read_choice(self, choice: Choice, events: list[Event]) -> None:
        text = choice.text or ""
        if choice.delta is not None:
            text += self._read_delta(choice.delta, events)
        logprobs = () if choice.logprobs is None else read_logprobs(choice.logprobs, self._alternatives)
        if text or logprobs:
            self._pass(text, logprobs, events)
        if choice.finish_reason is not None:
            self._finish_reason = choice.finish_reason
        if isinstance(choice.stop_reason, str):
            self._stop = choice.stop_reason

    def _read_delta(self, delta: Delta, events: list[Event]) -> str:
        """The text of *delta*; whatever else it has goes its own way."""
        # Two names in use for one thing; a server that sends both sends the same text twice.
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning:
            self._tokens += 1
            events.append(ReasoningDelta(reasoning))
        for part in delta.tool_calls or ():
            self._tokens += 1
            self._tools.feed(part)
        return (delta.content or "") + (delta.refusal or "")

    def _pass(self, text: str, logprobs: tuple[TokenLogprob, ...], events: list[Event]) -> None:
        """Let through what comes before a stop string, with every token up to the one that completes it."""
        if self._stops.matched is not None:
            self._goes_on = self._goes_on or bool(text)
            return
        self._usage_is_final = False
        if not self.has_stops:
            self._tokens += len(logprobs) or 1
            piece = text
        elif len(logprobs) > 1 and "".join(token.token for token in logprobs) == text:
            for token in logprobs:
                if self._stops.matched is None:
                    self._pass(token.token, (token,), events)
            return
        else:
            self._tokens += len(logprobs) or 1
            piece = self._stops.feed(text)
        if piece or logprobs:
            events.append(TextDelta(self._note(piece), logprobs))

    def _note(self, piece: str) -> str:
        self._length += len(piece)
        if self._request.timeout is not None:
            self.text.write(piece)
        return piece

    def _so_far(self) -> str:
        return f"{self._length} characters" if self._length else "no text at all"
