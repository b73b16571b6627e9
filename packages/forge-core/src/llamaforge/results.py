"""Results: the events of a stream, and the finished text with its details."""

from __future__ import annotations

from typing import Any, Literal, Self

import msgspec

from .messages import FunctionCall, ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "cancelled", "unknown"]
"""Why an answer ended. ``stop``: the model or a stop string ended it; ``length``: it reached max_tokens or the end of
the context; ``tool_calls``: the model calls tools; ``content_filter``: the provider cut it; ``cancelled``: the caller
stopped it; ``unknown``: a basic backend doesn't report a reason."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of a request."""

    prompt_tokens: int
    """Tokens of the rendered prompt."""
    completion_tokens: int
    """Generated tokens, not counting the one that ended the answer."""
    cached_tokens: int = 0
    """Tokens of the prompt that were reused from the cache."""
    reasoning_tokens: int = 0
    """Tokens of reasoning, which are part of ``completion_tokens``."""
    truncated_tokens: int = 0
    """Tokens cut from the prompt by ``truncation="auto"``; they are not part of ``prompt_tokens``."""
    estimated: bool = False
    """Whether the engine gave no counts, so that these are estimates."""

    @property
    def total_tokens(self) -> int:
        """Tokens of prompt and answer."""
        return self.prompt_tokens + self.completion_tokens


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds since the caller made the call."""

    first_token: float | None = None
    """Until the first piece of the answer."""
    total: float | None = None
    """Until the end of the answer."""
    queued: float | None = None
    """Time spent waiting in the queue, if the engine knows it."""


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token and the natural logarithm of its probability."""

    token: str
    logprob: float
    token_id: int | None = None
    top: tuple[TokenLogprob, ...] = ()
    """The most probable alternatives, best first."""


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    """A piece of the answer. The joined pieces are exactly the whole answer."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class ReasoningDelta(msgspec.Struct, frozen=True, tag="reasoning"):
    """A piece of the model's reasoning before its answer."""

    text: str


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True, tag="tool_call"):
    """A piece of a tool call. The result has the finished calls."""

    index: int
    """Which call of the answer, from 0."""
    id: str = ""
    """The call's id, with its first piece; empty afterwards."""
    name: str = ""
    """The function's name, with the first piece; empty afterwards."""
    arguments: str = ""
    """More of the arguments. The joined pieces are the JSON text that the model wrote."""


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The end of a stream: its last event."""

    finish_reason: FinishReason
    usage: Usage | None = None
    """None only if the engine gives no counts."""
    timings: Timings | None = None
    """An engine may give ``queued``; the base class sets the rest."""
    stop: str | None = None
    """The stop string that ended the answer, if any."""
    parameters: dict[str, Any] = {}
    """The parameters in effect; set by the base class."""
    dropped: tuple[str, ...] = ()
    """What of the request had no effect. The base class adds parameters dropped with ``on_unsupported="drop"``."""


Event = TextDelta | ReasoningDelta | ToolCallDelta | Finished


class ToolCallBuffer:
    """Puts tool calls together from their pieces."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[list[str], list[str], list[str]]] = {}

    def add(self, piece: ToolCallDelta) -> None:
        """Take the next piece."""
        ids, names, arguments = self._calls.setdefault(piece.index, ([], [], []))
        ids.append(piece.id)
        names.append(piece.name)
        arguments.append(piece.arguments)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls so far, in order."""
        if not self._calls:
            return ()
        return tuple(
            ToolCall("".join(ids), FunctionCall("".join(names), "".join(arguments)))
            for _, (ids, names, arguments) in sorted(self._calls.items())
        )


class GeneratedText(str):
    """An answer: a ``str`` with the details of how it was generated."""

    finish_reason: FinishReason
    usage: Usage | None
    timings: Timings
    parameters: dict[str, Any]
    """The parameters in effect, including defaults and the random seed."""
    dropped: tuple[str, ...]
    """What of the request had no effect: parameters that the backend doesn't support and that were dropped because of
    ``on_unsupported="drop"``, and parts of a schema that are annotations, such as an unknown ``format``."""
    logprobs: tuple[TokenLogprob, ...]
    tool_calls: tuple[ToolCall, ...]
    reasoning: str
    stop: str | None
    """The stop string that ended the answer, if any."""
    parsed: Any
    """What an answer with a JSON ``response_format`` says: an instance of the type that was given as the format, or
    plain data. None if the answer was cut, and for other formats."""

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
        parsed: Any = None,
    ) -> Self:
        """An answer with the text *text* and these details."""
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
        self.parsed = parsed
        return self

    @property
    def text(self) -> str:
        """The text alone, as a plain ``str``."""
        return str.__str__(self)

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (self.text,), dict(self.__dict__)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values that JSON can represent."""
        import json

        parsed = None if self.parsed is None else json.loads(self.text)  # an instance may be of any type
        plain: dict[str, Any] = msgspec.to_builtins({"text": self.text, **self.__dict__, "parsed": parsed})
        return plain
