"""From chunks to events: what one answer adds up to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from llamaforge.errors import ServerError
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event, Finished, FinishReason, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from llamaforge.text import StopMatcher

from .chunks import Choice, Chunk, UsageCounts
from .errors import Translator
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

    Stop strings are the server's work; they are looked for here, too, because some servers let them through.
    """

    __slots__ = (
        "_alternatives",
        "_finish_reason",
        "_goes_on",
        "_stop",
        "_stops",
        "_tools",
        "_translator",
        "_usage",
        "text",
    )

    def __init__(self, request: GenerationRequest, translator: Translator) -> None:
        self._alternatives = request.top_logprobs or 0
        self._stops = StopMatcher(request.stop or ())
        self._tools = ToolCallAssembler()
        self._translator = translator
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._stop: str | None = None
        self._goes_on = False
        self.text: list[str] = []
        """The pieces that have come so far."""

    def feed(self, chunk: Chunk) -> Iterator[Event]:
        """The events of the next chunk."""
        if chunk.usage is not None:
            self._usage = read_usage(chunk.usage) or self._usage
        for choice in chunk.choices or ():
            if choice.index == 0:
                yield from self._read(choice)

    @property
    def is_over(self) -> bool:
        """Whether the server goes on after a stop string, so that nothing is left for us to read.

        One that did stop, and only let the string through, is read to its end, for the token counts.
        """
        return self._goes_on

    def finish(self) -> Iterator[Event]:
        """The last events, once the stream is at its end.

        Raises ConnectionFailedError where that end came too early, and ServerError where the answer failed.
        """
        reason = self._finish_reason
        if reason in FAILURES:
            raise ServerError(self._translator.address, None, f"the answer ended with the reason {reason!r}")
        matched = self._stops.matched
        if reason is None and matched is None:
            raise self._translator.gone(f"it ended the stream before the answer was complete, after {self._so_far()}")
        tail = self._stops.finish()
        if tail:
            self.text.append(tail)
            yield TextDelta(tail)
        calls = self._tools.finish()
        for call in calls:
            yield ToolCallDelta(call)
        ended: FinishReason = FINISH_REASONS.get(reason, "unknown") if reason is not None else "stop"
        if matched is not None:
            ended = "stop"
        elif calls and ended == "stop":
            ended = "tool_calls"  # OpenAI says "stop" where the call was forced
        yield Finished(finish_reason=ended, usage=self._usage, stop=matched or self._stop)

    def _read(self, choice: Choice) -> Iterator[Event]:
        delta = choice.delta
        text = choice.text or ""
        if delta is not None:
            # Two names in use for one thing; a server that sends both sends the same text twice.
            reasoning = delta.reasoning_content or delta.reasoning
            if reasoning:
                yield ReasoningDelta(reasoning)
            text += (delta.content or "") + (delta.refusal or "")
            for part in delta.tool_calls or ():
                self._tools.feed(part)
        if self._stops.matched is None:
            piece = self._stops.feed(text)
            logprobs = read_logprobs(choice.logprobs, self._alternatives)
            if piece:
                self.text.append(piece)
            if piece or logprobs:
                yield TextDelta(piece, logprobs)
        elif text:
            self._goes_on = True
        if choice.finish_reason is not None:
            self._finish_reason = choice.finish_reason
        if isinstance(choice.stop_reason, str):
            self._stop = choice.stop_reason

    def _so_far(self) -> str:
        count = sum(map(len, self.text))
        return f"{count} characters" if count else "no text at all"


def read_usage(counts: UsageCounts) -> Usage | None:
    """Token counts; None where the server sends an empty object."""
    if counts.prompt_tokens is None and counts.completion_tokens is None:
        return None
    prompt, completion = counts.prompt_tokens_details, counts.completion_tokens_details
    return Usage(
        prompt_tokens=counts.prompt_tokens or 0,
        completion_tokens=counts.completion_tokens or 0,
        cached_tokens=(prompt.cached_tokens or 0) if prompt is not None else 0,
        reasoning_tokens=(completion.reasoning_tokens or 0) if completion is not None else 0,
    )
