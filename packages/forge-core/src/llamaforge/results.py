"""What comes back: the events of a stream, and the finished text with all that is known of it."""

from __future__ import annotations

from typing import Any, Literal, Self

import msgspec

from .messages import ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "cancelled", "unknown"]
"""Why an answer ended: the model or a stop string ended it; max_tokens or the context did; it asks for tools; the
provider cut it; the caller left; or (backends with only the four basic methods) nobody can say."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that a request took."""

    prompt_tokens: int
    """Tokens of the rendered prompt."""
    completion_tokens: int
    """Tokens that were generated, the one that ended the answer not counted."""
    cached_tokens: int = 0
    """Tokens of the prompt that were not computed anew."""
    reasoning_tokens: int = 0
    """Tokens of the answer that were reasoning."""
    truncated_tokens: int = 0
    """Tokens of the prompt that were left out, with ``truncation="auto"``; ``prompt_tokens`` doesn't count them."""
    estimated: bool = False
    """True where the engine gave no counts and these are a guess."""

    @property
    def total_tokens(self) -> int:
        """Tokens of prompt and answer."""
        return self.prompt_tokens + self.completion_tokens


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, counted from the caller's call."""

    first_token: float | None = None
    """Until the first text came."""
    total: float | None = None
    """Until the end."""
    queued: float | None = None
    """Waiting before the engine began, where the engine knows."""


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token and the natural logarithm of its probability."""

    token: str
    logprob: float
    token_id: int | None = None
    top: tuple[TokenLogprob, ...] = ()
    """The most probable alternatives, best first."""


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    """A piece of the answer. Pieces joined are exactly the whole."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class ReasoningDelta(msgspec.Struct, frozen=True, tag="reasoning"):
    """A piece of what the model thinks before it answers."""

    text: str


class ToolCallDelta(msgspec.Struct, frozen=True, tag="tool_call"):
    """A tool call, whole."""

    call: ToolCall


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The one terminal event."""

    finish_reason: FinishReason
    usage: Usage | None = None
    """None only where the engine gives no counts."""
    timings: Timings | None = None
    """An engine may give ``queued``; the base class sets the rest."""
    stop: str | None = None
    """The stop string that was met, if one was."""
    parameters: dict[str, Any] = {}
    """The parameters in effect; set by the base class."""
    dropped: tuple[str, ...] = ()
    """Parameters that were dropped with ``on_unsupported="drop"``; set by the base class."""


Event = TextDelta | ReasoningDelta | ToolCallDelta | Finished


class GeneratedText(str):
    """The answer: a ``str`` that knows how it came about."""

    finish_reason: FinishReason
    usage: Usage | None
    timings: Timings
    parameters: dict[str, Any]
    """The parameters in effect, core's defaults and a drawn seed among them."""
    dropped: tuple[str, ...]
    """Parameters that this backend could not honour and that were dropped on request."""
    logprobs: tuple[TokenLogprob, ...]
    tool_calls: tuple[ToolCall, ...]
    reasoning: str
    stop: str | None
    """The stop string that ended the answer, if one did."""

    def __new__(
        cls,
        text: str,
        *,
        finish_reason: FinishReason = "unknown",
        usage: Usage | None = None,
        timings: Timings | None = None,
        parameters: dict[str, Any] | None = None,
        dropped: tuple[str, ...] = (),
        logprobs: tuple[TokenLogprob, ...] = (),
        tool_calls: tuple[ToolCall, ...] = (),
        reasoning: str = "",
        stop: str | None = None,
    ) -> Self:
        """Make one of *text* and whatever is known."""
        self = super().__new__(cls, text)
        self.finish_reason = finish_reason
        self.usage = usage
        self.timings = timings or Timings()
        self.parameters = parameters or {}
        self.dropped = dropped
        self.logprobs = logprobs
        self.tool_calls = tool_calls
        self.reasoning = reasoning
        self.stop = stop
        return self

    @property
    def text(self) -> str:
        """The text alone, as a plain ``str``."""
        return str.__str__(self)

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (self.text,), dict(self.__dict__)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, fit for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins({"text": self.text, **self.__dict__})
        return plain
