"""From chunks to events: what one answer adds up to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from llamaforge.errors import LlamaForgeError, ServerError
from llamaforge.requests import GenerationRequest
from llamaforge.results import (
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    Usage,
)
from llamaforge.text import StopMatcher, TextBuffer

from ..error_shapes import says_error
from ..errors import Translator
from ..side_fields import Report
from .characters import CharacterJoiner, mend
from .chunks import Choice, Chunk, Delta, ToolCallPart
from .counts import estimate_usage, read_usage
from .logprobs import read_logprobs
from .thinking import ReasoningInContent, ThinkSplitter
from .tools import ToolCallAssembler

FINISH_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",  # OpenAI's older name
    "content_filter": "content_filter",
    "eos_token": "stop",  # TGI
    "stop_sequence": "stop",  # TGI, Anthropic
    "eos": "stop",  # Together
    "end_turn": "stop",  # Anthropic
    "tool_use": "tool_calls",  # Anthropic
    "max_tokens": "length",  # Anthropic, Gemini
    "model_length": "length",  # Mistral
    "safety": "content_filter",  # Gemini
    "sensitive": "content_filter",  # Zhipu
}
"""By the reason in lower case. Any other is ``unknown``: the answer is whole, but nobody can say what ended it."""

FAILURES: Final = frozenset({"error", "abort", "network_error", "insufficient_system_resource"})
"""Reasons with which servers (vLLM, OpenRouter; Zhipu; DeepSeek) end an answer that failed."""

NO_REASONS: Final = frozenset({"", "null", "none"})
"""What servers (gateways before Ollama; DashScope) write in place of null while an answer goes on."""


class AnswerReader:
    """Reads the chunks of one answer.

    Stop strings are looked for here in any case, because some servers let them through.

    Args:
        request: what was asked for.
        translator: makes our errors.
        report: is told of fields that are left out.
        stops_here: whether the server wasn't told of the stop strings, so that it would go on after one.
        reasoning_in_content: where reasoning is looked for in the content of a chat.
    """

    __slots__ = (
        "_alternatives",
        "_error",
        "_finish_reason",
        "_goes_on",
        "_held_logprobs",
        "_index",
        "_joins",
        "_length",
        "_message",
        "_reason_was_early",
        "_reasoning_joiner",
        "_report",
        "_request",
        "_stop",
        "_stops",
        "_stops_here",
        "_text_joiner",
        "_thinking",
        "_thought",
        "_tokens",
        "_tools",
        "_translator",
        "_usage",
        "_usage_is_final",
        "has_stops",
        "text",
    )

    def __init__(
        self,
        request: GenerationRequest,
        translator: Translator,
        report: Report,
        stops_here: bool = False,
        reasoning_in_content: ReasoningInContent = "no",
    ) -> None:
        self._request = request
        self._alternatives = request.top_logprobs or 0
        self.has_stops = bool(request.stop)
        """Whether there are stop strings to be met."""
        self._stops_here = stops_here
        self._stops = StopMatcher(request.stop or ())
        self._tools = ToolCallAssembler(_function_names(request), _id_seed(request))
        self._translator = translator
        self._report = report
        self._index: int | None = None
        self._joins = False
        self._text_joiner = CharacterJoiner()
        self._reasoning_joiner = CharacterJoiner()
        self._message: str | None = None
        self._error: object = None
        self._reason_was_early = False
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._usage_is_final = False
        self._tokens = 0
        self._stop: str | None = None
        self._goes_on = False
        self._length = 0
        self._thought = 0
        """Pieces of reasoning, which mostly are tokens."""
        self._held_logprobs: tuple[TokenLogprob, ...] = ()
        """Of tokens that may be content or belong to the beginning of reasoning."""
        self._thinking: ThinkSplitter | None = None
        if reasoning_in_content != "no" and not request.raw:
            self._thinking = ThinkSplitter(opened=reasoning_in_content == "opened")
        self.text = TextBuffer()
        """What has come so far, where there is a deadline that may ask for it."""

    def read(self, chunk: Chunk, events: list[Event]) -> None:
        """Append the events of the next chunk to *events*."""
        for choice in chunk.choices or ():
            # The first choice is the answer, whatever its index is; others weren't asked for.
            if choice.index == self._index or choice.index is None or self._index is None:
                self._read_choice(choice, events)
            else:
                self._report(f"choices[{choice.index}]", {})
        if chunk.usage is not None and (usage := read_usage(chunk.usage)) is not None:
            self._usage, self._usage_is_final = usage, True

    def read_mended(self, chunk: Chunk, events: list[Event]) -> None:
        """:meth:`read` for a chunk whose texts may hold surrogates (see :mod:`.characters`)."""
        self._joins = True
        self.read(chunk, events)

    @property
    def is_over(self) -> bool:
        """Whether a stop string was met and the server goes on, so that nothing is left for us to read.

        A server that did stop is read to its end, for the token counts.
        """
        return self._goes_on or (self._stops_here and self._stops.matched is not None and self._finish_reason is None)

    @property
    def has_ended(self) -> bool:
        """Whether the server has said why the answer ends."""
        return self._finish_reason is not None and not self._reason_was_early

    def finish(self, is_complete: bool = False, last_words: str = "") -> list[Event]:
        """The last events, once the stream is at its end.

        Args:
            is_complete: whether the server has marked the end, or has sent one complete JSON value.
            last_words: what it sent that is not part of an answer.

        Raises ConnectionFailedError if the end came too early, and ServerError if the answer failed.
        """
        reason = self._finish_reason
        if self._error:
            raise self._translator.answer_error(None, {"error": self._error})
        if reason in FAILURES:
            raise ServerError(self._translator.address, None, f"the answer ended with finish_reason {reason!r}")
        events: list[Event] = []
        if self._joins:
            self._flush(events)
        if self._thinking is not None:
            self._add_parts(*self._thinking.finish(), (), events)
        matched = self._stops.matched
        if matched is None and not self._is_whole(is_complete):
            raise self._cut(is_complete, last_words)
        if tail := self._stops.finish():
            events.append(TextDelta(self._note(tail)))
        calls = self._tools.finish(events)
        ended: FinishReason = FINISH_REASONS.get(reason, "unknown") if reason is not None else "unknown"
        if matched is not None:
            ended = "stop"
        elif calls and (ended == "stop" or reason is None):
            ended = "tool_calls"  # OpenAI says "stop" where the call was forced
        usage = self._usage
        if self.is_over and not self._usage_is_final:
            usage = estimate_usage(self._request, self._tokens, usage)
        if usage is not None and self._thought and not usage.reasoning_tokens:
            usage = msgspec.structs.replace(usage, reasoning_tokens=min(self._thought, usage.completion_tokens))
        events.append(Finished(finish_reason=ended, usage=usage, stop=matched or self._stop))
        return events

    def _is_whole(self, is_complete: bool) -> bool:
        if self._finish_reason is None:
            # A chunk with the token counts alone is no end mark: some servers send them in between.
            return is_complete and self._tokens > 0
        return is_complete or not self._reason_was_early

    def _cut(self, is_complete: bool, last_words: str) -> LlamaForgeError:
        """The error for an incomplete answer."""
        so_far = self._so_far()
        if last_words:
            said = self._translator.clean(last_words)
            return ServerError(self._translator.address, None, f"it sent an incomplete answer ({so_far}), then: {said}")
        if is_complete:
            return self._translator.gone(f"the server ended the answer without a finish_reason, after {so_far}")
        return self._translator.gone(f"the server ended the stream before the answer was complete, after {so_far}")

    def _flush(self, events: list[Event]) -> None:
        """Emit the parts of characters that are still held back."""
        if rest := self._reasoning_joiner.finish():
            events.append(ReasoningDelta(rest))
        if rest := self._text_joiner.finish():
            self._pass(rest, (), events)

    def _read_choice(self, choice: Choice, events: list[Event]) -> None:
        if self._index is None:
            self._index = choice.index
        text = choice.text or ""
        if choice.delta is not None:
            text += self._read_delta(choice.delta, events)
        elif choice.message is not None:
            text += self._read_message(choice.message, events)
        if self._joins:
            text = self._text_joiner.feed(text)
        logprobs = () if choice.logprobs is None else read_logprobs(choice.logprobs, self._alternatives)
        if self._thinking is not None and (text or logprobs):
            self._split(text, logprobs, events)
        elif text or logprobs:
            # Some servers give a reason with every chunk: then only the end mark says that the answer is whole.
            if self._finish_reason is not None:
                self._reason_was_early = True
            self._pass(text, logprobs, events)
        if choice.finish_reason is not None and (reason := choice.finish_reason.casefold()) not in NO_REASONS:
            self._finish_reason = reason
        if isinstance(choice.stop_reason, str):
            self._stop = mend(choice.stop_reason)
        if choice.error and says_error(choice.error):
            self._error = choice.error
        if choice.usage is not None and (usage := read_usage(choice.usage)) is not None:
            self._usage, self._usage_is_final = usage, True

    def _read_delta(self, delta: Delta, events: list[Event]) -> str:
        """The text of *delta*; reasoning and tool calls become events."""
        # Two names in use for one thing; a server that sends both sends the same text twice.
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning:
            self._tokens += 1
            self._thought += 1
            self._thinking = None  # the server has a parser
            if self._joins:
                reasoning = self._reasoning_joiner.feed(reasoning)
            if reasoning:
                events.append(ReasoningDelta(reasoning))
        for part in delta.tool_calls or ():
            self._tokens += 1
            self._tools.feed(part, events)
        if delta.function_call is not None:
            self._tokens += 1
            self._tools.feed(ToolCallPart(function=delta.function_call), events)
        return (delta.content or "") + (delta.refusal or "")

    def _read_message(self, message: Delta, events: list[Event]) -> str:
        """The text of a message sent instead of a delta: the whole answer, or its beginning so far.

        After deltas, it repeats their text.
        """
        if self._message is None and self._tokens:
            return ""
        before, text = self._message or "", self._read_delta(message, events)
        if before and text.startswith(before):
            self._message, text = text, text[len(before) :]
        else:
            self._message = before + text
        return text

    def _split(self, text: str, logprobs: tuple[TokenLogprob, ...], events: list[Event]) -> None:
        """Take reasoning out of content that may hold some; log-probabilities are those of the content's tokens."""
        if len(logprobs) > 1 and "".join(token.token for token in logprobs) == text:
            for token in logprobs:
                self._split(token.token, (token,), events)
            return
        thinking = self._thinking
        if thinking is None:
            self._pass(text, logprobs, events)
            return
        self._usage_is_final = False
        if self._finish_reason is not None:
            self._reason_was_early = True
        within = thinking.is_inside
        reasoning, content = thinking.feed(text)
        if thinking.is_over:
            self._thinking = None
        if within or thinking.is_inside:
            count = len(self._held_logprobs) + (len(logprobs) or 1)
            self._thought += count
            self._tokens += count - bool(content)  # which is counted with the content
            self._held_logprobs = logprobs = ()
        elif not content and thinking.may_begin:
            self._tokens += 0 if logprobs else 1
            self._held_logprobs += logprobs
            return
        self._add_parts(reasoning, content, logprobs, events)

    def _add_parts(self, reasoning: str, content: str, logprobs: tuple[TokenLogprob, ...], events: list[Event]) -> None:
        if reasoning:
            events.append(ReasoningDelta(reasoning))
        logprobs, self._held_logprobs = self._held_logprobs + logprobs, ()
        if content or logprobs:
            self._pass(content, logprobs, events)

    def _pass(self, text: str, logprobs: tuple[TokenLogprob, ...], events: list[Event]) -> None:
        """Emit the text before a stop string, with every token up to the one that completes it."""
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
        return f"{self._length} characters" if self._length else "no text"


def _function_names(request: GenerationRequest) -> frozenset[str]:
    """The functions that the request's tools are."""
    functions = [tool.get("function") for tool in request.tools or () if isinstance(tool, Mapping)]
    names = [function.get("name") for function in functions if isinstance(function, Mapping)]
    return frozenset(name for name in names if isinstance(name, str))


def _id_seed(request: GenerationRequest) -> bytes | None:
    """What makes ids of calls reproducible, and different in each turn of a conversation."""
    if request.seed is None or not request.tools:
        return None
    return msgspec.json.encode((request.seed, request.prompt, request.messages))
